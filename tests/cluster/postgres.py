"""A Postgres in a pod, for pods by the name of its Service and for the host by a port."""

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from tests.cluster.commands import wait_until

NAMESPACE = "postgres"
SERVICE = "postgres"
NODE_PORT = 30432
PORT = 5432
USER = "postgres"
# It guards nothing: the server ends with the test and only this machine reaches it.
PASSWORD = "towpath"  # noqa: S105
LABELS = {"app": SERVICE}
DATA = "/var/lib/postgresql/data"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresAccess:
    """The two addresses of one Postgres; the user is its superuser and may make databases."""

    host: str
    port: int

    @classmethod
    def reached_by(cls, reach: Callable[[str, str, int], tuple[str, int]]) -> Self:
        """Return the addresses once the server accepts connections of this process."""
        host, port = reach(NAMESPACE, SERVICE, NODE_PORT)
        wait_until(
            lambda: _accepts(host, port), part="postgres", what=f"a connection to {host}:{port}"
        )
        return cls(host=host, port=port)

    def uri_for_pods(self, database: str = "postgres") -> str:
        """Return the URI of a database as a pod writes it."""
        return _uri(f"{SERVICE}.{NAMESPACE}.svc.cluster.local", PORT, database)

    def uri(self, database: str = "postgres") -> str:
        """Return the URI of the same database as this process writes it."""
        return _uri(self.host, self.port, database)


def manifest(image: str) -> str:
    """Return the objects of the server as one manifest."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": _objects(image)})


def _uri(host: str, port: int, database: str) -> str:
    return f"postgresql://{USER}:{PASSWORD}@{host}:{port}/{database}"


def _accepts(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _objects(image: str) -> list[dict[str, object]]:
    metadata = {"name": SERVICE, "namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "selector": {"matchLabels": LABELS},
                "strategy": {"type": "Recreate"},
                "template": {
                    "metadata": {"labels": LABELS},
                    "spec": {
                        "containers": [_container(image)],
                        "volumes": [{"name": "data", "emptyDir": {}}],
                        "enableServiceLinks": False,
                        "automountServiceAccountToken": False,
                    },
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "type": "NodePort",
                "selector": LABELS,
                "ports": [{"name": SERVICE, "port": PORT, "nodePort": NODE_PORT}],
            },
        },
    ]


def _container(image: str) -> dict[str, object]:
    ready = ["pg_isready", "--host=127.0.0.1", f"--username={USER}"]
    return {
        "name": "postgres",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["postgres", "-c", "fsync=off", "-c", "max_connections=300"],
        "env": [
            {"name": "POSTGRES_PASSWORD", "value": PASSWORD},
            # A folder of its own: initdb must own it, and the kubelet owns the mounted one.
            {"name": "PGDATA", "value": f"{DATA}/server"},
        ],
        "ports": [{"containerPort": PORT}],
        "volumeMounts": [{"name": "data", "mountPath": DATA}],
        "readinessProbe": {"exec": {"command": ready}, "periodSeconds": 1, "timeoutSeconds": 5},
    }
