"""Transactions of the users' own functions: their connections, and the record that commits with them.

The connections are as the server makes them, without the library's tuning and adapters: what runs on
them are the users' statements. They are not those of the verbs, which never wait for a user's function.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, Protocol, TypeVar, cast

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from towpath.domain.errors import TransactionDatabaseError, TransactionEndedError
from towpath.store.budget import Budget
from towpath.store.connect import Endpoint, connect_async, connect_blocking
from towpath.store.lending import AsyncConnections, BlockingConnections, Verb
from towpath.store.session import AsyncSession, BlockingSession, Call, Row, Session
from towpath.store.statements import Statements
from towpath.store.steps import NewStep, RecordedStep

T = TypeVar("T")
Isolation = Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]

# A setting that one function made would be found by another, by the chance of which connection it gets.
_RESET: Call = (b"RESET ALL", {})
_BEGIN: Call = (b"BEGIN", {})
_COMMIT: Call = (b"COMMIT", {})
_ROLLBACK: Call = (b"ROLLBACK", {})
# What the users' deferred triggers wait for must not be waited for with the place's lock.
_FIRE_DEFERRED: Call = (b"SET CONSTRAINTS ALL IMMEDIATE", {})
BEGINS: dict[Isolation, Call] = {
    "READ COMMITTED": (b"BEGIN ISOLATION LEVEL READ COMMITTED", {}),
    "REPEATABLE READ": (b"BEGIN ISOLATION LEVEL REPEATABLE READ", {}),
    "SERIALIZABLE": (b"BEGIN ISOLATION LEVEL SERIALIZABLE", {}),
}

CONFLICTS = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: the same transaction may succeed when it is tried again."""
OWN_TIMEOUTS = frozenset({"25P03", "25P04"})
"""The server ended the connection for what the function itself did: it was idle, or took, too long."""
LARGEST_LENDER = 4
"""The most connections for the transactions of one URL and kind of caller."""
NOT_NULL_VIOLATION = "23502"
UNIQUE_VIOLATION = "23505"


class OwnConnection(psycopg.Connection[Any]):
    """What a sync transaction's function gets: it may not end the transaction."""

    transaction_name = ""

    def lend(self, transaction_name: str) -> None:
        """Be as new for the next function: what the last one set on this object is gone."""
        self.transaction_name = transaction_name
        self.row_factory = tuple_row
        self.cursor_factory = psycopg.Cursor
        self.server_cursor_factory = psycopg.ServerCursor

    def commit(self) -> None:
        """Refuse.

        Raises:
            TransactionEndedError: always; nothing is committed.
        """
        raise TransactionEndedError(transaction_name=self.transaction_name, how="called commit()")

    def rollback(self) -> None:
        """Refuse, as `commit`."""
        raise TransactionEndedError(transaction_name=self.transaction_name, how="called rollback()")


class OwnAsyncConnection(psycopg.AsyncConnection[Any]):
    """The same for an async one."""

    transaction_name = ""

    def lend(self, transaction_name: str) -> None:
        """As `OwnConnection.lend`."""
        self.transaction_name = transaction_name
        self.row_factory = tuple_row
        self.cursor_factory = psycopg.AsyncCursor
        self.server_cursor_factory = psycopg.AsyncServerCursor

    async def commit(self) -> None:
        """Refuse, as `OwnConnection.commit`."""
        raise TransactionEndedError(transaction_name=self.transaction_name, how="called commit()")

    async def rollback(self) -> None:
        """Refuse, as `OwnConnection.commit`."""
        raise TransactionEndedError(transaction_name=self.transaction_name, how="called rollback()")


class TransactionSession(Session, Protocol):
    """A session over a connection that is lent to a user's function."""

    @property
    def connection(self) -> OwnConnection | OwnAsyncConnection:
        """What the function gets."""
        ...

    async def run_as_one(self, *calls: Call) -> list[Row]:
        """Run several statements, sent as one message, and return their rows.

        The server begins once it has all of the message: no client can be frozen in the midst of it.
        """
        ...


