"""The clock of a test: it stands still, and is moved from one thing that is due to the next.

SQL's `clock()` reads a row, and every timer of the library is only a hint to look at Postgres, so that
whoever moves the row moves all of it: sleeps, timeouts, delays, deadlines, limiters and schedules. Leases
and heartbeats are real, and so is a `timeout=` of code outside of workflows.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import time
from datetime import datetime, timedelta

from towpath.api.app import App
from towpath.domain.errors import DatabaseUnreachableError
from towpath.store.session import Session
from towpath.testing.errors import StillBusyError
from towpath.testing.standing import Observer, Standing
from towpath.testing.statements import statement
from towpath.testing.unfinished import sentences_about

LOOK_SECONDS = 0.002
IDLE_LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 10.0
"""How long workflows may compute, in real time, before a test is told that they do not come to rest."""


class Clock:
    """The clock of an App's database.

    Made by the fixture `towpath_clock`. Each of its verbs moves it step by step: nothing that is due
    earlier happens later, and whatever becomes due has run until it waits again before the next step.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._engine = app.engine
        self._observer = Observer(app)
        self._move = statement("move", self._engine.settings.schema)
        self._reading = statement("read", self._engine.settings.schema)
        self._moving: asyncio.Lock = asyncio.Lock()
        self._ended = asyncio.Event()
        self._automatic: concurrent.futures.Future[None] | None = None

    # -- for tests, from any thread

    @property
    def now(self) -> datetime:
        """What it shows, in UTC."""
        now: datetime = self._engine.run(self._read)
        return now

    def advance(self, by: timedelta | float, *, patience: float = PATIENCE_SECONDS) -> datetime:
        """Move it by a time (seconds, or a timedelta), and return what it shows then.

        Returns once all that became due on the way has run, until it waits again or has ended.

        Raises:
            StillBusyError: something computed for longer than `patience` real seconds at one moment.
        """
        length = by if isinstance(by, timedelta) else timedelta(seconds=by)
        if length < timedelta(0):
            raise ValueError(f"the clock is never set back; it was to be moved by {length}")
        return self.advance_to(self.now + length, patience=patience)

    def advance_to(self, to: datetime, *, patience: float = PATIENCE_SECONDS) -> datetime:
        """As `advance`, to a moment, which has a time zone."""
        if to.tzinfo is None:
            raise ValueError(f"the clock is set to a moment with a time zone; {to} has none")
        return self._engine.io.submit(self._advance(to, patience)).result()

    def run_until_idle(self, *, patience: float = PATIENCE_SECONDS) -> None:
        """Wait until nothing happens any more unless time passes, or the test does something.

        Raises:
            StillBusyError: something computed for longer than `patience` real seconds.
        """
        self._engine.io.submit(self.rest(patience)).result()

    # -- for the kit

    def begin(self) -> None:
        """Stop it; it shows what it showed."""
        self._engine.io.submit(self.move(self.now)).result()

    def begin_automatic(self) -> None:
        """Move it by itself while the test waits for a result, an event or a stream."""
        self._automatic = self._engine.io.submit(self._follow())

    def end_automatic(self) -> None:
        """Leave it to the test from now on."""
        if self._automatic is not None:
            # where the test has shut the App down itself, that is over already
            with contextlib.suppress(RuntimeError, concurrent.futures.CancelledError):
                self._engine.io.loop.call_soon_threadsafe(self._ended.set)
                self._automatic.result()

    # -- on the library's loop

    async def _read(self, session: Session) -> datetime:
        (rows,) = await session.run((self._reading, {}))
        now: datetime = rows[0][0]
        return now

    async def _follow(self) -> None:
        pause = LOOK_SECONDS
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._ended.wait()
            if not self._observer.awaited and pause == LOOK_SECONDS:
                pause = IDLE_LOOK_SECONDS  # a process outside may wait; nobody here does
                continue
            with contextlib.suppress(DatabaseUnreachableError):
                standing = await self._observer.look()
                moves = standing is not None and standing.at_rest and standing.awaited
                pause = LOOK_SECONDS if self._observer.awaited else IDLE_LOOK_SECONDS
                if standing is not None and moves and standing.due is not None:
                    await self.move(standing.due)

    async def move(self, to: datetime) -> datetime:
        """Set it, and have everybody look."""
        async with self._moving:
            (rows,) = await self._engine.on_loop(lambda s: s.run((self._move, {"to": to})))
            await self._observer.time_moved()
        now: datetime = rows[0][0]
        return now

    async def _advance(self, to: datetime, patience: float) -> datetime:
        while True:
            standing = await self.rest(patience)
            if standing.due is None or standing.due > to:
                break
            await self.move(standing.due)
        now = await self.move(to)
        await self.rest(patience)
        return now

    async def rest(self, patience: float) -> Standing:
        """Return how everything stands once nothing happens by itself.

        Raises:
            StillBusyError: something computed for longer than `patience` real seconds.
        """
        ends = time.monotonic() + patience
        while True:
            standing = await self._observer.look()
            if standing is not None and standing.at_rest:
                return standing
            if time.monotonic() > ends:
                left = await sentences_about(self._app, None)
                raise StillBusyError(what="nothing came to rest", seconds=patience, left=left)
            await asyncio.sleep(LOOK_SECONDS)
