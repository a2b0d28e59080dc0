"""The children of a WorkerPool: its Deployment and the Secret with its database's URI."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.ports.cluster import DEPLOYMENT, SECRET, WORKER_POOL
from towpath_operator.render.environment import CA_FILE, DATABASE_FILE, PodDatabase
from towpath_operator.render.names import controller_reference, secret_name, with_applied
from towpath_operator.render.template import pool_labels, render_template


def render_deployment(
    pool: WorkerPool,
    *,
    queue_names: Sequence[str],
    database: PodDatabase,
    replicas: int,
    default_image: str | None = None,
) -> dict[str, Any]:
    """Return the Deployment of a pool, with its number of pods and the hash of it all.

    Raises:
        TemplateError: the user's template cannot be used.
    """
    manifest = {
        "apiVersion": DEPLOYMENT.api_version,
        "kind": DEPLOYMENT.name,
        "metadata": _child_metadata(pool, pool.metadata.name),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": pool_labels(pool)},
            "template": render_template(
                pool, queue_names=queue_names, database=database, default_image=default_image
            ),
        },
    }
    return with_applied(manifest)


def render_secret(pool: WorkerPool, *, uri: str, ca: str | None = None) -> dict[str, Any]:
    """Return the Secret `<pool>-database`: the URI, and the certificates that it may name.

    It has no hash annotation: a hash of a URI is a way to guess the password in it.
    """
    values = {DATABASE_FILE: uri} | ({} if ca is None else {CA_FILE: ca})
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.name,
        "metadata": _child_metadata(pool, secret_name(pool.metadata.name)),
        "type": "Opaque",
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in values.items()},
    }


def _child_metadata(pool: WorkerPool, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": pool.metadata.namespace,
        "labels": pool_labels(pool),
        "ownerReferences": [controller_reference(WORKER_POOL, pool.metadata)],
    }
