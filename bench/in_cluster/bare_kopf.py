"""The least that a kopf operator does: one handler that makes a Deployment for a WorkerPool.

No status, no database, no comparison with what is there: what the framework itself costs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import kopf

from towpath_operator.adapters.kubernetes import Requests, client_configuration, path_of
from towpath_operator.ports.cluster import DEPLOYMENT, WORKER_POOL

REQUESTS = Requests(client_configuration(Path(os.environ["KUBECONFIG"])))


@kopf.on.create(WORKER_POOL.api_version.split("/")[0], "v1alpha1", WORKER_POOL.plural)
def make(name: str, namespace: str | None, spec: Any, **_: Any) -> None:
    """Make the Deployment."""
    labels = {"bare": name}
    body = {
        "apiVersion": DEPLOYMENT.api_version,
        "kind": DEPLOYMENT.name,
        "metadata": {"name": name},
        "spec": {
            "replicas": spec["autoscaling"]["min"],
            "selector": {"matchLabels": labels},
            "template": {**spec["template"], "metadata": {"labels": labels}},
        },
    }
    REQUESTS.send("post", path_of(DEPLOYMENT, namespace=namespace), body=body)
