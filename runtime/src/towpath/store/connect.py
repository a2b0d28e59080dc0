"""Connections: how they are opened, named and tuned, and the pools that lend sessions over them."""

from __future__ import annotations

import asyncio
import contextlib
import select
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8Dumper

from towpath.domain.errors import DatabaseUnreachableError
from towpath.store.migrate import schema_state
from towpath.store.session import AsyncSession, BlockingSession

AnyConnection = psycopg.AsyncConnection[Any] | psycopg.Connection[Any]
C = TypeVar("C", psycopg.AsyncConnection[Any], psycopg.Connection[Any])

# Plans made while the tables were empty stay with a session and cost 200 times as much once they are
# full; these leave the planner the index paths alone, which are the right ones at any size.
_TUNING = (
    "SET jit = off; SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off"
)
_QUESTION = " Is the server running on that host and accepting TCP/IP connections?"
CONNECT_TIMEOUT_SECONDS = 10
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
    text = " ".join(str(error).split()).replace(_QUESTION, "")
    return text.rstrip(" .") or type(error).__name__


async def open_async(endpoint: Endpoint) -> psycopg.AsyncConnection[Any]:
    """Open one connection for the library's loop.

    Raises:
        DatabaseUnreachableError: the server could not be reached, or refused the login.
    """
    try:
        connection = await psycopg.AsyncConnection.connect(endpoint.source(), **endpoint.options())
    except psycopg.ProgrammingError:
        # libpq quotes the text that it cannot read, which may hold a password
        raise DatabaseUnreachableError(
            reason="the URL is not like postgresql://user@host:5432/database"
        ) from None
    except psycopg.Error as error:
        raise DatabaseUnreachableError(reason=reason_of(error)) from None
    await _configure_async(endpoint, connection)
    return connection


async def check_schema(endpoint: Endpoint, schema: str) -> None:
    """Connect once and raise the `SchemaError` or `DatabaseUnreachableError` that stands in the way."""
    async with await open_async(endpoint) as connection:
        (await schema_state(connection, schema)).check()


class Idle(Generic[C]):
    """Connections that are lent out again, newest first; those that the server closed are dropped.

    Not a library's pool: psycopg_pool hides why no connection can be had behind its timeout, and after
    an outage of three seconds still waited out its own back-off after sixty (docs/decisions/0007).
    """

    def __init__(self) -> None:
        self._kept: deque[tuple[float, C]] = deque()
        self._drained = False

    def take(self) -> C | None:
        """Return an open connection, None where there is none."""
        while self._kept:
            with contextlib.suppress(IndexError):
                _, connection = self._kept.pop()
                if _is_fresh(connection):
                    return connection
        return None

    def keep(self, connection: C) -> C | None:
        """Take a connection back; return one to close instead: it is broken, or idle for too long."""
        if (
            self._drained
            or connection.closed
            or connection.info.transaction_status != TransactionStatus.IDLE
        ):
            return connection
        now = time.monotonic()
        self._kept.append((now, connection))
        if now - self._kept[0][0] > MAX_IDLE_SECONDS:
            with contextlib.suppress(IndexError):
                return self._kept.popleft()[1]
        return None

    def drain(self) -> list[C]:
        """Return every connection, to be closed; those that are out are closed when they come back."""
        self._drained = True
        kept = [connection for _, connection in self._kept]
        self._kept.clear()
        return kept


class AsyncConnections:
    """Sessions on the library's loop: no connection at rest, and alive again after an outage."""

    def __init__(self, endpoint: Endpoint, *, size: int) -> None:
        self._endpoint = endpoint
        self._room = asyncio.Semaphore(size)
        self._idle: Idle[psycopg.AsyncConnection[Any]] = Idle()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """Lend a session; at most `size` are out at once, the next caller waits.

        Raises:
            DatabaseUnreachableError: the server could not be reached, or refused the login.
        """
        async with self._room:
            connection = self._idle.take() or await open_async(self._endpoint)
            try:
                yield AsyncSession(connection, prepare=self._endpoint.prepare)
            finally:
                spent = self._idle.keep(connection)
                if spent is not None:
                    await spent.close()

    async def close(self) -> None:
        """Close every connection that is not out."""
        for connection in self._idle.drain():
            await connection.close()


class BlockingConnections:
    """The same for callers' threads, over blocking connections."""

    def __init__(self, endpoint: Endpoint, *, size: int) -> None:
        self._endpoint = endpoint
        self._room = threading.Semaphore(size)
        self._idle: Idle[psycopg.Connection[Any]] = Idle()

    @contextmanager
    def session(self) -> Iterator[BlockingSession]:
        """As `AsyncConnections.session`."""
        with self._room:
            connection = self._idle.take() or open_blocking(self._endpoint)
            try:
                yield BlockingSession(connection, prepare=self._endpoint.prepare)
            finally:
                spent = self._idle.keep(connection)
                if spent is not None:
                    spent.close()

    def close(self) -> None:
        """Close every connection that is not out."""
        for connection in self._idle.drain():
            connection.close()


def open_blocking(endpoint: Endpoint) -> psycopg.Connection[Any]:
    """As `open_async`, for a caller's thread."""
    try:
        connection = psycopg.connect(endpoint.source(), **endpoint.options())
    except psycopg.Error as error:
        raise DatabaseUnreachableError(reason=reason_of(error)) from None
    _adapt(connection)
    if not endpoint.pooled:
        connection.execute(_TUNING)
    return connection


async def _configure_async(endpoint: Endpoint, connection: psycopg.AsyncConnection[Any]) -> None:
    _adapt(connection)
    if not endpoint.pooled:
        await connection.execute(_TUNING)


def _adapt(connection: AnyConnection) -> None:
    """Send every int as bigint: a statement is prepared once, not once per size of its numbers."""
    connection.adapters.register_dumper(int, Int8Dumper)


def _is_fresh(connection: AnyConnection) -> bool:
    """Tell whether the server has left an idle connection open, without a round trip.

    Nothing is due on an idle connection, so a readable socket is the server's goodbye.
    """
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)
