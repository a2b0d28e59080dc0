"""The Databases port on Postgres: one connection a database for statements, one for LISTEN."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import psycopg
from psycopg import errors

from towpath.domain.deletion import Cleared, Walk
from towpath.domain.queue import QueueSettings
from towpath.insights.demand import queue_demand
from towpath.store.connect import Endpoint, connect_async, open_async
from towpath.store.deletion import QueueClearing
from towpath.store.manifests import declare_manifest, manifest_rows, release_manifest
from towpath.store.migrate import LIBRARY_SCHEMA_VERSION, migrate, schema_state
from towpath.store.session import AsyncSession, Session
from towpath.store.statements import Statements
from towpath.store.workers import EndedInPod, end_pod_leases
from towpath_operator import metrics
from towpath_operator.adapters.certificates import uri_with_certificates
from towpath_operator.adapters.fenced_session import FencedSession, make_sure
from towpath_operator.adapters.postgres_errors import EXPECTED, blocked_by
from towpath_operator.adapters.postgres_listen import Ear
from towpath_operator.adapters.postgres_rows import counts_of, row_of, stored_owner
from towpath_operator.model.conditions import Reason
from towpath_operator.plan.observed import (
    Blocked,
    DatabaseState,
    DatabaseTarget,
    Owner,
    QueueCounts,
    QueueRow,
)
from towpath_operator.plan.proof import Proof
from towpath_operator.ports.cluster import ObjectKey
from towpath_operator.ports.database import DatabaseError, Ended, Look
from towpath_operator.ports.fence import AlwaysLeads, Fence

logger = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[AsyncSession, Statements], Awaitable[T]]
Write = Callable[[Session, Statements], Awaitable[T]]

APPLICATION_NAME: Final = "towpath-operator"
TIMEOUT_SECONDS: Final = 10.0
MIGRATION_SECONDS: Final = 600.0
OLDEST_SERVER: Final = 150_000
OPERATOR_LISTENER: Final = 0
"""The operator's number in the table of those who sleep; workers' ids begin at 1."""

# Nothing is sent on a LISTEN connection, so a silent loss between the two ends would last for hours.
KEEP_ALIVE: Final = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}

_NO_SCHEMA = (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName)


class PostgresDatabases:
    """Keeps what is open to each database, and runs the store's statements (see the port)."""

    def __init__(self, fence: Fence | None = None, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._fence = fence or AlwaysLeads()
        self._timeout = timeout
        self._links: dict[ObjectKey, _Link] = {}

    async def look(
        self, target: DatabaseTarget, *, cluster: str, queue_names: Sequence[str]
    ) -> Look:
        """Read version, rows and counts; a problem is part of the answer."""
        link = await self._link(target)

        async def read(session: AsyncSession, statements: Statements) -> Look:
            found = await manifest_rows(
                session, statements, cluster=cluster, queue_names=queue_names
            )
            state = _state(found.version, found.serves_from, listening=link.ear.listening)
            rows = {name: row_of(row) for name, row in found.rows.items()}
            if state.problem is not None or not state.migrated:
                return Look(state=state, rows=rows)
            names = sorted({*queue_names, *found.rows})
            counts = counts_of(await queue_demand(session, statements, names))
            return Look(state=state, rows=rows, counts=counts)

        try:
            return await link.run(read)
        except _NO_SCHEMA:
            return await self._look_at_no_schema(link)
        except DatabaseError as error:
            return Look(
                state=DatabaseState(problem=error.blocked, needed_version=LIBRARY_SCHEMA_VERSION)
            )

    async def _look_at_no_schema(self, link: _Link) -> Look:
        async def read(session: AsyncSession, statements: Statements) -> Look:
            found = await schema_state(session.connection, statements.schema)
            return Look(
                state=_state(found.version, found.serves_from, listening=link.ear.listening)
            )

        try:
            return await link.run(read)
        except DatabaseError as error:
            return Look(
                state=DatabaseState(problem=error.blocked, needed_version=LIBRARY_SCHEMA_VERSION)
            )

    async def count(
        self, target: DatabaseTarget, queue_names: Sequence[str]
    ) -> Mapping[str, QueueCounts]:
        """Count the work of some queues in one statement."""

        async def read(session: AsyncSession, statements: Statements) -> Mapping[str, QueueCounts]:
            return counts_of(await queue_demand(session, statements, queue_names))

        return await (await self._link(target)).run(read)

    async def migrate(self, target: DatabaseTarget) -> None:
        """Migrate on a connection of its own, so that nothing waits behind a long migration."""
        try:
            async with asyncio.timeout(MIGRATION_SECONDS):
                async with await _open(target) as connection:
                    statements = Statements(target.schema)
                    applied = await migrate(
                        connection,
                        target.schema,
                        first=lambda c: make_sure(c, statements, self._fence),
                    )
        except EXPECTED as error:
            raise DatabaseError(blocked_by(error)) from None
        if applied:
            logger.info(
                "schema migrated", extra={"database": str(target.key), "applied": list(applied)}
            )

    async def declare(
        self,
        target: DatabaseTarget,
        *,
        queue_name: str,
        settings: QueueSettings,
        paused: bool | None,
        closed: bool | None,
        owner: Owner,
        replaces: str | None,
    ) -> QueueRow:
        """Write a row, under its gate."""

        async def write(session: Session, statements: Statements) -> QueueRow:
            row = await declare_manifest(
                session,
                statements,
                queue_name=queue_name,
                settings=settings,
                paused=paused,
                closed=closed,
                owner=stored_owner(owner),
                replaces=replaces,
            )
            return row_of(row)

        return await (await self._link(target)).write(write)

    async def release(self, target: DatabaseTarget, *, queue_name: str, owner: Owner) -> None:
        """Free a row that still records the owner."""

        async def write(session: Session, statements: Statements) -> None:
            await release_manifest(session, statements, queue_name=queue_name, owner_uid=owner.uid)

        await (await self._link(target)).write(write)

    async def clear(
        self,
        target: DatabaseTarget,
        *,
        queue_name: str,
        owner: Owner,
        walk: Walk,
        cancels_running: bool,
    ) -> Cleared:
        """Delete a batch of a queue's workflows; one call's work is bounded."""

        async def write(session: Session, statements: Statements) -> Cleared:
            clearing = QueueClearing(session, statements, queue_name, owner.uid)
            return await clearing.clear(walk, cancels_running=cancels_running)

        return await (await self._link(target)).write(write)

    async def delete_if_empty(
        self, target: DatabaseTarget, *, queue_name: str, owner: Owner, walk: Walk, reopens: bool
    ) -> Cleared:
        """Look on whether a queue is empty."""

        async def write(session: Session, statements: Statements) -> Cleared:
            clearing = QueueClearing(session, statements, queue_name, owner.uid)
            return await clearing.delete_if_empty(walk, reopens=reopens)

        return await (await self._link(target)).write(write)

    async def listen(self, target: DatabaseTarget) -> bool:
        """Open the LISTEN connection unless it is open."""
        link = await self._link(target)
        if not link.ear.listening:
            try:
                async with asyncio.timeout(self._timeout):
                    await link.ear.open(await _open_to_listen(target))
            except EXPECTED as error:
                logger.warning(
                    "cannot listen",
                    extra={"database": str(target.key), "error": blocked_by(error).message},
                )
        return link.ear.listening

    async def heard(self, target: DatabaseTarget) -> bool:
        """Wait for a NOTIFY; also returns when the connection is lost, since some may have been."""
        return await (await self._link(target)).ear.wait()

    async def ask_for_notify(
        self, target: DatabaseTarget, queue_names: Sequence[str], *, no_longer: Sequence[str]
    ) -> None:
        """Stand in the table of those who sleep, as a worker does."""

        async def write(session: Session, statements: Statements) -> None:
            leaving = {"worker": OPERATOR_LISTENER, "queues": sorted(no_longer)}
            entering = {"worker": OPERATOR_LISTENER, "queues": sorted(queue_names)}
            await session.run(
                (statements["wake_up"], leaving), (statements["fall_asleep"], entering)
            )

        await (await self._link(target)).write(write)

    async def end_leases(self, target: DatabaseTarget, proofs: Sequence[Proof]) -> Ended:
        """End leases as a worker ends those that have run out."""
        which = [EndedInPod(proof.pod_uid, proof.began_before) for proof in proofs]

        async def write(session: Session, statements: Statements) -> Ended:
            done = await end_pod_leases(session, statements, which)
            workers = [name for _, name in done.workers]
            return Ended(workers=workers, returned=done.returned, given_up=done.given_up)

        return await (await self._link(target)).write(write)

    async def forget(self, target: DatabaseTarget) -> None:
        """Close both connections."""
        link = self._links.pop(target.key, None)
        if link is not None:
            await link.close()

    async def close(self) -> None:
        """Close every connection."""
        links = list(self._links.values())
        self._links.clear()
        await asyncio.gather(*(link.close() for link in links), return_exceptions=True)

    async def _link(self, target: DatabaseTarget) -> _Link:
        link = self._links.get(target.key)
        if link is not None and link.target != target:
            # Another URI or schema: what was opened by the old one must not be used again.
            await self.forget(link.target)
            link = None
        if link is None:
            link = self._links[target.key] = _Link(target, self._fence, self._timeout)
        return link


class _Link:
    """One connection to one schema: opened when needed, one call at a time, each within the bound."""

    def __init__(self, target: DatabaseTarget, fence: Fence, timeout: float) -> None:
        self.target = target
        self._fence = fence
        self.ear = Ear(Statements(target.schema).channel)
        self._statements = Statements(target.schema)
        self._timeout = timeout
        self._lock = asyncio.Lock()
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def run(self, work: Work[T]) -> T:
        """Do some work, a second time where the connection turns out to be dead since the last call.

        All our work may be repeated, so a restart of Postgres between two calls is nobody's trouble.
        """
        database = str(self.target.key)
        try:
            async with metrics.sql_work(database), asyncio.timeout(self._timeout), self._lock:
                reused = self._connection is not None
                try:
                    return await self._run_once(work)
                except psycopg.OperationalError:
                    if not reused or self._connection is not None:
                        raise
                return await self._run_once(work)
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

    async def _run_once(self, work: Work[T]) -> T:
        connection = self._connection
        try:
            if connection is None:
                connection = self._connection = await _open(self.target)
                milliseconds = int(self._timeout * 1000)
                await connection.execute(f"SET statement_timeout = {milliseconds:d}")
            return await work(AsyncSession(connection, prepare=True), self._statements)
        except BaseException as error:
            if connection is not None and (
                connection.broken or connection.closed or isinstance(error, asyncio.CancelledError)
            ):
                await self._drop()
            raise

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def close(self) -> None:
        """Close the connections; a call under way fails."""
        await self.ear.close()
        await self._drop()


def _endpoint(uri: str) -> Endpoint:
    return Endpoint(lambda: uri, application_name=APPLICATION_NAME)


async def _open_to_listen(target: DatabaseTarget) -> psycopg.AsyncConnection[Any]:
    with uri_with_certificates(target) as uri:
        return await connect_async(_endpoint(uri), psycopg.AsyncConnection, **KEEP_ALIVE)


async def _open(target: DatabaseTarget) -> psycopg.AsyncConnection[Any]:
    with uri_with_certificates(target) as uri:
        connection = await open_async(_endpoint(uri))
    if connection.info.server_version < OLDEST_SERVER:
        await connection.close()
        raise DatabaseError(
            Blocked(
                reason=Reason.SERVER_TOO_OLD,
                message=f"Postgres is version {connection.info.server_version // 10_000}; "
                f"Towpath needs {OLDEST_SERVER // 10_000} or newer.",
            )
        )
    return connection


def _state(version: int | None, serves_from: int | None, *, listening: bool) -> DatabaseState:
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
        listening=listening,
    )
