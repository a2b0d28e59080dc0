"""What tests apply: Queues with workers, WorkerPools, Secrets, and the application that pods run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

API_VERSION: Final = "towpath.dev/v1alpha1"
APPLICATION: Final = Path(__file__).parent / "application"
SELDOM: Final = "seldom"
"""The queue of a pool that may go to zero, which several files look at."""
APPLICATION_MOUNT: Final = "/srv/application"

Manifest = dict[str, Any]


def manifest(kind: str, name: str, spec: Mapping[str, Any]) -> Manifest:
    """Return an object of ours."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name},
        "spec": dict(spec),
    }


def queue(name: str, **spec: Any) -> Manifest:
    """Return a Queue."""
    return manifest("Queue", name, spec)


def database(name: str, *, secret: str, **spec: Any) -> Manifest:
    """Return a QueueDatabase."""
    return manifest("QueueDatabase", name, {"uriSecretRef": {"name": secret}, **spec})


def secret(name: str, **data: str) -> Manifest:
    """Return a Secret."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": data,
    }


def application() -> Manifest:
    """Return the ConfigMap with the modules of the application."""
    modules = {path.name: path.read_text("utf-8") for path in sorted(APPLICATION.glob("*.py"))}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "application"},
        "data": modules,
    }


def workers(
    image: str,
    *,
    module: str = "deeds",
    slots: int = 2,
    pods: tuple[int, int] = (1, 1),
    drain: str = "1s",
) -> Manifest:
    """Return the `workers` of a Queue: the least and the most pods, which run the application."""
    worker = {
        "name": "worker",
        "image": image,
        "workingDir": APPLICATION_MOUNT,
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "volumeMounts": [{"name": "application", "mountPath": APPLICATION_MOUNT}],
    }
    volume = {"name": "application", "configMap": {"name": "application"}}
    least, most = pods
    return {
        "application": module,
        "slots": slots,
        "autoscaling": {"min": least, "max": most},
        "drain": {"timeout": drain},
        "template": {"spec": {"containers": [worker], "volumes": [volume]}},
    }
