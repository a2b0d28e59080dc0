"""Connections: where to, how they are opened, named and tuned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

from towpath.domain.errors import DatabaseUnreachableError
from towpath.store.arrays import ArrayDumper
from towpath.store.certificates import system_certificates
from towpath.store.migrate import schema_state

B = TypeVar("B", bound=psycopg.Connection[Any])
A = TypeVar("A", bound=psycopg.AsyncConnection[Any])
AnyConnection = psycopg.AsyncConnection[Any] | psycopg.Connection[Any]

# Plans made while the tables were empty stay with a session and cost 200 times as much once they are
# full; these leave the planner the index paths alone, which are the right ones at any size. So one plan
# serves for every value too: a claim that was planned anew each time took half as long again.
_TUNING = (
    "SET jit = off; SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; "
    "SET plan_cache_mode = force_generic_plan"
)
_QUESTION = " Is the server running on that host and accepting TCP/IP connections?"
CONNECT_TIMEOUT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect, and how.

    Attributes:
        source: Returns the libpq URI, and is asked at every connect, so that a mounted Secret that was
            rotated is read again. The URI may hold a password and is never logged.
        pooled: The server is behind a transaction pooler: no prepared statements, no settings that
            outlive a transaction.
        application_name: What `pg_stat_activity` shows.
    """

    source: Callable[[], str]
    pooled: bool = False
    application_name: str = "towpath"

    @classmethod
    def at(cls, url: str) -> Endpoint:
        """Return the endpoint of a URI that does not change."""
        return cls(lambda: url)

    @property
    def prepare(self) -> bool:
        """What `execute(prepare=)` takes."""
        return not self.pooled

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of `connect`, without the URI."""
        return {
            "autocommit": True,
            "prepare_threshold": None if self.pooled else 5,
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "fallback_application_name": self.application_name,
        }


def reason_of(error: psycopg.Error) -> str:
    """Say in one line why the server could not be reached; libpq never puts a password there."""
    text = " ".join(str(error).split()).replace(_QUESTION, "")
    return text.rstrip(" .") or type(error).__name__


@contextmanager
def _explaining() -> Iterator[None]:
    """Turn what libpq says of a failed connect into `DatabaseUnreachableError`."""
    try:
        yield
    except psycopg.ProgrammingError:
        # libpq quotes the text that it cannot read, which may hold a password
        raise DatabaseUnreachableError(
            reason="the URL is not like postgresql://user@host:5432/database"
        ) from None
    except psycopg.Error as error:
        raise DatabaseUnreachableError(reason=reason_of(error)) from None


async def connect_async(endpoint: Endpoint, kind: type[A], **more: Any) -> A:
    """Open one connection as the server makes it, for statements that are not the library's.

    `more` is what libpq is told beside.

    Raises:
        DatabaseUnreachableError: the server could not be reached, or refused the login.
    """
    with _explaining():
        uri = endpoint.source()
        return await kind.connect(uri, **endpoint.options(), **system_certificates(uri), **more)


def connect_blocking(endpoint: Endpoint, kind: type[B]) -> B:
    """As `connect_async`, for a caller's thread."""
    with _explaining():
        uri = endpoint.source()
        return kind.connect(uri, **endpoint.options(), **system_certificates(uri))


async def open_async(endpoint: Endpoint) -> psycopg.AsyncConnection[Any]:
    """Open one connection for the library's loop, adapted and tuned.

    Raises:
        DatabaseUnreachableError: the server could not be reached, or refused the login.
    """
    connection = await connect_async(endpoint, psycopg.AsyncConnection)
    try:
        _adapt(connection)
        if not endpoint.pooled:
            await connection.execute(_TUNING)
    except BaseException:  # cancelled, or cut off again at once
        await connection.close()
        raise
    return connection


async def check_schema(endpoint: Endpoint, schema: str) -> None:
    """Connect once and raise the `SchemaError` or `DatabaseUnreachableError` that stands in the way."""
    async with await open_async(endpoint) as connection:
        (await schema_state(connection, schema)).check()


def open_blocking(endpoint: Endpoint) -> psycopg.Connection[Any]:
    """As `open_async`, for a caller's thread."""
    connection = connect_blocking(endpoint, psycopg.Connection)
    try:
        _adapt(connection)
        if not endpoint.pooled:
            connection.execute(_TUNING)
    except BaseException:
        connection.close()
        raise
    return connection


def _adapt(connection: AnyConnection) -> None:
    """Send every int as bigint: a statement is prepared once, not once per size of its numbers."""
    connection.adapters.register_dumper(int, Int8Dumper)
    connection.adapters.register_dumper(int, Int8BinaryDumper)
    connection.adapters.register_dumper(list, ArrayDumper)
