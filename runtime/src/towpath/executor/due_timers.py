"""Timers for what becomes due in a queue without a call: the nearest one for each queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from towpath.domain.ids import QueueName

# What is due already and was not taken is in the hands of another worker at this moment.
SHORTEST_TIMER_SECONDS = 0.005


class DueTimers:
    """Rings for a queue when something in it becomes due. Called on one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[QueueName], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._timers: dict[QueueName, asyncio.TimerHandle] = {}

    def set(self, queue: QueueName, seconds: float | None) -> None:
        """Ring in so many seconds, unless it rings before that; None: nothing is known to be due."""
        if seconds is None:
            return
        seconds = max(seconds, SHORTEST_TIMER_SECONDS)
        timer = self._timers.get(queue)
        if timer is not None:
            if timer.when() <= self._loop.time() + seconds:
                return
            timer.cancel()
        self._timers[queue] = self._loop.call_later(seconds, self._rung, queue)

    def _rung(self, queue: QueueName) -> None:
        del self._timers[queue]
        self._ring(queue)
