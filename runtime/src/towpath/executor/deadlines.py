"""Deadlines of workflows: whichever worker sees one pass cancels, so that none hangs on one process."""

from __future__ import annotations

import asyncio
import logging

from towpath.executor.engine import Engine
from towpath.store import workers

SHORTEST_SECONDS = 0.001

logger = logging.getLogger("towpath.worker")


class Deadlines:
    """Cancels when the nearest deadline passes. Called on the library's loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def next_in(self, seconds: float | None) -> None:
        """Take when the nearest deadline passes, in seconds from now, as the last poll saw it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            due = max(seconds, SHORTEST_SECONDS)
            self._timer = asyncio.get_running_loop().call_later(due, self._ring)

    def _ring(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._expire())

    async def _expire(self) -> None:
        """Cancel what is due. The deadlines of what has ended in time go by this as well."""
        engine, done = self._engine, False
        while not done:
            count, done = await engine.persist(lambda s: workers.expire(s, engine.statements))
            if count:
                logger.info("workflows past their deadline cancelled", extra={"count": count})
