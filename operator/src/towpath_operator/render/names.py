"""The labels, annotations and names of children."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from towpath_operator.model.metadata import Metadata
from towpath_operator.ports.cluster import Kind

POOL_LABEL: Final = "towpath.dev/pool"
DEPLOYMENT_LABEL: Final = "towpath.dev/deployment"
APPLIED_ANNOTATION: Final = "towpath.dev/applied"


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


def hash_of(manifest: Mapping[str, Any]) -> str:
    """Return the hash of a manifest's canonical JSON."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def with_applied(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest with the annotation that holds its own hash."""
    annotations = {APPLIED_ANNOTATION: hash_of(manifest)}
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}


def applied_hash(manifest: Mapping[str, Any]) -> str:
    """Read the hash that an object's annotation holds; empty where there is none."""
    annotations = (manifest.get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(APPLIED_ANNOTATION, ""))
