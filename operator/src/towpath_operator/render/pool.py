"""The children of a WorkerPool: its Deployment and the Secret with its database's URI."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.ports.cluster import DEPLOYMENT, SECRET, WORKER_POOL
from towpath_operator.render.environment import DATABASE_FILE
from towpath_operator.render.names import controller_reference, secret_name, with_applied
from towpath_operator.render.template import pool_labels, render_template


def render_deployment(
    pool: WorkerPool,
    *,
    queue_names: Sequence[str],
    schema: str,
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
                pool, queue_names=queue_names, schema=schema, default_image=default_image
            ),
        },
    }
    return with_applied(manifest)


def render_secret(pool: WorkerPool, *, uri: str) -> dict[str, Any]:
    """Return the Secret `<pool>-database`.

    It has no hash annotation: a hash of a URI is a way to guess the password in it.
    """
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.name,
        "metadata": _child_metadata(pool, secret_name(pool.metadata.name)),
        "type": "Opaque",
        "data": {DATABASE_FILE: base64.b64encode(uri.encode()).decode()},
    }


def _child_metadata(pool: WorkerPool, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": pool.metadata.namespace,
        "labels": pool_labels(pool),
        "ownerReferences": [controller_reference(WORKER_POOL, pool.metadata)],
    }
