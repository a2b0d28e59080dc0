"""The Databases port on Postgres: one connection a database for statements, one for LISTEN."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from psycopg import errors

from towpath.domain.deletion import Cleared, Walk
from towpath.domain.queue import QueueSettings, Retention
from towpath.insights.demand import queue_demand
from towpath.insights.explain import explain_queues
from towpath.store.deletion import QueueClearing
from towpath.store.managing import set_default_retention
from towpath.store.manifests import declare_manifest, manifest_rows, release_manifest
from towpath.store.migrate import LIBRARY_SCHEMA_VERSION, schema_state
from towpath.store.session import AsyncSession, Session
from towpath.store.statements import Statements
from towpath.store.workers import EndedInPod, end_pod_leases
from towpath_operator.adapters.postgres_errors import EXPECTED, blocked_by
from towpath_operator.adapters.postgres_link import Link, Work, open_to_listen
from towpath_operator.adapters.postgres_rows import counts_of, held_back_by, row_of, stored_owner
from towpath_operator.adapters.postgres_schema import grant_workers
from towpath_operator.plan.observed import (
    DatabaseState,
    DatabaseTarget,
    HeldBack,
    Owner,
    QueueCounts,
    QueueRow,
)
from towpath_operator.plan.proof import Proof
from towpath_operator.ports.cluster import ObjectKey
from towpath_operator.ports.database import DatabaseError, Ended, Look
from towpath_operator.ports.fence import AlwaysLeads, Fence

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 10.0
OPERATOR_LISTENER: Final = 0
"""The operator's number in the table of those who sleep; workers' ids begin at 1."""

_NO_SCHEMA = (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName)


class PostgresDatabases:
    """Keeps what is open to each database, and runs the store's statements (see the port)."""

    def __init__(self, fence: Fence | None = None, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._fence = fence or AlwaysLeads()
        self._timeout = timeout
        self._links: dict[ObjectKey, Link] = {}

    async def look(
        self, target: DatabaseTarget, *, cluster: str, queue_names: Sequence[str]
    ) -> Look:
        """Read version, rows and counts; a problem is part of the answer."""
        link = await self._link(target)

        async def read(session: AsyncSession, statements: Statements) -> Look:
            found = await manifest_rows(
                session, statements, cluster=cluster, queue_names=queue_names
            )
            connection = session.connection
            facts = await link.schema.look(connection, version=found.version, access=found.access)
            facts = replace(facts, retention=found.retention)
            state = link.state_of(found.version, found.serves_from, facts)
            rows = {name: row_of(row) for name, row in found.rows.items()}
            if state.problem is not None or not state.migrated:
                return Look(state=state, rows=rows)
            names = sorted({*queue_names, *found.rows})
            counts = counts_of(await queue_demand(session, statements, names))
            return Look(state=state, rows=rows, counts=counts)

        try:
            return await self._look(link, read)
        except _NO_SCHEMA:
            return await self._look_at_no_schema(link)

    async def _look_at_no_schema(self, link: Link) -> Look:
        async def read(session: AsyncSession, statements: Statements) -> Look:
            found = await schema_state(session.connection, statements.schema)
            facts = await link.schema.look(session.connection, version=None, access=None)
            return Look(state=link.state_of(found.version, found.serves_from, facts))

        return await self._look(link, read)

    async def _look(self, link: Link, read: Work[Look]) -> Look:
        await link.workers.look()
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

    async def explain(
        self, target: DatabaseTarget, queue_names: Sequence[str]
    ) -> Mapping[str, HeldBack]:
        """Ask of each as `towpath queue explain` does."""

        async def read(session: AsyncSession, statements: Statements) -> Mapping[str, HeldBack]:
            return {
                found.queue_name: held_back_by(found)
                for found in await explain_queues(session, statements, queue_names)
            }

        return await (await self._link(target)).run(read)

    async def migrate(self, target: DatabaseTarget) -> None:
        """Migrate beside the other calls."""
        await (await self._link(target)).migrator.run()

    async def grant(self, target: DatabaseTarget) -> None:
        """Grant what the workers' login misses."""

        async def write(session: AsyncSession, statements: Statements) -> None:
            del statements
            await grant_workers(session.connection, target, self._fence)

        await (await self._link(target)).run(write)

    async def set_retention(self, target: DatabaseTarget, retention: Retention) -> None:
        """Change the default retention."""

        async def write(session: Session, statements: Statements) -> None:
            await set_default_retention(session, statements, retention)

        await (await self._link(target)).write(write)

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
                    await link.ear.open(await open_to_listen(target))
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

    async def _link(self, target: DatabaseTarget) -> Link:
        while (link := self._links.get(target.key)) is not None and link.target != target:
            # Another URI or schema: what was opened by the old one must not be used again. Meanwhile
            # another call may have opened the new one.
            await self.forget(link.target)
        if link is None:
            link = self._links[target.key] = Link(target, self._fence, self._timeout)
        return link
