"""The environment of a worker container: the names that are Towpath's own, and their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from towpath_operator.model.workerpool import WorkerPool

HTTP_PORT: Final = 8686
DATABASE_MOUNT: Final = "/var/run/towpath/database"
DATABASE_FILE: Final = "uri"
CA_FILE: Final = "ca.crt"

RESERVED: Final = frozenset(
    {
        "TOWPATH_DATABASE_URL_FILE",
        "TOWPATH_DATABASE_URL",
        "TOWPATH_SCHEMA",
        "TOWPATH_QUEUES",
        "TOWPATH_SLOTS",
        "TOWPATH_DRAIN_SECONDS",
        "TOWPATH_POOL",
        "TOWPATH_VERSION",
        "TOWPATH_POD_NAME",
        "TOWPATH_POD_UID",
        "TOWPATH_NODE",
        "TOWPATH_MAX_CONNECTIONS",
        "TOWPATH_LISTEN",
        "TOWPATH_MIGRATE",
        "TOWPATH_HTTP_PORT",
    }
)
"""Names that a template must not set; the operator's value would silently win or lose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodDatabase:
    """What pods are told of their database, beside the Secret with its URI.

    Attributes:
        schema: Where the queues live.
        pooled: Whether a transaction pooler stands before it.
        connections: The most connections of one pod; None leaves it to the library.
    """

    schema: str
    pooled: bool = False
    connections: int | None = None

    def environment(self) -> dict[str, str]:
        """Return the variables; what is as ever has none, so that the field's coming rolls no pods."""
        values = {"TOWPATH_SCHEMA": self.schema}
        if self.pooled:
            values["TOWPATH_LISTEN"] = "0"
        if self.connections is not None:
            values["TOWPATH_MAX_CONNECTIONS"] = str(self.connections)
        return values


def worker_environment(
    pool: WorkerPool, queue_names: Sequence[str], database: PodDatabase
) -> list[dict[str, Any]]:
    """Return the entries of the worker container's env, in a fixed order."""
    values = {
        "TOWPATH_DATABASE_URL_FILE": f"{DATABASE_MOUNT}/{DATABASE_FILE}",
        **database.environment(),
        # Sorted, so that another order of spec.queues rolls no pods.
        "TOWPATH_QUEUES": ",".join(sorted(queue_names)),
        "TOWPATH_SLOTS": str(pool.spec.slots),
        "TOWPATH_DRAIN_SECONDS": _seconds(pool.spec.drain.duration),
        "TOWPATH_POOL": str(pool.metadata.key),
        "TOWPATH_VERSION": "",
        "TOWPATH_MIGRATE": "0",
        "TOWPATH_HTTP_PORT": str(HTTP_PORT),
    }
    fields = {
        "TOWPATH_POD_NAME": "metadata.name",
        "TOWPATH_POD_UID": "metadata.uid",
        "TOWPATH_NODE": "spec.nodeName",
    }
    return [
        *({"name": name, "value": value} for name, value in values.items()),
        *(
            {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
            for name, path in fields.items()
        ),
    ]


def _seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():.3f}".rstrip("0").rstrip(".")
