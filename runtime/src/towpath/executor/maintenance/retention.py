"""Retention: ended workflows that were kept long enough are deleted, a batch at a time."""

from __future__ import annotations

import asyncio
import logging
import random

from towpath.executor.engine import Engine
from towpath.store.managing import delete_kept_long_enough

SHORTEST_PAUSE_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 90.0
BATCH = 1_000

_random = random.SystemRandom()  # of our own: an application may have seeded the global one

logger = logging.getLogger("towpath.retention")


class RetentionService:
    """Looks about once a minute, at a random time, and again at once while a look is full.

    One worker of all looks at a time: the others find the schema's row locked, or the round over.
    """

    def __init__(self, engine: Engine, *, batch: int = BATCH) -> None:
        self._engine = engine
        self._batch = batch

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await asyncio.sleep(_random.uniform(SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))
            await self.look()

    async def look(self) -> int:
        """Look until a batch is not full, and return how many workflows were deleted."""
        deleted = 0
        while True:
            done = await self._engine.on_loop(
                lambda session: delete_kept_long_enough(
                    session, self._engine.statements, self._batch
                )
            )
            deleted += done.deleted
            if done.looked_at < self._batch:
                break
        if deleted:
            logger.info("ended workflows deleted by retention", extra={"deleted": deleted})
        return deleted
