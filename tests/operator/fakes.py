"""A cluster and databases in memory: what reconcile does to them is counted, nothing is real."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from towpath.domain.deletion import Cleared, Clearing, Walk
from towpath.domain.queue import QueueSettings, Retention
from towpath_operator.adapters.objects import ObjectStore, identity
from towpath_operator.controller import Controller
from towpath_operator.plan.observed import (
    Blocked,
    DatabaseState,
    DatabaseTarget,
    HeldBack,
    Owner,
    QueueCounts,
    QueueRow,
)
from towpath_operator.plan.proof import Proof
from towpath_operator.plan.schema_facts import SchemaFacts, WorkerRights
from towpath_operator.ports.cluster import (
    DEPLOYMENT,
    QUEUE,
    QUEUE_DATABASE,
    SECRET,
    WORKER_POOL,
    Kind,
    Manifest,
    ObjectKey,
)
from towpath_operator.ports.database import DatabaseError, Ended, Look

URI = "postgresql://app:secret@db.example/app"
OURS = (QUEUE, WORKER_POOL, QUEUE_DATABASE)


class FakeCluster:
    """Objects in memory; Deployments are available at once; every write is counted."""

    def __init__(self) -> None:
        self.controller: Controller | None = None
        self.writes: Counter[str] = Counter()
        self.events: list[str] = []
        self._objects = ObjectStore(self._changed)

    def _changed(self, kind: Kind, manifest: Manifest, *, gone: bool) -> None:
        if self.controller is None or kind not in OURS:
            return
        tell = self.controller.removed if gone else self.controller.noticed
        tell(kind, manifest)

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest | None:
        """Return the object."""
        return self._objects.get(kind, key)

    async def list(
        self, kind: Kind, *, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Sequence[Manifest]:
        """Return the objects of a kind."""
        return self._objects.list(kind, namespace, labels or {})

    async def create(self, manifest: Manifest) -> Manifest:
        """Make a child."""
        self.writes["create"] += 1
        return self._settled(self._objects.create(manifest))

    async def apply(self, manifest: Manifest) -> Manifest:
        """Apply a child."""
        self.writes["apply"] += 1
        return self._settled(self._objects.apply(manifest))

    async def check(self, manifest: Manifest) -> None:
        """Refuse nothing."""
        del manifest
        self.writes["check"] += 1

    async def leave(self, manifest: Manifest) -> None:
        """Do nothing."""
        del manifest

    async def apply_status(self, kind: Kind, key: ObjectKey, status: Mapping[str, Any]) -> None:
        """Write a status."""
        self.writes["status"] += 1
        self._objects.set_status(kind, key, status)

    async def delete(self, kind: Kind, key: ObjectKey, *, uid: str | None = None) -> None:
        """Delete an object."""
        del uid
        self.writes["delete"] += 1
        self._objects.remove(kind, key)

    async def set_finalizers(
        self, kind: Kind, key: ObjectKey, *, uid: str, before: Sequence[str], after: Sequence[str]
    ) -> None:
        """Replace the list; the last one gone, the object goes that was to be deleted."""
        del uid, before
        self.writes["finalizers"] += 1
        self._objects.set_finalizers(kind, key, after)
        found = self._objects.get(kind, key)
        if found is not None and not after and "deletionTimestamp" in found["metadata"]:
            self._objects.remove(kind, key)

    async def event(self, about: Manifest, *, reason: str, message: str, warning: bool) -> None:
        """Note an Event's reason."""
        del about, message, warning
        self.events.append(reason)

    def declare(
        self,
        kind: Kind,
        name: str,
        spec: Mapping[str, Any],
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Apply an object of a person's."""
        metadata: dict[str, Any] = {"name": name, "namespace": "shop"}
        if annotations is not None:
            metadata["annotations"] = dict(annotations)
        body = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}
        self._objects.apply({**body, "spec": dict(spec)})

    def declare_database(self) -> None:
        """Apply the QueueDatabase `default` and its Secret."""
        data = {"uri": base64.b64encode(URI.encode()).decode()}
        metadata = {"name": "database", "namespace": "shop"}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
        self._objects.apply(secret)
        self.declare(QUEUE_DATABASE, "default", {"uriSecretRef": {"name": "database"}})

    def remove(self, kind: Kind, name: str) -> None:
        """Delete an object of a person's, when its finalizers are gone."""
        found = self._objects.get(kind, ObjectKey("shop", name)) or {"metadata": {}}
        if found["metadata"].get("finalizers"):
            self._objects.mark_deleted(kind, ObjectKey("shop", name))
        else:
            self._objects.remove(kind, ObjectKey("shop", name))

    def ready(self, kind: Kind, name: str) -> Mapping[str, Any]:
        """Return an object's Ready condition."""
        return self.condition(kind, name, "Ready")

    def condition(self, kind: Kind, name: str, of: str) -> Mapping[str, Any]:
        """Return a condition of an object."""
        found = self._objects.get(kind, ObjectKey("shop", name)) or {}
        conditions = found.get("status", {}).get("conditions", [])
        return next((one for one in conditions if one["type"] == of), {})

    def replicas(self, name: str) -> int | None:
        """Return how many pods a Deployment is to have."""
        found = self._objects.get(DEPLOYMENT, ObjectKey("shop", name))
        return None if found is None else int(found["spec"]["replicas"])

    def secret(self, name: str) -> Mapping[str, str] | None:
        """Return a Secret's data."""
        found = self._objects.get(SECRET, ObjectKey("shop", name))
        return None if found is None else dict(found["data"])

    def _settled(self, live: dict[str, Any]) -> dict[str, Any]:
        kind, key = identity(live)
        if kind != DEPLOYMENT:
            return live
        pods = live["spec"]["replicas"]
        status = {
            "observedGeneration": live["metadata"]["generation"],
            **dict.fromkeys(
                ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas"), pods
            ),
        }
        self._objects.set_status(kind, key, status)
        return self._objects.get(kind, key) or live


