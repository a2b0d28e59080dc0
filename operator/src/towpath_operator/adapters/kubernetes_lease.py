"""The Lease port on the Kubernetes API; every write is guarded by the resourceVersion that was read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from towpath_operator.adapters.kubernetes import GONE, Requests, path_of
from towpath_operator.election import (
    DURATION_SECONDS,
    NOBODY,
    LeaseRecord,
    next_transitions,
)
from towpath_operator.ports.cluster import ClusterError, Kind, ObjectKey
from towpath_operator.ports.lease import LeaseMovedError

LEASE: Final = Kind("coordination.k8s.io/v1", "Lease", "leases")
LEASE_NAME: Final = "towpath-operator"
TIMEOUT_SECONDS: Final = 2.0
"""Short of the renew deadline: a request that goes nowhere leaves time for another one."""

_MOVED: Final = frozenset({GONE, 409})


class KubernetesLease:
    """The Lease `towpath-operator` in the operator's own namespace."""

    def __init__(
        self, requests: Requests, *, namespace: str, cluster_uid: str, clock: Callable[[], datetime]
    ) -> None:
        self._requests = requests
        self._key = ObjectKey(namespace, LEASE_NAME)
        self._clock = clock
        self.name = f"{cluster_uid}/{self._key}"

    def read(self) -> LeaseRecord | None:
        """Return the Lease, or None where there is none."""
        try:
            return _record(self._send("get", self._path))
        except ClusterError as error:
            if error.status == GONE:
                return None
            raise

    def take(self, before: LeaseRecord | None, *, holder: str) -> LeaseRecord:
        """Make the Lease, or take over the one that is there."""
        spec = self._spec(holder, next_transitions(before), acquired=True)
        if before is None:
            body = self._body(spec)
            return self._write("post", path_of(LEASE, namespace=self._key.namespace), body)
        return self._write("put", self._path, self._body(spec, before))

    def renew(self, before: LeaseRecord) -> LeaseRecord:
        """Write a new time."""
        spec = self._spec(before.holder, before.transitions)
        return self._write("put", self._path, self._body(spec, before))

    def give_up(self, before: LeaseRecord) -> None:
        """Write that nobody holds it."""
        spec = self._spec(NOBODY, before.transitions)
        self._write("put", self._path, self._body(spec, before))

    @property
    def _path(self) -> str:
        return path_of(LEASE, namespace=self._key.namespace, name=self._key.name)

    def _spec(self, holder: str, transitions: int, *, acquired: bool = False) -> dict[str, Any]:
        now = self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": int(DURATION_SECONDS),
            "leaseTransitions": transitions,
            "renewTime": now,
        }
        return spec | {"acquireTime": now} if acquired else spec

    def _body(self, spec: dict[str, Any], before: LeaseRecord | None = None) -> dict[str, Any]:
        metadata = {"name": self._key.name, "namespace": self._key.namespace}
        if before is not None:
            metadata |= {"uid": before.uid, "resourceVersion": before.version}
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.name,
            "metadata": metadata,
            "spec": spec,
        }

    def _write(self, method: str, path: str, body: dict[str, Any]) -> LeaseRecord:
        try:
            return _record(self._send(method, path, body=body))
        except ClusterError as error:
            if error.status in _MOVED:
                raise LeaseMovedError(error.message) from error
            raise

    def _send(self, method: str, path: str, **params: Any) -> dict[str, Any]:
        return self._requests.send(method, path, _request_timeout=TIMEOUT_SECONDS, **params)


def _record(lease: dict[str, Any]) -> LeaseRecord:
    metadata, spec = lease["metadata"], lease.get("spec") or {}
    return LeaseRecord(
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        holder=spec.get("holderIdentity") or NOBODY,
        transitions=spec.get("leaseTransitions") or 0,
        duration=float(spec.get("leaseDurationSeconds") or DURATION_SECONDS),
    )
