"""The Cluster port over another one: it reads through, and keeps to itself what is written."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

from towpath_operator.adapters.objects import carries, identity
from towpath_operator.ports.cluster import (
    WORKER_POOL,
    AlreadyExists,
    Cluster,
    ClusterError,
    Kind,
    Manifest,
    ObjectKey,
    key_of,
)
from towpath_operator.what_if.changes import Change, object_change

FORBIDDEN: Final = 403
CONFLICT: Final = 409
Place = tuple[Kind, ObjectKey]


class WhatIfCluster:
    """What a cluster would be like; nothing is written to the one below (see the port)."""

    def __init__(self, below: Cluster) -> None:
        self._below = below
        self._before: dict[Place, Manifest | None] = {}
        """What the written objects were, as far as the cluster below knows."""

        self._now: dict[Place, Manifest | None] = {}
        self._numbers = itertools.count(1)

    def suppose(self, kind: Kind, manifest: Manifest) -> None:
        """Let an object be as a person would apply it; that is no change of the operator's."""
        self._now[kind, key_of(manifest)] = manifest

    def changes(self) -> list[Change]:
        """Return what was written, each object once: pools before their children."""
        written = sorted(self._before.items(), key=lambda one: one[0][0] != WORKER_POOL)
        found = (
            object_change(kind, before, self._now[kind, key])
            for (kind, key), before in written
            if before is not None or self._now[kind, key] is not None
        )
        return [change for change in found if change is not None]

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest | None:
        """Return the object as it would be."""
        if (kind, key) in self._now:
            return copy.deepcopy(self._now[kind, key])
        return await self._below.get(kind, key)

    async def list(
        self, kind: Kind, *, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Sequence[Manifest]:
        """Return the objects of a kind as they would be."""
        below = await self._below.list(kind, namespace=namespace, labels=labels)
        found = {key_of(item): item for item in below}
        for (of, key), manifest in self._now.items():
            if of != kind or namespace not in {None, key.namespace}:
                continue
            found.pop(key, None)
            if manifest is not None and carries(manifest, labels or {}):
                found[key] = manifest
        return [copy.deepcopy(item) for item in found.values()]

    async def create(self, manifest: Manifest) -> Manifest:
        """Make an object, unless there is one."""
        kind, key = identity(manifest)
        if await self.get(kind, key) is not None:
            message = f'{kind.plural} "{key.name}" already exists'
            raise AlreadyExists(message, status=CONFLICT, reason="AlreadyExists")
        made = {**manifest, "metadata": {**manifest["metadata"], **self._identity()}}
        return await self._keep(kind, key, made)

    async def apply(self, manifest: Manifest) -> Manifest:
        """Apply an object over what there is, which keeps what the manifest does not name."""
        kind, key = identity(manifest)
        live = await self.get(kind, key)
        if live is None:
            return await self.create(manifest)
        return await self._keep(kind, key, applied_over(live, manifest))

    async def check(self, manifest: Manifest) -> None:
        """Have the cluster below refuse what it would refuse; that changes nothing there."""
        try:
            await self._below.check(manifest)
        except ClusterError as error:
            # Who may only read is told the rest all the same.
            if error.status != FORBIDDEN or " cannot " not in error.message:
                raise

    async def leave(self, manifest: Manifest) -> None:
        """Do nothing: whose the fields are is no change worth telling."""
        del manifest

    async def apply_status(self, kind: Kind, key: ObjectKey, status: Mapping[str, Any]) -> None:
        """Let a status be another; that is no change worth telling."""
        live = await self.get(kind, key)
        if live is not None:
            self._now[kind, key] = {**live, "status": dict(status)}

    async def delete(self, kind: Kind, key: ObjectKey, *, uid: str | None = None) -> None:
        """Delete an object; of what it owns, nothing is said."""
        live = await self.get(kind, key)
        if live is not None and uid in {None, live["metadata"].get("uid")}:
            await self._keep(kind, key, None)

    async def set_finalizers(
        self, kind: Kind, key: ObjectKey, *, uid: str, before: Sequence[str], after: Sequence[str]
    ) -> None:
        """Let an object have other finalizers."""
        del uid, before
        live = await self.get(kind, key)
        if live is not None:
            metadata = {**live["metadata"], "finalizers": list(after)}
            await self._keep(kind, key, {**live, "metadata": metadata})

    async def event(self, about: Manifest, *, reason: str, message: str, warning: bool) -> None:
        """Tell nobody."""
        del about, reason, message, warning

    async def _keep(self, kind: Kind, key: ObjectKey, manifest: Any) -> Manifest:
        if (kind, key) not in self._before:
            self._before[kind, key] = await self.get(kind, key)
        self._now[kind, key] = manifest
        return copy.deepcopy(manifest) or {}

    def _identity(self) -> dict[str, Any]:
        number = next(self._numbers)
        return {"uid": f"would-be-{number}", "generation": 1, "resourceVersion": "0"}


def applied_over(live: Manifest, manifest: Manifest) -> dict[str, Any]:
    """Return what an apply makes of an object, nearly as the API server would.

    Maps keep what the manifest leaves out, since most of that are defaults and others' fields; lists
    become the manifest's, but named entries keep what it leaves out of them.
    """
    merged: dict[str, Any] = _merged(live, manifest)
    if merged.get("spec") != live.get("spec"):
        metadata = merged["metadata"]
        merged["metadata"] = {**metadata, "generation": int(metadata.get("generation", 0)) + 1}
    return merged


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {**old, **{name: _merged(old.get(name), value) for name, value in new.items()}}
    if isinstance(old, list) and isinstance(new, list):
        named = {one["name"]: one for one in old if isinstance(one, Mapping) and "name" in one}
        return [
            _merged(named.get(one.get("name")), one) if isinstance(one, Mapping) else one
            for one in new
        ]
    return copy.deepcopy(new)