class _AsyncTransactionSession(AsyncSession):
    connection: OwnAsyncConnection

    async def run_as_one(self, *calls: Call) -> list[Row]:
        cursor = psycopg.AsyncClientCursor(self.connection, row_factory=tuple_row)
        await cursor.execute(*_join(calls))
        rows: list[Row] = []
        async for result in cursor.results():
            rows += await result.fetchall() if result.description else []
        return rows


class _BlockingTransactionSession(BlockingSession):
    connection: OwnConnection

    async def run_as_one(self, *calls: Call) -> list[Row]:
        cursor = psycopg.ClientCursor(self.connection, row_factory=tuple_row)
        cursor.execute(*_join(calls))
        rows: list[Row] = []
        for result in cursor.results():
            rows += result.fetchall() if result.description else []
        return rows


def _join(calls: tuple[Call, ...]) -> Call:
    """Make one text of several statements, whose parameters have different names or equal values."""
    parameters: dict[str, Any] = {}
    for _, own in calls:
        parameters |= own
    return b";\n".join(text for text, _ in calls), parameters


Work = Callable[[TransactionSession], Awaitable[T]]


class Lender(Protocol):
    """Lends connections to transactions."""

    async def run(self, work: Callable[[TransactionSession], Any]) -> Any:
        """Run a coroutine function over a connection that nobody else has.

        Raises:
            DatabaseUnreachableError: none can be opened.
        """
        ...


class TransactionConnections:
    """The connections of one engine's transactions, by the URL that a transaction names (None: the engine's).

    At most `size` are open at once, whatever URLs they lead to.
    """

    def __init__(self, endpoint: Endpoint, *, size: int) -> None:
        self._endpoint = endpoint
        self._size = min(size, LARGEST_LENDER)
        self._budget = Budget(size)
        self._lock = threading.Lock()
        self._blocking: dict[str | None, BlockingConnections] = {}
        self._suspending: dict[str | None, AsyncConnections] = {}
        self.verified: set[str] = set()
        """The URLs that are known to lead to the engine's own database."""

    def endpoint(self, url: str | None) -> Endpoint:
        """Return where the transactions that name a URL connect."""
        return self._endpoint if url is None else replace(self._endpoint, source=lambda: url)

    def blocking(self, url: str | None) -> Lender:
        """Lend to threads, which wait for one of a few connections."""
        with self._lock:
            if url not in self._blocking:
                self._blocking[url] = BlockingConnections(
                    self.endpoint(url), size=self._size, connect=_open_blocking, budget=self._budget
                )
            return _BlockingLender(self._blocking[url])

    def suspending(self, url: str | None) -> Lender:
        """Lend on the loop of async workflows, where callers wait for one of a few connections."""
        with self._lock:
            if url not in self._suspending:
                self._suspending[url] = AsyncConnections(
                    self.endpoint(url), size=self._size, connect=_open_async, budget=self._budget
                )
            return _SuspendingLender(self._suspending[url])

    def fresh(self, url: str | None) -> Lender:
        """Lend on whatever loop, a new connection each time: none outlives its loop."""
        return _FreshLender(self.endpoint(url), self._budget)

    def close(self) -> None:
        """Close every connection that is not out; from any thread, since no loop is needed for it."""
        with self._lock:
            for blocking in self._blocking.values():
                blocking.close()
            for suspending in self._suspending.values():
                suspending.drop()


class _BlockingLender:
    def __init__(self, connections: BlockingConnections) -> None:
        self._connections = connections

    async def run(self, work: Callable[[TransactionSession], Any]) -> Any:
        return self._connections.run(cast("Verb[Any]", work))


class _SuspendingLender:
    def __init__(self, connections: AsyncConnections) -> None:
        self._connections = connections

    async def run(self, work: Callable[[TransactionSession], Any]) -> Any:
        return await self._connections.run(cast("Verb[Any]", work))


class _FreshLender:
    def __init__(self, endpoint: Endpoint, budget: Budget) -> None:
        self._endpoint = endpoint
        self._budget = budget

    async def run(self, work: Callable[[TransactionSession], Any]) -> Any:
        await self._budget.take_async()
        try:
            session = await _open_async(self._endpoint)
            try:
                return await work(session)
            finally:
                await session.connection.close()
        finally:
            self._budget.give()


