"""The port through which reconcile reads and changes a cluster: a few verbs over plain manifests.

Two adapters provide it: the Kubernetes API (`adapters/kubernetes.py`) and local processes
(`adapters/processes.py`, for `towpath dev`). Manifests are plain JSON-shaped dicts on both sides, so
that `plan` and `render` need no client's types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

Manifest = Mapping[str, Any]
"""A Kubernetes object as plain data: apiVersion, kind, metadata, spec, status."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Which kind of object: enough to find its REST path and to write its manifest."""

    api_version: str
    name: str
    plural: str


QUEUE = Kind("towpath.dev/v1alpha1", "Queue", "queues")
WORKER_POOL = Kind("towpath.dev/v1alpha1", "WorkerPool", "workerpools")
QUEUE_DATABASE = Kind("towpath.dev/v1alpha1", "QueueDatabase", "queuedatabases")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
REPLICA_SET = Kind("apps/v1", "ReplicaSet", "replicasets")
POD = Kind("v1", "Pod", "pods")
SECRET = Kind("v1", "Secret", "secrets")
POD_DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
CONTROLLER_REVISION = Kind("apps/v1", "ControllerRevision", "controllerrevisions")
NAMESPACE = Kind("v1", "Namespace", "namespaces")
CUSTOM_RESOURCE_DEFINITION = Kind(
    "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions"
)

FIELD_MANAGER = "towpath.dev/operator"
"""Whose the fields are that we apply."""

LEFT_TO_OTHERS = "towpath.dev/left-to-others"
"""Whose the fields are that we gave up, until somebody else writes them."""


OUR_KINDS: Final = (QUEUE_DATABASE, QUEUE, WORKER_POOL)
"""What people declare; each after what it needs."""


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Names one object of a kind: its namespace and its name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def key_of(manifest: Manifest) -> ObjectKey:
    """Return where an object is; one that lies in no namespace has an empty one."""
    metadata = manifest["metadata"]
    return ObjectKey(metadata.get("namespace", ""), metadata["name"])


class Cluster(Protocol):
    """Everything that reconcile does to a cluster. Each call has a bound in time (10 s)."""

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest | None:
        """Return the object, or None where there is none. Secrets are read by name only."""
        ...

    async def list(
        self, kind: Kind, *, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Sequence[Manifest]:
        """Return the objects of a kind, in all namespaces unless one is named."""
        ...

    async def create(self, manifest: Manifest) -> Manifest:
        """Make a child by POST. Raises `AlreadyExists` where the name is taken."""
        ...

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply with our field manager; returns the live object."""
        ...

    async def check(self, manifest: Manifest) -> None:
        """Have the cluster refuse what it would refuse in an apply, and change nothing."""
        ...

    async def leave(self, manifest: Manifest) -> None:
        """Let fields keep these values when our next apply leaves them out: they are others' now."""
        ...

    async def apply_status(self, kind: Kind, key: ObjectKey, status: Mapping[str, Any]) -> None:
        """Write the status subresource. An object that is gone is no error."""
        ...

    async def delete(self, kind: Kind, key: ObjectKey, *, uid: str | None = None) -> None:
        """Delete the object (only the one with this uid, where one is given). Gone is no error."""
        ...

    async def set_finalizers(
        self, kind: Kind, key: ObjectKey, *, uid: str, before: Sequence[str], after: Sequence[str]
    ) -> None:
        """Make a list of finalizers another, if the object of this uid still has it as it was read.

        With none left the object goes, if its deletion has begun. Gone is no error.
        """
        ...

    async def event(self, about: Manifest, *, reason: str, message: str, warning: bool) -> None:
        """Publish a Kubernetes Event about an object. Best effort: a failure is logged."""
        ...


class ClusterError(Exception):
    """The cluster refused or could not be asked. `status` is its HTTP status, 0 when unreachable."""

    def __init__(
        self, message: str, *, status: int, reason: str = "", retry_after: float = 0.0
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        """Seconds for which the cluster asks not to be asked again."""


class AlreadyExists(ClusterError):  # noqa: N818 - the API's own word for it
    """An object of that name exists and was not made by this call."""
