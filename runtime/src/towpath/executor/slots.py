"""A worker's slots: room for running workflows. A waiting workflow gives its slot back.

A slot is a permit and not a thread. All of it is called on the library's loop.
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
