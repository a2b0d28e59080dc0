"""Runs the operator's own reconcile over ports that write nothing, until it has nothing left to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from towpath_operator.declarations import Declarations, Subject, subject_of, subject_of_declared
from towpath_operator.desk import DatabaseDesk
from towpath_operator.plan.observed import OperatorFacts
from towpath_operator.plan.status import ready_condition
from towpath_operator.ports.cluster import (
    QUEUE,
    QUEUE_DATABASE,
    WORKER_POOL,
    Cluster,
    Kind,
    Manifest,
)
from towpath_operator.ports.database import Databases
from towpath_operator.reconcile import reconcile
from towpath_operator.services import Services
from towpath_operator.what_if.changes import Change
from towpath_operator.what_if.cluster import WhatIfCluster
from towpath_operator.what_if.databases import WhatIfDatabases

MOST_ROUNDS: Final = 12
"""A plan takes a few: the schema, the row, the pool, its children."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the status of an object would say once the operator is done."""

    about: Subject
    ready: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What the operator would do for some objects.

    Attributes:
        changes: What it would make, change and delete.
        verdicts: What the objects' Ready conditions would say: pods that are still to start are not
            waited for.
    """

    changes: tuple[Change, ...]
    verdicts: tuple[Verdict, ...]


class _NoPace:
    """Statuses that nobody writes need no pace."""

    async def wait(self) -> None:
        """Do not wait."""


class WhatIf:
    """One question: what would the operator do, were these objects applied?"""

    def __init__(
        self,
        cluster: Cluster,
        databases: Databases,
        operator: OperatorFacts,
        clock: Callable[[], datetime],
    ) -> None:
        self._cluster = WhatIfCluster(cluster)
        self._databases = WhatIfDatabases(databases)
        declared = Declarations()
        self._services = Services(
            cluster=self._cluster,
            databases=self._databases,
            operator=operator,
            declared=declared,
            desk=DatabaseDesk(self._cluster, self._databases, declared, operator, clock),
            pace=_NoPace(),
            clock=clock,
            foretells=True,
        )

    async def ask(self, objects: Iterable[tuple[Kind, Manifest]]) -> Forecast:
        """Return what would be done; objects that stand in the cluster as they are may be given too.

        Raises:
            ClusterError: the cluster could not be asked.
        """
        asked = []
        for kind, manifest in objects:
            self._cluster.suppose(kind, manifest)
            asked.append(subject_of(kind, manifest))
        known = await self._refresh()
        for _ in range(MOST_ROUNDS):
            for subject in self._concerned(asked):
                await reconcile(subject, self._services)
            before, known = known, await self._refresh()
            if known == before:
                break
        changes = (*self._databases.changes(), *self._cluster.changes())
        return Forecast(changes=changes, verdicts=tuple([await self._verdict(s) for s in asked]))

    async def _refresh(self) -> object:
        """Take in what was written, and look at the databases; return what is known now."""
        await self._services.declared.refresh(self._cluster)
        for database in self._services.declared.databases.values():
            if self._services.desk.users_of(database.metadata.key):
                await self._services.desk.look(database)
        return (self._databases.changes(), self._cluster.changes())

    def _concerned(self, asked: Sequence[Subject]) -> Sequence[Subject]:
        """Return the objects themselves, and those whose pods or row depend on them."""
        declared, desk = self._services.declared, self._services.desk
        found = dict.fromkeys(asked)
        for subject in asked:
            if subject.kind == QUEUE_DATABASE:
                found |= dict.fromkeys(map(subject_of_declared, desk.users_of(subject.key)))
        for subject in list(found):
            if subject.kind == QUEUE:
                found |= dict.fromkeys(
                    Subject(WORKER_POOL, key)
                    for key, pool in declared.pools.items()
                    if key.namespace == subject.key.namespace
                    and any(one.name == subject.key.name for one in pool.spec.queues)
                )
        return list(found)

    async def _verdict(self, subject: Subject) -> Verdict:
        live = await self._cluster.get(subject.kind, subject.key) or {}
        ready: Any = ready_condition(live.get("status") or {}) or {}
        return Verdict(
            about=subject,
            ready=str(ready.get("status", "Unknown")),
            reason=str(ready.get("reason", "")),
            message=str(ready.get("message", "")),
        )
