"""A worker's row in Postgres: what it says, and the lease that it stands for."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from towpath.domain.ids import INTERNAL_QUEUE, QueueName, WorkerId, WorkflowName
from towpath.executor.container import container_began_at
from towpath.executor.declarations import declare_queues
from towpath.executor.engine import Engine
from towpath.executor.lease import Lease
from towpath.executor.settings import WorkerSettings
from towpath.store import workers
from towpath.store.session import AsyncSession

logger = logging.getLogger("towpath.worker")


class Registration:
    """The row as it was written last. Called on the library's loop.

    Attributes:
        worker_id: The row's id; None while there is none.
        lease: Of the row that was written last.
    """

    def __init__(self, engine: Engine, settings: WorkerSettings, *, library: str) -> None:
        self._engine = engine
        self._settings = settings
        self._library = library
        self._written: workers.WorkerIdentity | None = None
        self._container_began = container_began_at() if settings.pod_uid else None
        self.worker_id: WorkerId | None = None
        self.lease = Lease(0)

    @property
    def queues(self) -> list[QueueName]:
        """The queues that it serves now: those named to it, else every one declared in the process."""
        named = self._settings.queues
        if named is not None and not named:
            return []
        served = [q.name for q in self._engine.registry.queues()] if named is None else list(named)
        return [*served, INTERNAL_QUEUE]

    @property
    def names(self) -> Sequence[WorkflowName]:
        """The workflows that it can run."""
        return self._engine.registry.names

    def _identity(self) -> workers.WorkerIdentity:
        settings = self._settings
        definitions = self._engine.registry.workflows()
        return workers.WorkerIdentity(
            name=settings.name,
            pool=settings.pool,
            pod_uid=settings.pod_uid,
            node=settings.node,
            version=settings.version,
            library=self._library,
            code_hash=self._engine.registry.code_hash(),
            slots=settings.slots,
            queues=self.queues,
            names=[d.name for d in definitions],
            max_recoveries=[d.max_recovery_attempts for d in definitions],
        )

    async def write(self, session: AsyncSession) -> WorkerId:
        """Write a new row; before the first, end those that earlier runs of this container have left."""
        await self._end_predecessors(session)
        identity = self._identity()
        length = self._settings.lease
        lease, sent_at = Lease(length.total_seconds()), time.monotonic()
        self.worker_id = await workers.register(
            session,
            self._engine.statements,
            identity,
            lease=length,
            node_time=datetime.now(UTC),
        )
        lease.renew(sent_at)
        self.lease, self._written = lease, identity
        logger.info(
            "worker registered",
            extra={"worker_id": self.worker_id, "queues": list(identity.queues)},
        )
        return self.worker_id

    async def _end_predecessors(self, session: AsyncSession) -> None:
        """A container begins when its earlier run has ended: whoever began before runs no more."""
        if self._settings.pod_uid is None or self._container_began is None:
            return
        earlier = workers.EndedInPod(self._settings.pod_uid, self._container_began)
        recovery = await workers.end_pod_leases(session, self._engine.statements, [earlier])
        self._container_began = None
        tell_of_recovery(recovery)

    async def look(self, session: AsyncSession, versions: Sequence[str]) -> workers.Sight:
        """Renew the lease and look at every queue; where code has declared more, write that first."""
        if self.worker_id is None:
            return workers.Sight(alive=False, dead=False, fenced=False, queues=())
        await self._update(session, self.worker_id)
        lease, sent_at = self.lease, time.monotonic()
        sight = await workers.poll(
            session,
            self._engine.statements,
            worker=self.worker_id,
            queues=self.queues,
            names=self.names,
            versions=versions,
            lease=self._settings.lease,
        )
        if sight.alive:
            lease.renew(sent_at)
        return sight

    async def _update(self, session: AsyncSession, worker_id: WorkerId) -> None:
        written = self._written
        if (
            written is not None
            and list(written.queues) == self.queues
            and list(written.names) == list(self.names)
        ):
            return
        identity = self._identity()
        await workers.update(session, self._engine.statements, worker_id, identity)
        await declare_queues(session, self._engine)
        self._written = identity


def tell_of_recovery(recovery: workers.Recovery) -> None:
    """Log what the end of some leases did."""
    for worker_id, name in recovery.workers:
        logger.warning("dead worker recovered", extra={"worker_id": worker_id, "worker": name})
    if recovery.workers:
        logger.info(
            "workflows recovered",
            extra={"returned": recovery.returned, "given_up": recovery.given_up},
        )
