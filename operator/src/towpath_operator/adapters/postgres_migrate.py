"""Migrates a schema beside everything else: what takes long holds up no reconcile and no look."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import psycopg

from towpath.store.migrate import migrate
from towpath.store.statements import Statements
from towpath_operator.adapters.fenced_session import make_sure
from towpath_operator.adapters.postgres_errors import EXPECTED, blocked_by
from towpath_operator.model.conditions import Reason
from towpath_operator.plan.observed import Blocked, DatabaseTarget
from towpath_operator.ports.database import DatabaseError
from towpath_operator.ports.fence import Fence

logger = logging.getLogger(__name__)

MIGRATION_SECONDS: Final = 600.0
PROMPT_SECONDS: Final = 2.0
"""How long a call waits for a migration that may be over at once."""

Open = Callable[[DatabaseTarget], Awaitable[psycopg.AsyncConnection[Any]]]


class Migrator:
    """Runs one migration of a schema at a time, on a connection of its own."""

    def __init__(self, target: DatabaseTarget, fence: Fence, open_connection: Open) -> None:
        self._target = target
        self._fence = fence
        self._open = open_connection
        self._task: asyncio.Task[None] | None = None
        self._blocked: Blocked | None = None

    @property
    def running(self) -> bool:
        """Whether a migration is under way."""
        return self._task is not None and not self._task.done()

    @property
    def failure(self) -> tuple[Reason, str] | None:
        """Why the last one ended early, if it did."""
        return None if self._blocked is None else (self._blocked.reason, self._blocked.message)

    async def run(self) -> None:
        """Migrate, unless it is under way; return once it is done, or goes on by itself.

        Raises:
            DatabaseError: it has failed already.
        """
        if not self.running:
            self._task = asyncio.create_task(self._migrate(), name=f"migrate {self._target.key}")
        assert self._task is not None  # noqa: S101 - made above
        done, _ = await asyncio.wait({self._task}, timeout=PROMPT_SECONDS)
        for task in done:
            task.result()
        if done and self._blocked is not None:
            raise DatabaseError(self._blocked)

    async def stop(self) -> None:
        """End what is under way; Postgres undoes the migration that it was at."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _migrate(self) -> None:
        about = {"database": str(self._target.key), "schema": self._target.schema}
        try:
            async with asyncio.timeout(MIGRATION_SECONDS):
                async with await self._open(self._target) as connection:
                    statements = Statements(self._target.schema)
                    applied = await migrate(
                        connection,
                        self._target.schema,
                        first=lambda c: make_sure(c, statements, self._fence),
                    )
        except DatabaseError as error:
            self._blocked = error.blocked
        except EXPECTED as error:
            self._blocked = blocked_by(error)
        else:
            self._blocked = None
            if applied:
                logger.info("schema migrated", extra={**about, "applied": list(applied)})
            return
        logger.warning("migration failed", extra={**about, "error": self._blocked.message})