def _open_blocking(endpoint: Endpoint) -> _BlockingTransactionSession:
    return _BlockingTransactionSession(
        connect_blocking(endpoint, OwnConnection), prepare=endpoint.prepare
    )


async def _open_async(endpoint: Endpoint) -> _AsyncTransactionSession:
    return _AsyncTransactionSession(
        await connect_async(endpoint, OwnAsyncConnection), prepare=endpoint.prepare
    )


@dataclass(frozen=True, slots=True)
class Look:
    """Whether the attempt holds its place, and what is recorded at the position."""

    held: bool
    recorded: RecordedStep | None


async def begin_for_step(
    session: TransactionSession,
    statements: Statements,
    isolation: Isolation,
    *,
    seq: int,
    attempt: int,
    position: str,
) -> Look:
    """Look at the step, then begin its transaction, in one round trip."""
    asked = {"seq": seq, "attempt": attempt, "position": position}
    look = (statements["look_at_transaction"], asked)
    ((held, name, output, failure),) = await session.run_as_one(
        _BEGIN, _RESET, look, _COMMIT, BEGINS[isolation]
    )
    recorded = None if name is None else RecordedStep(position, name, output, failure, None)
    return Look(held, recorded)


async def begin(session: TransactionSession, isolation: Isolation) -> None:
    """Begin a transaction that belongs to no step."""
    await session.run_as_one(_BEGIN, _RESET, _COMMIT, BEGINS[isolation])


async def commit_with_record(
    session: TransactionSession, statements: Statements, step: NewStep
) -> None:
    """Write the step's record and commit, or write nothing and raise what Postgres says."""
    await session.run_as_one(_FIRE_DEFERRED, _record(statements, step), _COMMIT)


async def commit_failure(
    session: TransactionSession, statements: Statements, step: NewStep
) -> None:
    """Roll back what the function did and record its failure."""
    await roll_back(session)
    await session.run_as_one(_BEGIN, _record(statements, step), _COMMIT)


async def commit(session: TransactionSession) -> None:
    """Commit a transaction that belongs to no step."""
    await session.run(_COMMIT)


async def roll_back(session: TransactionSession) -> None:
    """Roll back, if the connection still can."""
    if session.connection.info.transaction_status == TransactionStatus.IDLE:
        return
    with contextlib.suppress(psycopg.Error):
        await session.run(_ROLLBACK)


def _record(statements: Statements, step: NewStep) -> Call:
    return (
        statements["record_transaction"],
        {
            "seq": step.seq,
            "attempt": step.attempt,
            "position": step.position,
            "name": step.name,
            "output": step.output,
            "failure": step.failure,
            "seconds": step.took.total_seconds(),
        },
    )


def is_stale(error: psycopg.Error, schema: str) -> bool:
    """Tell whether the record was refused since the attempt no longer holds its place."""
    found = error.diag
    return (error.sqlstate, found.schema_name, found.table_name, found.column_name) == (
        NOT_NULL_VIOLATION,
        schema,
        "step",
        "attempt",
    )


def is_recorded_already(error: psycopg.Error, schema: str) -> bool:
    """Tell whether the record was refused since there is one at its position."""
    found = error.diag
    return (error.sqlstate, found.schema_name, found.table_name) == (
        UNIQUE_VIOLATION,
        schema,
        "step",
    )


@dataclass(frozen=True, slots=True)
class DatabaseIdentity:
    """What tells a database from every other. `schema` and its oid are those of Towpath there."""

    name: str
    oid: int
    server_started_at: datetime
    schema: str
    schema_oid: int | None

    def check(self, other: DatabaseIdentity) -> None:
        """Raise unless the other is the same database.

        Raises:
            TransactionDatabaseError: it is not.
        """
        if self != other:
            raise TransactionDatabaseError(found=other.name, expected=self.name, schema=self.schema)


async def identify(session: Session, statements: Statements) -> DatabaseIdentity:
    """Return which database a session is in."""
    ask = (statements["database_identity"], {"schema": statements.schema})
    ((name, oid, started_at, schema_oid),) = (await session.run(ask))[0]
    return DatabaseIdentity(name, oid, started_at, statements.schema, schema_oid)
