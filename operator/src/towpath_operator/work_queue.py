"""Keyed wake-ups: which object to reconcile next, and when.

A key is handled by one task at a time; wakes that come meanwhile are one more turn, not many. A
failing key comes back later and later, a quiet one at the resync. It knows nothing of what a key
means.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

logger = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)

RESYNC_SECONDS: Final = 60.0
IN_FLIGHT: Final = 32
BACK_OFF_SECONDS: Final = (0.5, 60.0)
JITTER: Final = 0.2

_random: Final = random.SystemRandom()  # of our own: the process may have seeded the global one


@dataclass(frozen=True, slots=True)
class Again:
    """When a key that was handled without an error is to be handled again.

    Attributes:
        after: Seconds from now; None is the resync.
        retry: The turn was held back by something; the wait grows with each such turn in a row.
        at_least: Seconds that must pass before the next turn, whoever wakes the key.
        drop: The object is gone; forget the key.
    """

    after: float | None = None
    retry: bool = False
    at_least: float = 0.0
    drop: bool = False


LATER: Final = Again()


class WorkQueue(Generic[Key]):
    """Runs `handle(key)` for each key that was woken, within bounds."""

    def __init__(
        self,
        handle: Callable[[Key], Awaitable[Again]],
        *,
        resync: float = RESYNC_SECONDS,
        in_flight: int = IN_FLIGHT,
        back_off: tuple[float, float] = BACK_OFF_SECONDS,
        chance: Callable[[], float] = _random.random,
    ) -> None:
        self._handle = handle
        self._resync = resync
        self._in_flight = in_flight
        self._back_off = back_off
        self._chance = chance
        self._due: dict[Key, float] = {}
        self._promised: dict[Key, float] = {}
        self._not_before: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        self._failures: dict[Key, int] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._began: dict[Key, float] = {}
        self.adds = 0
        """How many times a key was woken, or came up again."""
        self.retries = 0
        self._woken_meanwhile: set[Key] = set()
        self._changed = asyncio.Event()
        self._beat = 0.0

    def wake(self, key: Key, *, after: float = 0.0) -> None:
        """Handle the key soon, or after some seconds even if it is handled before that too."""
        if after > 0.0:
            due = self._now() + after
            self._promised[key] = min(due, self._promise(key))
            self._schedule(key, due)
        elif key in self._tasks:
            self._woken_meanwhile.add(key)
        else:
            self._schedule(key, self._now())

    @property
    def idle(self) -> bool:
        """Whether no key is being handled and none is due now."""
        return not self._tasks and not any(due <= self._now() for due in self._due.values())

    @property
    def depth(self) -> int:
        """How many keys are due now and wait for their turn."""
        now = self._now()
        return sum(due <= now for due in self._due.values())

    @property
    def longest(self) -> float:
        """For how many seconds the turn has run that began first; 0 without any."""
        return self._now() - min(self._began.values(), default=self._now())

    @property
    def beat(self) -> float:
        """The monotonic time of the last turn of the loop: what a liveness probe looks at."""
        return self._beat

    def __contains__(self, key: Key) -> bool:
        return key in self._due or key in self._tasks

    async def run(self) -> None:
        """Handle keys until cancelled; tasks under way are cancelled too."""
        try:
            while True:
                self._beat = self._now()
                self._changed.clear()
                self._begin_due()
                await self._wait()
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _begin_due(self) -> None:
        while self._heap and len(self._tasks) < self._in_flight:
            due, _, key = self._heap[0]
            if self._due.get(key) != due:
                heapq.heappop(self._heap)  # superseded by an earlier wake
                continue
            if due > self._now():
                return
            heapq.heappop(self._heap)
            del self._due[key]
            if key in self._tasks:
                self._woken_meanwhile.add(key)
                continue
            self._began[key] = self._now()
            self._tasks[key] = asyncio.create_task(self._turn(key), name=f"reconcile {key}")

    async def _wait(self) -> None:
        """Wait for a wake, for the end of a task, or until the next key is due."""
        full = len(self._tasks) >= self._in_flight
        until = self._heap[0][0] if self._heap and not full else self._now() + 1.0
        # At most a second: the beat shows a liveness probe that this loop turns.
        timeout = min(1.0, max(0.0, until - self._now()))
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _turn(self, key: Key) -> None:
        again = LATER
        try:
            again = await self._handle(key)
        except Exception:
            # A bug, since the handler turns what it expects into conditions: say so, keep going.
            logger.exception("reconcile failed", extra={"key": str(key)})
            again = Again(retry=True)
        finally:
            del self._tasks[key], self._began[key]
            self._changed.set()
        self._come_again(key, again)

    def _come_again(self, key: Key, again: Again) -> None:
        woken = key in self._woken_meanwhile
        self._woken_meanwhile.discard(key)
        self._not_before.pop(key, None)
        failures = self._failures.pop(key, 0)
        if again.retry:
            self._failures[key] = failures + 1
            self.retries += 1
        if again.at_least:
            self._not_before[key] = self._now() + again.at_least
        if woken:
            self._schedule(key, self._now())
        elif again.retry:
            least, most = self._back_off
            pause = min(most, least * 2.0 ** min(failures, 30))
            self._schedule(key, self._now() + self._jittered(pause))
        elif again.drop:
            self._promised.pop(key, None)
        else:
            # A time that was asked for is kept; only the resync is spread out.
            resync = self._jittered(self._resync)
            after = resync if again.after is None else min(again.after, resync)
            self._schedule(key, min(self._now() + after, self._promise(key)))

    def _promise(self, key: Key) -> float:
        """Return when a wake that was asked for later is due; a turn before it does not serve it."""
        promised = self._promised.get(key, float("inf"))
        if promised > self._now():
            return promised
        del self._promised[key]
        return float("inf")

    def _schedule(self, key: Key, due: float) -> None:
        due = max(due, self._not_before.get(key, due))
        if due >= self._due.get(key, float("inf")):
            return
        self._due[key] = due
        self.adds += 1
        heapq.heappush(self._heap, (due, next(self._order), key))
        self._changed.set()

    def _jittered(self, seconds: float) -> float:
        return seconds * (1.0 + JITTER * (2.0 * self._chance() - 1.0))

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
