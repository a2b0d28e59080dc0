"""An event loop on which waiting takes no time: a timeout moves its clock."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing: a wait with a timeout moves the clock by that much."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.jumping = _JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


def on_jumping_clock(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario; seconds in it take no time."""
    with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
        runner.run(scenario)


def now() -> float:
    return asyncio.get_running_loop().time()
