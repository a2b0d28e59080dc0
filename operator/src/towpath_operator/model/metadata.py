"""An object's metadata, as far as the operator reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from towpath_operator.model.annotations import PLAN_ONLY, asked
from towpath_operator.ports.cluster import Manifest, ObjectKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Who an object is, and how old its spec is."""

    name: str
    namespace: str
    uid: str = ""
    generation: int = 1
    created: datetime | None = None
    deleted: datetime | None = None
    controller_uid: str | None = None
    asked: Mapping[str, str] = field(default_factory=dict)
    """The annotations by which people ask something of the operator (`model/annotations.py`)."""

    finalizers: tuple[str, ...] = ()

    @property
    def key(self) -> ObjectKey:
        """The object's namespace and name."""
        return ObjectKey(self.namespace, self.name)

    @property
    def being_deleted(self) -> bool:
        """Whether a deletion has begun."""
        return self.deleted is not None

    @property
    def held(self) -> bool:
        """Whether an annotation asks for a plan alone; a deletion is not held up by it."""
        return self.asked.get(PLAN_ONLY) == "true" and not self.being_deleted


def read_metadata(manifest: Manifest) -> Metadata:
    """Read the metadata of any live object."""
    metadata: Mapping[str, Any] = manifest.get("metadata") or {}
    return Metadata(
        name=str(metadata.get("name", "")),
        namespace=str(metadata.get("namespace", "")),
        uid=str(metadata.get("uid", "")),
        generation=int(metadata.get("generation", 1)),
        created=read_time(metadata.get("creationTimestamp")),
        deleted=read_time(metadata.get("deletionTimestamp")),
        controller_uid=controller_uid(manifest),
        asked=asked(metadata.get("annotations")),
        finalizers=tuple(metadata.get("finalizers") or ()),
    )


def controller_uid(manifest: Manifest) -> str | None:
    """Return the uid of the object that controls this one, or None."""
    references = (manifest.get("metadata") or {}).get("ownerReferences") or ()
    return next((str(r.get("uid", "")) for r in references if r.get("controller")), None)


def read_time(text: object) -> datetime | None:
    """Read a Kubernetes timestamp; None where there is none."""
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None
