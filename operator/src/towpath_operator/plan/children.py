"""Compares a child with what it should be: made, applied again, or left alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from towpath_operator.model.conditions import Reason
from towpath_operator.model.metadata import read_metadata
from towpath_operator.plan.actions import ApplyObject, CreateObject
from towpath_operator.plan.observed import Blocked, Child
from towpath_operator.ports.cluster import SECRET, Kind, ObjectKey
from towpath_operator.render.names import applied_hash


def plan_child(
    kind: Kind, child: Child | None, manifest: Mapping[str, Any], owner_uid: str
) -> CreateObject | ApplyObject | Blocked | None:
    """Return what makes the child as it should be; None where it is, or is just being deleted."""
    key = ObjectKey(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
    applied = applied_hash(manifest)
    if child is None:
        return CreateObject(kind=kind, key=key, manifest=manifest, applied=applied)
    live = read_metadata(child.live)
    if live.controller_uid != owner_uid:
        return name_taken(kind, key)
    if live.being_deleted or not _differs(kind, child, manifest, applied):
        return None
    return ApplyObject(kind=kind, key=key, manifest=manifest, applied=applied)


def is_current(child: Child) -> bool:
    """Tell whether a child as it was read shows our last apply, and is not about to go.

    Nothing need be done about one that does not; but what its status says is of the time before.
    """
    live, last = read_metadata(child.live), child.last
    return not live.being_deleted and (last is None or live.generation >= last.generation)


def name_taken(kind: Kind, key: ObjectKey) -> Blocked:
    """Say that the child's name belongs to something else; that is never overwritten."""
    return Blocked(
        reason=Reason.NAME_TAKEN,
        message=f"{kind.name} {key} exists and belongs to something else. Rename one of the two.",
    )


def _differs(kind: Kind, child: Child, manifest: Mapping[str, Any], applied: str) -> bool:
    if kind == SECRET:
        # A Secret has no generation, so what it holds is compared with what we would send.
        metadata = child.live.get("metadata") or {}
        labels = metadata.get("labels") or {}
        wanted = manifest["metadata"]["labels"]
        return bool(
            (child.live.get("data") or {}) != manifest["data"]
            or {name: labels.get(name) for name in wanted} != wanted
        )
    live, last = read_metadata(child.live), child.last
    # Compared is what we sent last, not what came back: defaults and others' fields are no drift. A
    # generation below the last answer's is an old event of a slow watch.
    return (
        last is None
        or last.uid != live.uid
        or last.applied != applied
        or live.generation > last.generation
    )
