"""How `towpath db` connects: to a database that may have no schema yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from towpath.cli.exits import CommandError, ExitCode
from towpath.domain.errors import DatabaseUnreachableError

if TYPE_CHECKING:
    import psycopg

    from towpath.executor.engine import EngineSettings

T = TypeVar("T")


def settings_of(database_url: str | None, schema: str | None) -> EngineSettings:
    """Return where to connect, and the schema."""
    from towpath.api.connection import find_engine_settings

    return find_engine_settings(database_url, schema)


def on_connection(
    settings: EngineSettings, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]
) -> T:
    """Run some work on a connection of its own."""
    import asyncio

    async def run() -> T:
        async with await _open(settings) as connection:
            return await work(connection)

    return asyncio.run(run())


async def _open(settings: EngineSettings) -> psycopg.AsyncConnection[Any]:
    from towpath.store.connect import open_async

    try:
        return await open_async(settings.endpoint)
    except DatabaseUnreachableError as error:
        # the error's own hint is this very command
        raise CommandError(
            f"the database cannot be reached: {error.reason}. Look at the server, and at the host, "
            "port, user and password of its URL.",
            ExitCode.UNREACHABLE,
        ) from None
