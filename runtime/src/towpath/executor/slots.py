"""A worker's slots: room for running workflows. A waiting workflow gives its slot back.

A slot is a permit and not a thread, and an attempt has one, however many of its branches wait at
once. All of it is called on the library's loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Slots:
    """Counts the free slots; workflows that want theirs back come before new claims."""

    def __init__(self, total: int, *, on_free: Callable[[], None]) -> None:
        self.total = total
        self._free = total
        self._on_free = on_free
        self._retaking: deque[asyncio.Future[None]] = deque()

    @property
    def free(self) -> int:
        """How many workflows may be claimed now."""
        return self._free

    def take(self, count: int) -> None:
        """Take slots that are free; a claim takes as many as it asks for, before it asks."""
        self._free -= count

    def give(self, count: int = 1) -> None:
        """Give slots back: first to workflows that wait for theirs, then to claims."""
        while count and self._retaking:
            waiting = self._retaking.popleft()
            if not waiting.done():
                waiting.set_result(None)
                count -= 1
        if count:
            self._free += count
            self._on_free()

    async def retake(self) -> None:
        """Take a slot again after a wait, ahead of every new claim."""
        if self._free > 0:
            self._free -= 1
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._retaking.append(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                self.give()
            raise


class Seat:
    """The slot of one attempt: away while any of its branches waits, back when the last goes on.

    A branch that computes beside one that waits does so without a slot. The other rule, that it keeps
    the slot, would let a parent that awaits several children hold the slot that the last one needs.
    """

    __slots__ = ("_ended", "_held", "_resuming", "_slots", "_waits")

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._held = True
        self._waits = 0
        self._ended = False
        self._resuming: asyncio.Lock | None = None  # most attempts never wait

    def begin_wait(self) -> None:
        """A branch waits: others may use the slot."""
        self._waits += 1
        self._give()

    async def end_wait(self, *, interrupted: bool) -> None:
        """A branch goes on; the last one waits for a slot, unless it goes on only to end."""
        self._waits -= 1
        if self._resuming is None:
            self._resuming = asyncio.Lock()
        async with self._resuming:
            if interrupted or self._held or self._waits or self._ended:
                return
            await self._slots.retake()
            self._held = True
            if self._waits or self._ended:  # another branch was faster
                self._give()

    @property
    def ended(self) -> bool:
        """Whether the attempt has ended."""
        return self._ended

    def end(self) -> None:
        """The attempt has ended."""
        self._ended = True
        self._give()

    def _give(self) -> None:
        if self._held:
            self._held = False
            self._slots.give()
