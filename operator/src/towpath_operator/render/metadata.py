"""The metadata of a pool's children: labels, names and the owner."""

from __future__ import annotations

from typing import Any

from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.ports.cluster import WORKER_POOL
from towpath_operator.render.names import (
    BUILD_ID_LABEL,
    DEPLOYMENT_LABEL,
    POOL_LABEL,
    controller_reference,
)


def pool_labels(pool: WorkerPool) -> dict[str, str]:
    """Return the labels that a pool's pods are found by; they never change."""
    return {POOL_LABEL: pool.metadata.name, DEPLOYMENT_LABEL: pool.metadata.name}


def pod_selector(pool: WorkerPool) -> str:
    """Return the labels of `pool_labels` as a selector in a text."""
    return ",".join(f"{name}={value}" for name, value in sorted(pool_labels(pool).items()))


def child_labels(pool: WorkerPool, build: str) -> dict[str, str]:
    """Return the labels of all children and of the pods.

    None is copied from the pool: Argo CD and Helm would take a child for one of theirs.
    """
    return {**pool_labels(pool), BUILD_ID_LABEL: build}


def child_metadata(pool: WorkerPool, name: str, build: str) -> dict[str, Any]:
    """Return the metadata of a child of a build: of the pods' own, not of one that is refused."""
    return {
        "name": name,
        "namespace": pool.metadata.namespace,
        "labels": child_labels(pool, build),
        "ownerReferences": [controller_reference(WORKER_POOL, pool.metadata)],
    }
