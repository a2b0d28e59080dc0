"""Runs an application without manifests: one Deployment that serves every queue that it declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from towpath_operator.local.localise import DEFAULT_SCHEMA
from towpath_operator.local.manifests import DEFAULT_NAMESPACE, Manifests, Place
from towpath_operator.ports.cluster import DEPLOYMENT, QUEUE, WORKER_POOL, Manifest, ObjectKey

NAME: Final = "dev"
SLOTS: Final = 10
DRAIN_SECONDS: Final = 30
GRACE_SECONDS: Final = DRAIN_SECONDS + 20
HTTP_PORT: Final = 8686


def serves_by_itself(manifests: Manifests) -> bool:
    """Tell whether no manifest says what the application is to serve."""
    return not any((*manifests.of(QUEUE), *manifests.of(WORKER_POOL)))


def app_deployment(app: str, url_file: Path) -> tuple[Place, Manifest]:
    """Return the Deployment; without TOWPATH_QUEUES a worker serves all that its code declares."""
    key = ObjectKey(DEFAULT_NAMESPACE, NAME)
    labels = {"app": NAME}
    manifest = {
        "apiVersion": DEPLOYMENT.api_version,
        "kind": DEPLOYMENT.name,
        "metadata": {"name": key.name, "namespace": key.namespace, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _pod_spec(app, url_file)},
        },
    }
    return (DEPLOYMENT, key), manifest


def _pod_spec(app: str, url_file: Path) -> dict[str, Any]:
    values = {
        "TOWPATH_DATABASE_URL_FILE": str(url_file),
        "TOWPATH_SCHEMA": DEFAULT_SCHEMA,
        "TOWPATH_SLOTS": str(SLOTS),
        "TOWPATH_DRAIN_SECONDS": str(DRAIN_SECONDS),
        "TOWPATH_MIGRATE": "0",
        "TOWPATH_HTTP_PORT": str(HTTP_PORT),
    }
    fields = {"TOWPATH_POD_NAME": "metadata.name", "TOWPATH_POD_UID": "metadata.uid"}
    worker = {
        "name": "worker",
        "command": ["towpath", "worker", "run", "--app", app],
        "env": [
            *({"name": name, "value": value} for name, value in values.items()),
            *(
                {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
                for name, path in fields.items()
            ),
        ],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": HTTP_PORT}},
    }
    return {"containers": [worker], "terminationGracePeriodSeconds": GRACE_SECONDS}
