"""Spaces out writes: a burst is let through, a flood is not."""

from __future__ import annotations

import asyncio
from typing import Final

STATUS_WRITES_A_SECOND: Final = 20.0


class SteadyPace:
    """Lets through `rate` calls a second, and a second's worth of them at once after a rest."""

    def __init__(self, rate: float = STATUS_WRITES_A_SECOND) -> None:
        self._interval = 1.0 / rate
        self._next = 0.0

    async def wait(self) -> None:
        """Wait for the next free moment."""
        now = asyncio.get_running_loop().time()
        # After a rest the schedule lags behind by at most a second, which is the burst.
        self._next = max(self._next + self._interval, now - 1.0)
        if self._next > now:
            await asyncio.sleep(self._next - now)
