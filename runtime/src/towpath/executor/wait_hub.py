"""Everything that a process waits for in Postgres: one statement looks at all that may be over.

A wait is looked at when somebody says so (a NOTIFY, or this process that has ended a workflow), when its
time has come, a few times soon after it began (an answer may have been on its way before the wait was
written), and now and then, should a NOTIFY be lost. What others wrote is believed, never the call.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from towpath.domain.ids import Seq
from towpath.domain.status import WorkflowStatus
from towpath.executor.group_commit import Key
from towpath.store.waits import COME, Look, Wait, WaitKind

Ask = Callable[[Sequence[Wait]], Awaitable[Mapping[Key, Look]]]
"""Looks at waits; survives outages."""

QUICK_LOOKS_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.2)
SLOW_LOOK_SECONDS = 5.0
SLOW_LOOK_WITHOUT_LISTEN_SECONDS = 0.5
SHORTEST_TIMER_SECONDS = 0.001
MAX_LOOKS = 500

Topic = tuple[WaitKind, Seq, str]


@dataclass(eq=False, slots=True)
class _Entry:
    """A wait in memory."""

    wait: Wait
    future: asyncio.Future[Look]
    timers: dict[str, asyncio.TimerHandle] = field(default_factory=dict)

    @property
    def topic(self) -> Topic:
        return (self.wait.kind, self.wait.target, self.wait.topic)

    def set_timer(self, name: str, seconds: float, ring: Callable[[_Entry], None]) -> None:
        """Ring in so many seconds, in the place of the timer of that name."""
        if (before := self.timers.get(name)) is not None:
            before.cancel()
        self.timers[name] = asyncio.get_running_loop().call_later(seconds, ring, self)


class WaitHub:
    """Hands what waits are for to those who wait. Called on the library's loop.

    Args:
        ask: Looks at waits in Postgres.
        listens: Whether NOTIFY is heard.
    """

    def __init__(self, ask: Ask, *, listens: bool) -> None:
        self._ask = ask
        self.interested: Callable[[bool], object] = bool
        """Told when the first wait comes, and when the last one goes."""
        self._slow = SLOW_LOOK_SECONDS if listens else SLOW_LOOK_WITHOUT_LISTEN_SECONDS
        self._entries: dict[Key, _Entry] = {}
        self._by_topic: defaultdict[Topic, set[_Entry]] = defaultdict(set)
        self._to_look: dict[Key, _Entry] = {}
        self._looking: asyncio.Task[None] | None = None

    @property
    def waits(self) -> list[Wait]:
        """What is waited for at this moment."""
        return [entry.wait for entry in self._entries.values()]

    async def look(self, wait: Wait) -> Look:
        """Look at a wait once."""
        return (await self._ask([wait]))[wait.key]

    async def wait(self, wait: Wait, seconds: float | None) -> Look:
        """Return once a wait is over; `seconds` are left of its time, None where it has no end."""
        with self.listening(wait) as called:
            entry = self._entries[wait.key]
            if wait.kind is not WaitKind.TIME:
                for pause in QUICK_LOOKS_SECONDS:
                    entry.set_timer(f"quick {pause}", pause, self._look_at)
            self._set_due(entry, seconds)
            return await called

    @contextlib.contextmanager
    def listening(self, wait: Wait) -> Iterator[asyncio.Future[Look]]:
        """Yield what is done when the wait may be over: from now on, and as long as the block lasts."""
        entry = _Entry(wait, asyncio.get_running_loop().create_future())
        self._enter(entry)
        try:
            if wait.kind is not WaitKind.TIME:
                entry.set_timer("slow", self._slow, self._look_slowly)
            yield entry.future
        finally:
            self._leave(entry)

    def told(self, kind: str, target: Seq, topic: str) -> None:
        """Take a NOTIFY, or a word of this process: something has come."""
        for entry in list(self._by_topic.get((WaitKind(kind), target, topic), ())):
            self._look_at(entry)

    def tell_end(self, seq: Seq, status: WorkflowStatus, output: str | None) -> None:
        """Pass on an end that this process has committed itself."""
        for entry in list(self._by_topic.get((WaitKind.END, seq, ""), ())):
            if not entry.future.done():
                entry.future.set_result(Look(status.value, output, None))

    def is_awaited(self, seq: Seq) -> bool:
        """Tell whether somebody here waits for the end of a workflow."""
        return (WaitKind.END, seq, "") in self._by_topic

    def look_at(self, wait: Wait) -> None:
        """Look at one wait: it has just been written, and an answer may have come before."""
        if (entry := self._entries.get(wait.key)) is not None:
            self._look_at(entry)

    def look_again(self) -> None:
        """Look at every wait: calls may have been lost, or the clock was set."""
        for entry in list(self._entries.values()):
            self._look_at(entry)

    def _enter(self, entry: _Entry) -> None:
        if not self._entries:
            self.interested(True)  # noqa: FBT003 - a fact, not a switch
        self._entries[entry.wait.key] = entry
        self._by_topic[entry.topic].add(entry)

    def _leave(self, entry: _Entry) -> None:
        for timer in entry.timers.values():
            timer.cancel()
        self._to_look.pop(entry.wait.key, None)
        if self._entries.get(entry.wait.key) is entry:
            del self._entries[entry.wait.key]
        entries = self._by_topic[entry.topic]
        entries.discard(entry)
        if not entries:
            del self._by_topic[entry.topic]
        if not self._entries:
            self.interested(False)  # noqa: FBT003 - a fact, not a switch

    def _set_due(self, entry: _Entry, seconds: float | None) -> None:
        if seconds is not None:
            entry.set_timer("due", max(seconds, SHORTEST_TIMER_SECONDS), self._look_at)

    def _look_slowly(self, entry: _Entry) -> None:
        self._look_at(entry)
        entry.set_timer("slow", self._slow, self._look_slowly)

    def _look_at(self, entry: _Entry) -> None:
        if entry.future.done():
            return
        if entry.wait.kind is WaitKind.STREAM:  # the reader looks itself, from where it stands
            entry.future.set_result(Look(COME, None, None))
            return
        self._to_look[entry.wait.key] = entry
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look_at_all())

    async def _look_at_all(self) -> None:
        while self._to_look:
            keys = list(self._to_look)[:MAX_LOOKS]
            entries = [self._to_look.pop(key) for key in keys]
            try:
                found = await self._ask([entry.wait for entry in entries])
            except Exception as error:  # noqa: BLE001 - it is told to everyone who waits
                for entry in entries:
                    if not entry.future.done():
                        entry.future.set_exception(error)
                continue
            for entry in entries:
                self._believe(entry, found[entry.wait.key])

    def _believe(self, entry: _Entry, look: Look) -> None:
        if entry.future.done():
            return
        if look.state is not None:
            entry.future.set_result(look)
        else:
            self._set_due(entry, look.seconds)
