"""What whoever migrates or grants does first in each transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import psycopg

First = Callable[[psycopg.AsyncConnection[Any]], Awaitable[None]]
"""What a caller adds, once the lock is held; what it raises ends the transaction."""


async def nothing(_: psycopg.AsyncConnection[Any]) -> None:
    """Add nothing."""


async def hold_schema(
    connection: psycopg.AsyncConnection[Any], schema: str, first: First = nothing
) -> None:
    """Let nobody else migrate or grant until the transaction ends."""
    lock = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
    await connection.execute(lock, (f"towpath.migrate.{schema}",))
    await first(connection)
