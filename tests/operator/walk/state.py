"""What a site has come to, without what differs by time, name or uid: two sites can be compared."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.operator.walk.site import Site
from towpath_operator.adapters.kubernetes import path_of
from towpath_operator.ports.cluster import (
    DEPLOYMENT,
    POD_DISRUPTION_BUDGET,
    QUEUE,
    QUEUE_DATABASE,
    SECRET,
    WORKER_POOL,
    Kind,
)

OURS = (QUEUE_DATABASE, QUEUE, WORKER_POOL)
CHILDREN = (DEPLOYMENT, SECRET, POD_DISRUPTION_BUDGET)
VOLATILE_STATUS = {
    "conditions",
    "observedGeneration",
    "waiting",
    "waitingCapped",
    "running",
    "revision",
    "templateHash",
    "oldestWaitSeconds",
}
PASSING = {"RowPending", "SchemaPending", "PoolNotReady", "Retrying", "NotSampled", "PodsStarting"}
SETTINGS = (
    "concurrency_global, concurrency_per_worker, concurrency_per_partition, limiter_limit, "
    "limiter_period::text, partition_limiter_limit, priority_enabled, partitioning_enabled, "
    "polling_interval::text, retention_succeeded::text, retention_failed::text, paused, closed, "
    "owner_namespace, owner_name"
)


def listed(site: Site, kind: Kind) -> dict[str, dict[str, Any]]:
    """Return the objects of a kind by name."""
    path = path_of(kind, namespace=site.api.namespace)
    items = site.api.requests.send("get", path)["items"]
    return {one["metadata"]["name"]: one for one in items}


def state_of(site: Site) -> dict[str, Any]:
    """Return what is there, by kind and name."""
    found: dict[str, Any] = {}
    for kind in OURS:
        for name, one in listed(site, kind).items():
            found[f"{kind.name} {name}"] = _ours(one)
    for kind in CHILDREN:
        for name, one in listed(site, kind).items():
            found[f"{kind.name} {name}"] = _child(kind, one)
    for queue in _queue_names(site):
        told = site.rows(f"SELECT {SETTINGS} FROM towpath.queue WHERE name = %s", queue)  # noqa: S608
        found[f"row {queue}"] = [list(row) for row in told]
    text = json.dumps(found, sort_keys=True)
    text = text.replace(site.api.namespace, "NAMESPACE").replace(f"/{site.database}", "/DATABASE")
    compared: dict[str, Any] = json.loads(text)
    return compared


def unread(site: Site) -> str:
    """Name the objects whose last generation was not looked at."""
    return _named(site, _is_unread)


def unsettled(site: Site) -> str:
    """Name these, and the objects whose last generation is being brought about."""
    return _named(site, lambda one: _is_unread(one) or _is_passing(one))


def _named(site: Site, which: Callable[[Mapping[str, Any]], bool]) -> str:
    return "\n".join(
        f"{kind.name} {name}: {one['metadata'].get('generation')} {one.get('status')}"
        for kind in OURS
        for name, one in listed(site, kind).items()
        if which(one)
    )


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Say where two states differ."""
    return "\n".join(
        f"{name}:\n  {one.get(name)}\n  {other.get(name)}"
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    )


def _queue_names(site: Site) -> list[str]:
    specs = (
        spec.get("spec", {}) | {"name": n} for (k, n), spec in site.declared.items() if k == QUEUE
    )
    return sorted({spec.get("queueName", spec["name"]) for spec in specs})


def _is_unread(one: Mapping[str, Any]) -> bool:
    status = one.get("status") or {}
    ready = [c for c in status.get("conditions", ()) if c["type"] == "Ready"]
    return (
        "deletionTimestamp" in one["metadata"]
        or not ready
        or ready[0]["observedGeneration"] != one["metadata"]["generation"]
    )


def _is_passing(one: Mapping[str, Any]) -> bool:
    return any(c["reason"] in PASSING for c in one["status"]["conditions"])


def _ours(one: Mapping[str, Any]) -> dict[str, Any]:
    status = one.get("status") or {}
    return {
        "spec": one["spec"],
        "owners": _owners(one),
        "conditions": {c["type"]: [c["status"], c["reason"]] for c in status.get("conditions", ())},
        "status": {k: v for k, v in status.items() if k not in VOLATILE_STATUS},
    }


def _child(kind: Kind, one: Mapping[str, Any]) -> dict[str, Any]:
    told = {"owners": _owners(one), "labels": one["metadata"].get("labels")}
    if kind == SECRET:
        data = one.get("data") or {}
        return told | {k: base64.b64decode(v).decode() for k, v in data.items()}
    spec = json.loads(json.dumps(one["spec"]))
    return told | {"spec": spec}


def _owners(one: Mapping[str, Any]) -> list[list[str]]:
    references = one["metadata"].get("ownerReferences", ())
    return [[reference["kind"], reference["name"]] for reference in references]
