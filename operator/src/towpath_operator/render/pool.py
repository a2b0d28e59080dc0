"""The children of a WorkerPool: Deployment, PodDisruptionBudget, and the Secret with its URI."""

from __future__ import annotations

import base64
from typing import Any, Final

from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.ports.cluster import DEPLOYMENT, POD_DISRUPTION_BUDGET, SECRET
from towpath_operator.render.environment import CA_FILE, DATABASE_FILE
from towpath_operator.render.metadata import child_metadata, pool_labels
from towpath_operator.render.names import (
    INPUTS_ANNOTATION,
    REVISION_ANNOTATION,
    secret_name,
    with_applied,
)
from towpath_operator.render.revision import Revision

EVICTED_AT_ONCE: Final = "25%"
"""A part of the pods, never a least number: that would hold up the drain of a node for one pod."""


def render_deployment(pool: WorkerPool, revision: Revision, *, replicas: int) -> dict[str, Any]:
    """Return the Deployment of a pool, with its number of pods and the hash of it all."""
    metadata = child_metadata(pool, pool.metadata.name, revision.build_id)
    metadata["annotations"] = {
        REVISION_ANNOTATION: revision.name(pool),
        INPUTS_ANNOTATION: revision.inputs,
    }
    strategy = pool.spec.strategy
    manifest = {
        "apiVersion": DEPLOYMENT.api_version,
        "kind": DEPLOYMENT.name,
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": pool_labels(pool)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {
                    "maxSurge": strategy.max_surge,
                    "maxUnavailable": strategy.max_unavailable,
                },
            },
            "template": revision.template,
        },
    }
    return with_applied(manifest)


def render_disruption_budget(pool: WorkerPool, build: str) -> dict[str, Any]:
    """Return what keeps an eviction from taking too many of the pool's pods at once."""
    return with_applied(
        {
            "apiVersion": POD_DISRUPTION_BUDGET.api_version,
            "kind": POD_DISRUPTION_BUDGET.name,
            "metadata": child_metadata(pool, pool.metadata.name, build),
            "spec": {
                "maxUnavailable": EVICTED_AT_ONCE,
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
                "selector": {"matchLabels": pool_labels(pool)},
            },
        }
    )


def render_secret(
    pool: WorkerPool, build: str, *, uri: str, ca: str | None = None
) -> dict[str, Any]:
    """Return the Secret `<pool>-database`: the URI, and the certificates that it may name.

    It has no hash annotation: a hash of a URI is a way to guess the password in it.
    """
    values = {DATABASE_FILE: uri} | ({} if ca is None else {CA_FILE: ca})
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.name,
        "metadata": child_metadata(pool, secret_name(pool.metadata.name), build),
        "type": "Opaque",
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in values.items()},
    }
