"""Builds declared objects, observations and live children with as little text as a test needs."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from towpath.domain.queue import QueueSettings
from towpath_operator.model.database import QueueDatabase
from towpath_operator.model.parse import parse_queue, parse_queue_database, parse_worker_pool
from towpath_operator.model.queue import Queue
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.actions import ApplyObject, CreateObject, Plan
from towpath_operator.plan.observed import (
    Child,
    DatabaseObserved,
    DatabaseState,
    DatabaseTarget,
    DemandSample,
    LastAnswer,
    OperatorFacts,
    Owner,
    QueueCounts,
    QueueRow,
)
from towpath_operator.ports.cluster import (
    CONTROLLER_REVISION,
    DEPLOYMENT,
    POD_DISRUPTION_BUDGET,
    SECRET,
    ObjectKey,
)

API_VERSION = "towpath.dev/v1alpha1"
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
EARLIER = "2026-03-01T11:00:00Z"
CLUSTER = "cluster-uid"
URI = "postgresql://app:hunter2@db.example/shop"
OPERATOR = OperatorFacts(namespace="towpath", cluster_uid=CLUSTER)
TEMPLATE = {"spec": {"containers": [{"name": "worker", "image": "shop:1"}]}}
TARGET = DatabaseTarget(key=ObjectKey("towpath", "default"), schema="towpath", uri=URI)
FOUND = {"namespace": "towpath", "name": "default", "schema": "towpath"}
MIGRATED = DatabaseState(schema_version=3, needed_version=3)
DATABASE = DatabaseObserved(target=TARGET, state=MIGRATED)


def metadata(name: str, **extra: Any) -> dict[str, Any]:
    """Return live metadata in the namespace shop."""
    return {
        "name": name,
        "namespace": "shop",
        "uid": f"uid-{name}",
        "generation": 1,
        "creationTimestamp": EARLIER,
    } | extra


def queue(
    name: str = "mail",
    spec: Mapping[str, Any] | None = None,
    status: Mapping[str, Any] | None = None,
    **extra: Any,
) -> Queue:
    """Return a Queue."""
    return parse_queue(
        {
            "apiVersion": API_VERSION,
            "kind": "Queue",
            "metadata": metadata(name, **extra),
            "spec": spec or {},
            "status": status or {},
        }
    )


def pool(
    spec: Mapping[str, Any] | None = None, status: Mapping[str, Any] | None = None, **extra: Any
) -> WorkerPool:
    """Return a WorkerPool called mailers that serves the queue mail."""
    least = {"application": "shop.work", "queues": [{"name": "mail"}], "template": TEMPLATE}
    return parse_worker_pool(
        {
            "apiVersion": API_VERSION,
            "kind": "WorkerPool",
            "metadata": metadata("mailers", **extra),
            "spec": {**least, **(spec or {})},
            "status": status or {},
        }
    )


def database(
    name: str = "default",
    namespace: str = "towpath",
    spec: Mapping[str, Any] | None = None,
    status: Mapping[str, Any] | None = None,
    **extra: Any,
) -> QueueDatabase:
    """Return a QueueDatabase."""
    return parse_queue_database(
        {
            "apiVersion": API_VERSION,
            "kind": "QueueDatabase",
            "metadata": metadata(name, namespace=namespace, **extra),
            "spec": {"uriSecretRef": {"name": "db"}, **(spec or {})},
            "status": status or {},
        }
    )


def secret(value: str = URI, key: str = "uri") -> dict[str, Any]:
    """Return a live Secret."""
    return {"kind": "Secret", "data": {key: base64.b64encode(value.encode()).decode()}}


def owner(declared: Queue, cluster: str = CLUSTER) -> Owner:
    """Return what a row records of a Queue."""
    return Owner(
        cluster=cluster,
        namespace=declared.metadata.namespace,
        name=declared.metadata.name,
        uid=declared.metadata.uid,
    )


def row(
    of: Owner | None,
    name: str = "mail",
    *,
    paused: bool = False,
    closed: bool = False,
    **settings: Any,
) -> QueueRow:
    """Return a queue's row."""
    return QueueRow(
        queue_name=name,
        settings=QueueSettings(**settings),
        paused=paused,
        closed=closed,
        owner=of,
    )


def sample(
    waiting: int = 0, running: int = 0, *, age: float = 0, idle: float | None = None
) -> DemandSample:
    """Return a sample of the queue mail, taken `age` seconds ago, idle for `idle` s before that."""
    taken_at = NOW - timedelta(seconds=age)
    return DemandSample(
        taken_at=taken_at,
        idle_since=None if idle is None else taken_at - timedelta(seconds=idle),
        queues={"mail": QueueCounts(waiting=waiting, running=running)},
    )


def live(
    action: CreateObject | ApplyObject,
    status: Mapping[str, Any] | None = None,
    generation: int = 1,
    **extra: Any,
) -> Child:
    """Return the child that an action makes, as this process knows it afterwards."""
    uid = f"uid-of-{action.key.name}"
    made = {**action.manifest["metadata"], "uid": uid, "generation": generation, **extra}
    return Child(
        live={**action.manifest, "metadata": made, "status": status or {}},
        last=LastAnswer(uid=uid, generation=1, applied=action.applied),
    )


def condition(plan_or_status: Plan | Mapping[str, Any], kind: str = "Ready") -> dict[str, Any]:
    """Return one condition of a plan's status; empty where it has none."""
    status = plan_or_status.status if isinstance(plan_or_status, Plan) else plan_or_status
    found: dict[str, Any] = next((c for c in status.get("conditions", ()) if c["type"] == kind), {})
    return found


def reason(plan: Plan) -> str:
    """Return the reason of Ready."""
    return str(condition(plan).get("reason"))


def pods_ready(number: int) -> dict[str, Any]:
    """Return the status of a Deployment with so many available pods."""
    return {
        "observedGeneration": 1,
        "replicas": number,
        "updatedReplicas": number,
        "availableReplicas": number,
        "readyReplicas": number,
    }


CHILDREN = {
    SECRET: "secret",
    DEPLOYMENT: "deployment",
    POD_DISRUPTION_BUDGET: "disruption_budget",
}


def children_of(plan: Plan, status: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what a pool's observation has after its first plan, with this status of the Deployment."""
    made = [action for action in plan.actions if isinstance(action, CreateObject)]
    facts: dict[str, Any] = {
        CHILDREN[one.kind]: live(one, status if one.kind == DEPLOYMENT else None)
        for one in made
        if one.kind in CHILDREN
    }
    revisions = [live(one) for one in made if one.kind == CONTROLLER_REVISION]
    return {**facts, "revisions": tuple(revisions)}
