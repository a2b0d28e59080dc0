"""The child of a Queue with `workers`: a WorkerPool of the same name that serves it alone."""

from __future__ import annotations

from typing import Any

from towpath_operator.model.queue import Queue
from towpath_operator.model.workerpool import PoolTemplate
from towpath_operator.ports.cluster import QUEUE, WORKER_POOL
from towpath_operator.render.names import controller_reference, with_applied


def render_worker_pool(queue: Queue, workers: PoolTemplate) -> dict[str, Any]:
    """Return the WorkerPool that a Queue's `workers` stand for."""
    manifest = {
        "apiVersion": WORKER_POOL.api_version,
        "kind": WORKER_POOL.name,
        "metadata": {
            "name": queue.metadata.name,
            "namespace": queue.metadata.namespace,
            "ownerReferences": [controller_reference(QUEUE, queue.metadata)],
        },
        "spec": {
            **workers.to_manifest(),
            "databaseRef": queue.spec.database_ref.to_manifest(),
            "queues": [{"name": queue.metadata.name}],
        },
    }
    return with_applied(manifest)


def without_replicas(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the WorkerPool of a Queue with its number of pods left to others."""
    spec = {name: value for name, value in manifest["spec"].items() if name != "replicas"}
    metadata = {name: v for name, v in manifest["metadata"].items() if name != "annotations"}
    return with_applied({**manifest, "metadata": metadata, "spec": spec})


def render_replicas(queue: Queue, number: int) -> dict[str, Any]:
    """Return the part of a Queue's WorkerPool that is its number of pods."""
    return {
        "apiVersion": WORKER_POOL.api_version,
        "kind": WORKER_POOL.name,
        "metadata": {"name": queue.metadata.name, "namespace": queue.metadata.namespace},
        "spec": {"replicas": number},
    }
