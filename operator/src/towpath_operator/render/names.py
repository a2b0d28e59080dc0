"""The labels, annotations, names and hashes of children."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from towpath_operator.model.metadata import Metadata
from towpath_operator.ports.cluster import Kind

POOL_LABEL: Final = "towpath.dev/pool"
DEPLOYMENT_LABEL: Final = "towpath.dev/deployment"
BUILD_ID_LABEL: Final = "towpath.dev/build-id"
APPLIED_ANNOTATION: Final = "towpath.dev/applied"
REVISION_ANNOTATION: Final = "towpath.dev/revision"
"""On a Deployment: the ControllerRevision whose pod template it has."""

INPUTS_ANNOTATION: Final = "towpath.dev/inputs"
"""On a Deployment: the hash of what its pod template was rendered from."""


def secret_name(pool: str) -> str:
    """Name the Secret that holds the URI of a pool's database."""
    return f"{pool}-database"


def controller_reference(kind: Kind, owner: Metadata) -> dict[str, Any]:
    """Return the ownerReference of a child in its owner's namespace."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
    }


def canonical_json(value: Any) -> str:
    """Write a JSON value in the one way that is hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def hash_of(value: Any) -> str:
    """Return the hash of a JSON value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:32]


def without_nulls(value: Any) -> Any:
    """Return a JSON value without its fields that are null, which say as much as absent ones."""
    if isinstance(value, Mapping):
        return {name: without_nulls(one) for name, one in value.items() if one is not None}
    if isinstance(value, list):
        return [without_nulls(one) for one in value]
    return value


def with_applied(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest with the annotation that holds its own hash."""
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), APPLIED_ANNOTATION: hash_of(manifest)}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def applied_hash(manifest: Mapping[str, Any]) -> str:
    """Return the hash of what is applied: of a Secret, which carries none, only for this process."""
    return annotation(manifest, APPLIED_ANNOTATION) or hash_of(manifest)


def annotation(manifest: Mapping[str, Any], name: str) -> str:
    """Read an annotation; empty where there is none."""
    annotations = (manifest.get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(name, ""))