@dataclass(slots=True)
class FakeDatabases:
    """One database in memory; statements are counted; it may be down, slow or broken."""

    statements: Counter[str] = field(default_factory=Counter)
    rows: dict[str, QueueRow] = field(default_factory=dict)
    work: dict[str, QueueCounts] = field(default_factory=dict)
    asked_for: list[str] = field(default_factory=list)
    proved: list[Proof] = field(default_factory=list)
    version: int | None = None
    facts: SchemaFacts = field(default_factory=SchemaFacts)
    problem: Blocked | None = None
    bug: Exception | None = None
    unexplained: Blocked | None = None
    clearing: Clearing = Clearing.GONE
    _heard: asyncio.Event = field(default_factory=asyncio.Event)
    _settings: bool = False

    async def look(
        self, target: DatabaseTarget, *, cluster: str, queue_names: Sequence[str]
    ) -> Look:
        """Look at everything: two statements."""
        del cluster
        self.statements["look"] += 2
        state = DatabaseState(
            problem=self.problem,
            schema_version=self.version,
            needed_version=1,
            listening=True,
            schema=self.facts,
        )
        if self.problem is not None or not state.migrated:
            return Look(state=state)
        counts = await self.count(target, queue_names)
        self.statements["count"] -= 1
        return Look(state=state, rows=dict(self.rows), counts=counts)

    async def count(
        self, target: DatabaseTarget, queue_names: Sequence[str]
    ) -> Mapping[str, QueueCounts]:
        """Count: one statement."""
        del target
        self.statements["count"] += 1
        if self.problem is not None:
            raise DatabaseError(self.problem)
        return {
            name: self.work.get(name, QueueCounts()) for name in queue_names if name in self.rows
        }

    async def explain(
        self, target: DatabaseTarget, queue_names: Sequence[str]
    ) -> Mapping[str, HeldBack]:
        """Explain: a statement a queue."""
        del target
        self.statements["explain"] += len(queue_names)
        if self.unexplained is not None:
            raise DatabaseError(self.unexplained)
        return {name: HeldBack(limited_by="NoWorker", sentence="no one") for name in queue_names}

    async def migrate(self, target: DatabaseTarget) -> None:
        """Make the schema."""
        del target
        self.version = 1

    async def grant(self, target: DatabaseTarget) -> None:
        """Give the workers' login what it misses."""
        del target
        self.statements["grant"] += 1
        self.facts = replace(self.facts, rights=WorkerRights())

    async def set_retention(self, target: DatabaseTarget, retention: Retention) -> None:
        """Change the default retention."""
        del target
        self.statements["write"] += 1
        self.facts = replace(self.facts, retention=retention)

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
        """Write a row."""
        del target, replaces
        if self.bug is not None:
            raise self.bug
        self.statements["write"] += 1
        row = QueueRow(
            queue_name=queue_name,
            settings=settings,
            paused=bool(paused),
            closed=bool(closed),
            owner=owner,
        )
        self.rows[queue_name] = row
        return row

    async def release(self, target: DatabaseTarget, *, queue_name: str, owner: Owner) -> None:
        """Free a row."""
        del target, owner
        self.statements["write"] += 1
        self.rows[queue_name] = replace(self.rows[queue_name], owner=None)

    async def clear(
        self,
        target: DatabaseTarget,
        *,
        queue_name: str,
        owner: Owner,
        walk: Walk,
        cancels_running: bool,
    ) -> Cleared:
        """Delete the row at once, unless something is left to wait for."""
        del target, owner, cancels_running
        self.statements["clear"] += 1
        if self.bug is not None:
            raise self.bug
        if self.problem is not None:
            raise DatabaseError(self.problem)
        if self.clearing is Clearing.GONE:
            self.rows.pop(queue_name, None)
        return Cleared(state=self.clearing, walk=walk)

    async def delete_if_empty(
        self, target: DatabaseTarget, *, queue_name: str, owner: Owner, walk: Walk, reopens: bool
    ) -> Cleared:
        """Delete the row at once."""
        return await self.clear(
            target, queue_name=queue_name, owner=owner, walk=walk, cancels_running=reopens
        )

    async def listen(self, target: DatabaseTarget) -> bool:
        """Hear everything."""
        del target
        return True

    async def heard(self, target: DatabaseTarget) -> bool:
        """Wait for `notify`."""
        del target
        await self._heard.wait()
        self._heard.clear()
        settings, self._settings = self._settings, False
        return settings

    async def ask_for_notify(
        self, target: DatabaseTarget, queue_names: Sequence[str], *, no_longer: Sequence[str]
    ) -> None:
        """Note what was asked for."""
        del target, no_longer
        self.asked_for = list(queue_names)

    async def end_leases(self, target: DatabaseTarget, proofs: Sequence[Proof]) -> Ended:
        """Note what was proved."""
        del target
        self.statements["end"] += 1
        if self.problem is not None:
            raise DatabaseError(self.problem)
        self.proved += proofs
        return Ended(workers=[proof.pod_uid for proof in proofs])

    async def forget(self, target: DatabaseTarget) -> None:
        """Close nothing."""

    def pause(self, name: str, *, paused: bool) -> None:
        """Change a row as `towpath queue pause` and `resume` do."""
        self.rows[name] = replace(self.rows[name], paused=paused)

    def notify(self, *, settings: bool = False) -> None:
        """Tell of work, as an enqueue does, or of changed settings, as `towpath queue pause` does."""
        self._settings |= settings
        self._heard.set()
