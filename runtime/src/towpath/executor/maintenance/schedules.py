"""Fires the ticks of the schedules that this process declares, by the database's clock.

Every worker that declares a schedule looks when its next tick is due; who locks the schedule's row
first enqueues the tick's workflow and says in the same transaction how far it is. A tick that no
living worker looked after was missed: it is let go, unless the schedule backfills.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from towpath.domain.errors import DatabaseUnreachableError, UsageError
from towpath.domain.ids import WorkerId
from towpath.domain.schedule import id_of_firing, read_cron
from towpath.executor.engine import Engine
from towpath.store import schedules
from towpath.store.schedules import FiredTick, NewTick, ScheduleSettings, StoredSchedule, Watched
from towpath.store.session import Session

logger = logging.getLogger("towpath.schedules")

LONGEST_REST_SECONDS = 2.0
SHORTEST_REST_SECONDS = 0.005
MOST_TICKS = 100
"""Of a schedule in one transaction; what is due beyond them follows at once."""

LAPSE_SECONDS = 10.0
"""A worker that has not looked for so long, such as in an outage, did not look after its schedules."""


class ScheduleFiring:
    """The service of one worker."""

    def __init__(self, engine: Engine, worker_id: Callable[[], WorkerId | None]) -> None:
        self._engine = engine
        self._worker_id = worker_id
        self._called = asyncio.Event()
        self._written: dict[str, ScheduleSettings] = {}
        self._looked_at = 0.0
        self._said: dict[str, str] = {}

    def call(self) -> None:
        """Look at once, from any thread: the clock was moved, or a schedule declared."""
        with contextlib.suppress(RuntimeError):  # the loop is stopped, and with it the worker
            self._engine.io.loop.call_soon_threadsafe(self._called.set)

    async def run(self) -> None:
        """Fire what is due until cancelled.

        Raises:
            DatabaseUnreachableError: Postgres cannot be reached; the worker runs it again after that.
        """
        while True:
            self._called.clear()
            seconds = await self._look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(seconds, SHORTEST_REST_SECONDS)):
                    await self._called.wait()

    async def _look(self) -> float:
        """Fire what is due; return in how many seconds to look again."""
        worker = self._worker_id()
        declared = {d.name: d.settings for d in self._engine.registry.schedules()}
        if worker is None or not declared:
            return LONGEST_REST_SECONDS
        now, watched = await self._watch(worker, declared)
        rests = [await self._serve(worker, w, now) for w in watched]
        return min(rests, default=LONGEST_REST_SECONDS)

    async def _watch(
        self, worker: WorkerId, declared: dict[str, ScheduleSettings]
    ) -> tuple[datetime, Sequence[Watched]]:
        """Look at the schedules; first declare those that are not, or no longer, declared."""
        await self._declare({n: s for n, s in declared.items() if self._written.get(n) != s})
        now, watched = await self._look_at(worker, declared)
        kept = {w.schedule.name for w in watched if w.declared}
        lapsed = time.monotonic() - self._looked_at > LAPSE_SECONDS
        unwatched = declared.keys() if lapsed else declared.keys() - kept
        if unwatched:
            lost = declared.keys() - {w.schedule.name for w in watched}
            await self._declare({name: declared[name] for name in sorted(lost)})
            await self._engine.on_loop(
                lambda s: schedules.watch(s, self._engine.statements, worker, sorted(unwatched))
            )
            now, watched = await self._look_at(worker, declared)
        self._looked_at = time.monotonic()
        return now, watched

    async def _look_at(
        self, worker: WorkerId, declared: dict[str, ScheduleSettings]
    ) -> tuple[datetime, Sequence[Watched]]:
        statements, names = self._engine.statements, list(declared)
        return await self._engine.on_loop(lambda s: schedules.look(s, statements, worker, names))

    async def _declare(self, declared: dict[str, ScheduleSettings]) -> None:
        """Write schedules; say where another process declared one otherwise."""
        statements = self._engine.statements
        for name, settings in declared.items():

            async def verb(
                session: Session, name: str = name, settings: ScheduleSettings = settings
            ) -> ScheduleSettings | None:
                return await schedules.declare(session, statements, name, settings)

            before = await self._engine.on_loop(verb)
            self._written[name] = settings
            if before not in (None, settings):
                fields = settings.differences(before)
                logger.warning(
                    "schedule was declared otherwise before; this declaration is in force now",
                    extra={"schedule": name, "fields": list(fields)},
                )

    async def _serve(self, worker: WorkerId, watched: Watched, now: datetime) -> float:
        """Fire what is due of one schedule; a fault of it stops no other."""
        name = watched.schedule.name
        try:
            return await self._fire_due(worker, watched, now)
        except DatabaseUnreachableError:
            raise
        except Exception as error:
            if self._said.get(name) != repr(error):
                self._said[name] = repr(error)
                logger.exception("schedule cannot fire", extra={"schedule": name})
            return LONGEST_REST_SECONDS

    async def _fire_due(self, worker: WorkerId, watched: Watched, now: datetime) -> float:
        schedule = watched.schedule
        if schedule.paused:
            return LONGEST_REST_SECONDS
        settings = schedule.settings
        cron = read_cron(schedule.name, settings.cron, settings.timezone)
        begin = schedule.settled_until
        if not settings.backfill:
            begin = max(begin, watched.since or now)
        ticks = make_ticks(self._engine, schedule, cron.between(begin, now, MOST_TICKS))
        if not ticks:
            following = cron.next_after(max(begin, now))
            rest = LONGEST_REST_SECONDS if following is None else (following - now).total_seconds()
            return min(rest, LONGEST_REST_SECONDS)
        statements = self._engine.statements
        fired = await self._engine.on_loop(
            lambda session: schedules.fire(session, statements, worker, schedule, ticks)
        )
        return self._tell(schedule, fired)

    def _tell(self, schedule: StoredSchedule, fired: Sequence[FiredTick]) -> float:
        """Log what became of ticks; look again at once, but not at a queue that takes none."""
        refused = False
        for tick in fired:
            extra = {"schedule": schedule.name, "tick": tick.at.isoformat()}
            if tick.created:
                self._said.pop(schedule.name, None)
                logger.info("schedule fired", extra={**extra, "workflow_id": tick.workflow_id})
            elif tick.error is not None:
                refused = schedule.settings.backfill
                if not refused or self._said.get(schedule.name) != repr(tick.error):
                    self._said[schedule.name] = repr(tick.error)
                    reason = {"reason": str(tick.error), "kept": refused}
                    logger.warning("schedule could not fire", extra={**extra, **reason})
        return LONGEST_REST_SECONDS if refused else 0


def make_ticks(
    engine: Engine, schedule: StoredSchedule, moments: Sequence[datetime]
) -> list[NewTick]:
    """Return ticks with the inputs of their workflows: the tick, and the schedule's arguments.

    Raises:
        UsageError: the arguments were declared with another codec.
        ValueNotEncodableError: this codec does not encode a datetime.
    """
    if not moments:
        return []
    codec, settings = engine.codec, schedule.settings
    if codec.name != settings.codec:
        raise UsageError(
            f"schedule {schedule.name!r} was declared with codec {settings.codec!r}, and this App's is "
            f"{codec.name!r}. Use an App with that codec."
        )
    args, kwargs = codec.decode_input(settings.args)
    return [
        NewTick(
            moment,
            id_of_firing(schedule.name, moment),
            codec.encode_input([moment, *args], kwargs),
            engine.new_secret(),
        )
        for moment in moments
    ]
