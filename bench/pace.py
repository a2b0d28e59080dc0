"""An open loop of enqueue calls: at random gaps, whether or not earlier jobs have begun."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple


class Sent(NamedTuple):
    """One enqueue call, by the monotonic clock."""

    number: int
    before: float
    after: float


class Pace:
    """Calls at random gaps, the same gaps in every run."""

    def __init__(self, count: int, shortest: float, longest: float) -> None:
        self.count = count
        self._shortest, self._longest = shortest, longest
        self._random = random.Random(7)  # noqa: S311 - repeatable on purpose

    def _gap(self) -> float:
        return self._random.uniform(self._shortest, self._longest)

    def run(self, send: Callable[[int], object]) -> list[Sent]:
        """Call `send` with 0, 1, 2, ..."""
        sent = []
        for number in range(self.count):
            time.sleep(self._gap())
            before = time.monotonic()
            send(number)
            sent.append(Sent(number, before, time.monotonic()))
        return sent

    async def run_async(self, send: Callable[[int], Awaitable[object]]) -> list[Sent]:
        """Await `send` with 0, 1, 2, ..."""
        sent = []
        for number in range(self.count):
            await asyncio.sleep(self._gap())
            before = time.monotonic()
            await send(number)
            sent.append(Sent(number, before, time.monotonic()))
        return sent
