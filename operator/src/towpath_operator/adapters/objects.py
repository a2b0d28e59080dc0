"""Objects in memory, with what an API server does to them: uids, generations, versions, ownership.

It knows nothing of processes. What it hands out are copies: nobody changes an object but by a verb.
"""

from __future__ import annotations

import base64
import copy
import itertools
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from towpath_operator.ports import cluster as port
from towpath_operator.ports.cluster import (
    OUR_KINDS,
    SECRET,
    AlreadyExists,
    ClusterError,
    Kind,
    Manifest,
    ObjectKey,
    key_of,
)

KINDS: Final = {
    (kind.api_version, kind.name): kind for kind in vars(port).values() if isinstance(kind, Kind)
}
UNKNOWN_KIND = 404
CONFLICT = 409


class Changed(Protocol):
    """Told of each object after it was made, changed or deleted."""

    def __call__(self, kind: Kind, manifest: Manifest, *, gone: bool) -> None:
        """Take in the object as it is now, or as it was last."""


def identity(manifest: Manifest) -> tuple[Kind, ObjectKey]:
    """Return the kind and the key of a manifest.

    Raises:
        ClusterError: it is of no kind that this cluster has.
    """
    name = (str(manifest.get("apiVersion")), str(manifest.get("kind")))
    kind = KINDS.get(name)
    if kind is None:
        raise ClusterError(f"there is no kind {name[1]} in {name[0]}", status=UNKNOWN_KIND)
    return kind, key_of(manifest)


def timestamp(moment: datetime) -> str:
    """Write a time as the Kubernetes API does."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class ObjectStore:
    """Keeps objects by kind and key."""

    def __init__(self, changed: Changed) -> None:
        self._changed = changed
        self._objects: dict[tuple[Kind, ObjectKey], dict[str, Any]] = {}
        self._versions = itertools.count(1)

    def get(self, kind: Kind, key: ObjectKey) -> dict[str, Any] | None:
        """Return a copy of the object, or None."""
        return copy.deepcopy(self._objects.get((kind, key)))

    def list(
        self, kind: Kind, namespace: str | None, labels: Mapping[str, str]
    ) -> Sequence[dict[str, Any]]:
        """Return copies of a kind's objects, by key. A label without a value only has to be there."""
        found = sorted(
            ((key, value) for (of, key), value in self._objects.items() if of == kind),
            key=lambda pair: pair[0],
        )
        return [
            copy.deepcopy(value)
            for key, value in found
            if namespace in {None, key.namespace} and carries(value, labels)
        ]

    def create(self, manifest: Manifest, *, uid: str | None = None) -> dict[str, Any]:
        """Make an object.

        Raises:
            AlreadyExists: an object of that name exists.
        """
        kind, key = identity(manifest)
        if (kind, key) in self._objects:
            message = f'{kind.plural} "{key.name}" already exists'
            raise AlreadyExists(message, status=CONFLICT, reason="AlreadyExists")
        body = _stored(kind, manifest)
        body["metadata"] |= {
            "uid": uid or str(uuid.uuid4()),
            "creationTimestamp": timestamp(datetime.now(UTC)),
        }
        if "spec" in body:
            body["metadata"]["generation"] = 1
        return self._store(kind, key, body)

    def apply(self, manifest: Manifest, *, uid: str | None = None) -> dict[str, Any]:
        """Make or replace an object; a changed spec is a new generation, and no change is no write."""
        kind, key = identity(manifest)
        old = self._objects.get((kind, key))
        if old is None:
            return self.create(manifest, uid=uid)
        body = _stored(kind, manifest)
        given = body.pop("metadata")
        metadata = dict(old["metadata"])
        for field in ("labels", "annotations", "ownerReferences"):
            metadata.pop(field, None)
        metadata |= given
        new = {**body, "metadata": metadata}
        if "status" in old:
            new["status"] = old["status"]
        if new == old:
            return copy.deepcopy(old)
        if new.get("spec") != old.get("spec"):
            metadata["generation"] = metadata.get("generation", 0) + 1
        return self._store(kind, key, new)

    def set_status(self, kind: Kind, key: ObjectKey, status: Mapping[str, Any]) -> None:
        """Replace the status of an object, if it is there and differs."""
        old = self._objects.get((kind, key))
        if old is not None and old.get("status") != status:
            self._store(kind, key, {**old, "status": copy.deepcopy(dict(status))})

    def mark_deleted(self, kind: Kind, key: ObjectKey) -> None:
        """Note that the deletion of an object has begun."""
        old = self._objects.get((kind, key))
        if old is not None and "deletionTimestamp" not in old["metadata"]:
            stamp = {"deletionTimestamp": timestamp(datetime.now(UTC))}
            self._store(kind, key, {**old, "metadata": {**old["metadata"], **stamp}})

    def set_finalizers(self, kind: Kind, key: ObjectKey, finalizers: Sequence[str]) -> None:
        """Replace the finalizers of an object."""
        old = self._objects.get((kind, key))
        if old is None:
            return
        metadata = {k: v for k, v in old["metadata"].items() if k != "finalizers"}
        if finalizers:
            metadata["finalizers"] = list(finalizers)
        self._store(kind, key, {**old, "metadata": metadata})

    def remove(self, kind: Kind, key: ObjectKey) -> None:
        """Delete the object."""
        old = self._objects.pop((kind, key), None)
        if old is not None:
            self._changed(kind, copy.deepcopy(old), gone=True)

    def dependents(self, uid: str) -> Sequence[tuple[Kind, ObjectKey]]:
        """Return what the object of this uid owns."""
        return [
            place
            for place, value in self._objects.items()
            if any(
                owner.get("uid") == uid for owner in value["metadata"].get("ownerReferences") or ()
            )
        ]

    def _store(self, kind: Kind, key: ObjectKey, body: dict[str, Any]) -> dict[str, Any]:
        body["metadata"] = {**body["metadata"], "resourceVersion": str(next(self._versions))}
        self._objects[kind, key] = body
        self._changed(kind, copy.deepcopy(body), gone=False)
        return copy.deepcopy(body)


def _stored(kind: Kind, manifest: Manifest) -> dict[str, Any]:
    """Return the manifest as an API server keeps it."""
    body: dict[str, Any] = copy.deepcopy(dict(manifest))
    if kind in OUR_KINDS:
        body.pop("status", None)  # a subresource
    if kind == SECRET and "stringData" in body:
        texts = body.pop("stringData")
        encoded = {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}
        body["data"] = {**body.get("data", {}), **encoded}
    return body


def carries(value: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Tell whether an object has all the labels; one without a value only has to be there."""
    carried = value["metadata"].get("labels") or {}
    return all(
        name in carried and (not wanted or carried[name] == wanted)
        for name, wanted in labels.items()
    )
