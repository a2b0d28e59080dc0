"""One connection to one schema of a database, and how connections of the operator are opened."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import psycopg

from towpath.store.connect import Endpoint, connect_async, open_async
from towpath.store.migrate import LIBRARY_SCHEMA_VERSION
from towpath.store.session import AsyncSession, Session
from towpath.store.statements import Statements
from towpath_operator import metrics
from towpath_operator.adapters.certificates import uri_with_certificates
from towpath_operator.adapters.fenced_session import FencedSession
from towpath_operator.adapters.postgres_errors import EXPECTED, blocked_by
from towpath_operator.adapters.postgres_listen import Ear
from towpath_operator.adapters.postgres_migrate import Migrator
from towpath_operator.adapters.postgres_schema import SchemaWatch
from towpath_operator.adapters.workers_login import WorkersLogin
from towpath_operator.model.conditions import Reason
from towpath_operator.plan.observed import Blocked, DatabaseState, DatabaseTarget
from towpath_operator.plan.schema_facts import SchemaFacts
from towpath_operator.ports.database import DatabaseError
from towpath_operator.ports.fence import Fence

T = TypeVar("T")
Work = Callable[[AsyncSession, Statements], Awaitable[T]]
Write = Callable[[Session, Statements], Awaitable[T]]

APPLICATION_NAME: Final = "towpath-operator"
OLDEST_SERVER: Final = 150_000

# Nothing is sent on a LISTEN connection, so a silent loss between the two ends would last for hours.
KEEP_ALIVE: Final = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}


class Link:
    """One connection to one schema: opened when needed, one call at a time, each within the bound."""

    def __init__(self, target: DatabaseTarget, fence: Fence, timeout: float) -> None:
        self.target = target
        self._fence = fence
        self.ear = Ear(Statements(target.schema).channel)
        self.migrator = Migrator(target, fence, open_target)
        self.schema = SchemaWatch(target, self.migrator)
        self.workers = WorkersLogin(target)
        self._statements = Statements(target.schema)
        self._timeout = timeout
        self._lock = asyncio.Lock()
        self._closed = False
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def run(self, work: Work[T]) -> T:
        """Do some work, a second time where the connection turns out to be dead since the last call.

        All our work may be repeated, so a restart of Postgres between two calls is nobody's trouble.
        """
        database = str(self.target.key)
        try:
            async with metrics.sql_work(database), asyncio.timeout(self._timeout), self._lock:
                return await self._run_or_repeat(work)
        except EXPECTED as error:
            await self.ear.close()  # it may be as dead without knowing
            blocked = blocked_by(error)
            metrics.sql_failed(database, blocked.reason)
            raise DatabaseError(blocked) from None

    async def write(self, work: Write[T]) -> T:
        """Do some work that changes the database, as the leader or not at all.

        Everything but a read goes through here: each `run` of the session that the work is given is one
        transaction, which a later leader's operator makes fail as a whole (`LeadershipLostError`).
        """

        async def fenced(session: AsyncSession, statements: Statements) -> T:
            return await work(FencedSession(session, statements, self._fence), statements)

        return await self.run(fenced)

    def state_of(
        self, version: int | None, serves_from: int | None, facts: SchemaFacts
    ) -> DatabaseState:
        """Return what a look has found."""
        problem = None
        if serves_from is not None and serves_from > LIBRARY_SCHEMA_VERSION:
            problem = Blocked(
                reason=Reason.SCHEMA_TOO_NEW,
                message=f"The schema serves operators from schema version {serves_from} on; this one "
                f"has {LIBRARY_SCHEMA_VERSION}. Upgrade the operator.",
            )
        return DatabaseState(
            problem=problem,
            schema_version=version,
            needed_version=LIBRARY_SCHEMA_VERSION,
            listening=self.ear.listening,
            schema=facts,
            workers_refused=self.workers.refused,
        )

    async def _run_or_repeat(self, work: Work[T]) -> T:
        reused = self._connection is not None
        try:
            try:
                return await self._run_once(work)
            except psycopg.OperationalError:
                if not reused or self._connection is not None:
                    raise
            return await self._run_once(work)
        finally:
            if self._closed:
                await self._drop()

    async def _run_once(self, work: Work[T]) -> T:
        connection = self._connection
        try:
            if connection is None:
                connection = await self._open()
                milliseconds = int(self._timeout * 1000)
                await connection.execute(f"SET statement_timeout = {milliseconds:d}")
            return await work(AsyncSession(connection, prepare=True), self._statements)
        except BaseException as error:
            if connection is not None and (
                connection.broken or connection.closed or isinstance(error, asyncio.CancelledError)
            ):
                await self._drop()
            raise

    async def _open(self) -> psycopg.AsyncConnection[Any]:
        """Open the connection, unless the link is closed: nobody would close it then."""
        if self._closed:
            raise psycopg.OperationalError("another URI or schema has taken this one's place")
        self._connection = await open_target(self.target)
        return self._connection

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def close(self) -> None:
        """Begin no call any more, and close the connections; a migration ends where it is.

        A call under way ends first, and closes its connection itself: the loop would still wait on that
        one's socket, whose number the next connection gets.
        """
        self._closed = True
        await self.migrator.stop()
        await self.workers.stop()
        await self.ear.close()
        if not self._lock.locked():
            await self._drop()


def _endpoint(uri: str) -> Endpoint:
    return Endpoint(lambda: uri, application_name=APPLICATION_NAME)


async def open_to_listen(target: DatabaseTarget) -> psycopg.AsyncConnection[Any]:
    """Open a connection for LISTEN alone."""
    with uri_with_certificates(target) as uri:
        return await connect_async(_endpoint(uri), psycopg.AsyncConnection, **KEEP_ALIVE)


async def open_target(target: DatabaseTarget) -> psycopg.AsyncConnection[Any]:
    """Open a connection for statements.

    Raises:
        DatabaseError: the server is too old.
        DatabaseUnreachableError: it could not be reached, or refused the login.
    """
    with uri_with_certificates(target) as uri:
        connection = await open_async(_endpoint(uri))
    version = connection.info.server_version  # a closed connection does not tell it
    if version < OLDEST_SERVER:
        await connection.close()
        raise DatabaseError(
            Blocked(
                reason=Reason.SERVER_TOO_OLD,
                message=f"Postgres is version {version // 10_000}; Towpath needs "
                f"{OLDEST_SERVER // 10_000} or newer. Upgrade the server, or name another.",
            )
        )
    return connection
