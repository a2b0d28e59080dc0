"""The one local database of a session: the embedded Postgres, or a server that was named."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import psycopg

from towpath.local import postgres
from towpath.store.migrate import migrate
from towpath_operator.model.uri import UriError, check_uri

CONNECT_SECONDS = 10


class DatabaseUrlError(Exception):
    """`--database-url` cannot be used; the message holds no part of its value."""


class DatabaseDownError(Exception):
    """The named server does not answer, or refuses us."""


@dataclass(slots=True)
class LocalDatabase:
    """The database's URL, and its server if it is ours."""

    url: str
    server: postgres.Server | None
    description: str

    @property
    def running(self) -> bool:
        """Whether our server runs; a named one is another's business."""
        return self.server is None or self.server.running

    async def stop(self) -> None:
        """Stop the server if it is ours."""
        if self.server is not None:
            await asyncio.to_thread(self.server.stop)


async def open_database(home: Path, url: str | None) -> LocalDatabase:
    """Start the folder's Postgres, or check the server that was named.

    Raises:
        DatabaseUrlError: the URL is none that Towpath accepts.
        TowpathError: Postgres is missing or does not start.
    """
    if url is not None:
        return _named(url)
    server = await asyncio.to_thread(postgres.start, home)
    below = server.data.is_relative_to(home.parent)
    shown = server.data.relative_to(home.parent) if below else server.data
    description = f"{shown} (PostgreSQL {server.version}, port {server.port})   kept between runs"
    return LocalDatabase(server.url, server, description)


async def prepare(database: LocalDatabase, schema: str) -> None:
    """Bring the schema to this version.

    Raises:
        DatabaseDownError: the server does not answer, or refuses us.
        SchemaError: the schema is not one that this version can serve.
    """
    try:
        connection = await psycopg.AsyncConnection.connect(
            database.url, autocommit=True, connect_timeout=CONNECT_SECONDS
        )
        async with connection:
            await migrate(connection, schema)
    except psycopg.Error as error:
        raise DatabaseDownError(" ".join(str(error).split())) from error


def _named(url: str) -> LocalDatabase:
    try:
        checked = check_uri(url)
    except UriError as error:
        raise DatabaseUrlError(f"--database-url cannot be used: {error}") from None
    parameters = psycopg.conninfo.conninfo_to_dict(checked)
    place = (
        f"{parameters.get('host')}:{parameters.get('port', 5432)}/{parameters.get('dbname', '')}"
    )
    return LocalDatabase(checked, None, f"{place}   as --database-url says")
