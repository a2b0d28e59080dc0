"""Connections: how they are opened, named and tuned, and the pools that lend sessions over them."""

from __future__ import annotations

import select
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.numeric import Int8Dumper

from towpath.domain.errors import DatabaseUnreachableError
from towpath.store.migrate import schema_state
from towpath.store.session import AsyncSession, BlockingSession

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool, ConnectionPool

    AnyConnection = psycopg.AsyncConnection[Any] | psycopg.Connection[Any]

# Plans made while the tables were empty stay with a session and cost 200 times as much once they are
# full; these leave the planner the index paths alone, which are the right ones at any size.
_TUNING = (
    "SET jit = off; SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off"
)
CONNECT_TIMEOUT_SECONDS = 10
POOL_WAIT_SECONDS = 30.0
MAX_IDLE_SECONDS = 60.0


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
    return " ".join(str(error).split()) or type(error).__name__


async def open_async(endpoint: Endpoint) -> psycopg.AsyncConnection[Any]:
    """Open one connection for the library's loop.

    Raises:
        DatabaseUnreachableError: the server could not be reached, or refused the login.
    """
    try:
        connection = await psycopg.AsyncConnection.connect(endpoint.source(), **endpoint.options())
    except psycopg.Error as error:
        raise DatabaseUnreachableError(reason=reason_of(error)) from None
    await _configure_async(endpoint, connection)
    return connection


async def check_schema(endpoint: Endpoint, schema: str) -> None:
    """Connect once and raise the `SchemaError` or `DatabaseUnreachableError` that stands in the way."""
    async with await open_async(endpoint) as connection:
        (await schema_state(connection, schema)).check()


class AsyncConnections:
    """Sessions on the library's loop: no connection at rest, and alive again after an outage."""

    def __init__(self, endpoint: Endpoint, *, size: int) -> None:
        self._endpoint = endpoint
        self._size = size
        self._pool: AsyncConnectionPool[Any] | None = None

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """Lend a session.

        Raises:
            DatabaseUnreachableError: no connection could be had within 30 s.
        """
        from psycopg_pool import PoolTimeout  # noqa: PLC0415 - `import towpath` loads psycopg alone

        pool = await self._opened()
        try:
            async with pool.connection() as connection:
                yield AsyncSession(connection, prepare=self._endpoint.prepare)
        except PoolTimeout as error:
            raise DatabaseUnreachableError(reason=str(error)) from None

    async def _opened(self) -> AsyncConnectionPool[Any]:
        from psycopg_pool import AsyncConnectionPool  # noqa: PLC0415 - as above

        if self._pool is None:
            self._pool = AsyncConnectionPool(
                self._endpoint.source,
                kwargs=self._endpoint.options(),
                min_size=0,
                max_size=self._size,
                timeout=POOL_WAIT_SECONDS,
                max_idle=MAX_IDLE_SECONDS,
                open=False,
                configure=lambda connection: _configure_async(self._endpoint, connection),
                check=_check_async,
            )
            await self._pool.open()
        return self._pool

    async def close(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None


class BlockingConnections:
    """Sessions for callers' threads, over blocking connections."""

    def __init__(self, endpoint: Endpoint, *, size: int) -> None:
        from psycopg_pool import ConnectionPool  # noqa: PLC0415 - `import towpath` loads psycopg alone

        self._endpoint = endpoint
        self._pool: ConnectionPool[Any] = ConnectionPool(
            endpoint.source,
            kwargs=endpoint.options(),
            min_size=0,
            max_size=size,
            timeout=POOL_WAIT_SECONDS,
            max_idle=MAX_IDLE_SECONDS,
            open=True,
            configure=self._configure,
            check=_check_fresh,
        )

    @contextmanager
    def session(self) -> Iterator[BlockingSession]:
        """As `AsyncConnections.session`."""
        from psycopg_pool import PoolTimeout  # noqa: PLC0415 - as above

        try:
            with self._pool.connection() as connection:
                yield BlockingSession(connection, prepare=self._endpoint.prepare)
        except PoolTimeout as error:
            raise DatabaseUnreachableError(reason=str(error)) from None

    def _configure(self, connection: psycopg.Connection[Any]) -> None:
        _adapt(connection)
        if not self._endpoint.pooled:
            connection.execute(_TUNING)

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()


async def _configure_async(endpoint: Endpoint, connection: psycopg.AsyncConnection[Any]) -> None:
    _adapt(connection)
    if not endpoint.pooled:
        await connection.execute(_TUNING)


def _adapt(connection: AnyConnection) -> None:
    """Send every int as bigint: a statement is prepared once, not once per size of its numbers."""
    connection.adapters.register_dumper(int, Int8Dumper)


def _check_fresh(connection: AnyConnection) -> None:
    """Refuse an idle connection that the server has closed, without a round trip.

    Nothing is due on an idle connection, so a readable socket is the server's goodbye.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise psycopg.OperationalError("the server closed this idle connection")


async def _check_async(connection: psycopg.AsyncConnection[Any]) -> None:
    _check_fresh(connection)
