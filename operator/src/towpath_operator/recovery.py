"""Ends the leases of workers as soon as their kubelet has proved that they run no more.

Without it, or while a database cannot be reached, the workers' own heartbeats decide, some seconds
later. A proof stays true, so that ending by it is tried until it is done; after a start of the
operator every pod that is there is looked at anew, and proves again.
"""

from __future__ import annotations

import logging
from typing import Final

from towpath_operator.model.database import QueueDatabase
from towpath_operator.plan.observed import DatabaseTarget
from towpath_operator.plan.proof import Proof, proved_by
from towpath_operator.ports.cluster import Manifest, ObjectKey
from towpath_operator.ports.database import DatabaseError
from towpath_operator.services import Services
from towpath_operator.work_queue import Again, WorkQueue

logger = logging.getLogger(__name__)

BACK_OFF_SECONDS: Final = (0.5, 5.0)
KEPT: Final = 20_000
"""So many pods' last proofs are remembered; one that was forgotten costs a statement."""


class Recovery:
    """Takes in Pods, and ends leases in the database of their pool."""

    def __init__(
        self, services: Services, *, back_off: tuple[float, float] = BACK_OFF_SECONDS
    ) -> None:
        self._services = services
        self._queue: WorkQueue[ObjectKey] = WorkQueue(self._end, back_off=back_off)
        self._due: dict[ObjectKey, dict[str, Proof]] = {}
        """By database and pod."""

        self._used: dict[tuple[ObjectKey, str], Proof] = {}

    async def run(self) -> None:
        """End leases until cancelled."""
        await self._queue.run()

    def noticed(self, pool: ObjectKey, pod: Manifest) -> None:
        """Take in a pool's Pod as it is now, or as it was when it was deleted."""
        proof = proved_by(pod)
        if proof is None:
            return
        for database in self._databases_of(pool):
            if self._used.get((database, proof.pod_uid)) != proof:
                self._due.setdefault(database, {})[proof.pod_uid] = proof
                self._queue.wake(database)

    def _databases_of(self, pool: ObjectKey) -> list[ObjectKey]:
        """Return the pool's database; every one for pods that a deleted pool has left behind.

        No two pods have one uid, so that the others lose nothing by it.
        """
        declared = self._services.declared
        if pool not in declared.pools:
            return list(declared.databases)
        found = self._services.desk.find(declared.pools[pool])
        return [found.metadata.key] if isinstance(found, QueueDatabase) else []

    async def _end(self, database: ObjectKey) -> Again:
        if database not in self._services.declared.databases:
            self._due.pop(database, None)
            return Again(drop=True)
        view = self._services.desk.view(database)
        if view is None or not view.usable or not isinstance(view.target, DatabaseTarget):
            return Again(retry=True)
        try:
            await self._end_by(dict(self._due.get(database, {})), database, view.target)
        except DatabaseError as error:
            logger.warning(
                "leases not ended", extra={"database": str(database), "error": str(error)}
            )
            return Again(retry=True)
        return Again(drop=True)

    async def _end_by(
        self, proofs: dict[str, Proof], database: ObjectKey, target: DatabaseTarget
    ) -> None:
        if not proofs:
            return
        ended = await self._services.databases.end_leases(target, list(proofs.values()))
        self._note_used(database, proofs)
        if ended.workers:
            logger.info(
                "leases ended",
                extra={
                    "database": str(database),
                    "workers": list(ended.workers),
                    "returned": ended.returned,
                    "given_up": ended.given_up,
                },
            )

    def _note_used(self, database: ObjectKey, proofs: dict[str, Proof]) -> None:
        """Remember what was used; of a pod that has proved more meanwhile the rest is still due."""
        due = self._due[database]
        for uid, proof in proofs.items():
            self._used[database, uid] = proof
            if due[uid] == proof:
                del due[uid]
        while len(self._used) > KEPT:
            del self._used[next(iter(self._used))]
