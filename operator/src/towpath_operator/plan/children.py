"""Compares a child with what it should be: made, applied again, or left alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from towpath_operator.model.conditions import Reason
from towpath_operator.model.metadata import read_metadata
from towpath_operator.plan.actions import ApplyObject, CreateObject
from towpath_operator.plan.observed import Blocked, Child
from towpath_operator.ports.cluster import (
    CONTROLLER_REVISION,
    POD_DISRUPTION_BUDGET,
    SECRET,
    Kind,
    Manifest,
    ObjectKey,
)
from towpath_operator.render.names import applied_hash

READ_BY_FIELDS: Final = frozenset({SECRET, POD_DISRUPTION_BUDGET, CONTROLLER_REVISION})
"""Small kinds of which the API server keeps what we send as it is, so that it can be compared."""

_IDENTITY: Final = frozenset({"apiVersion", "kind", "metadata"})


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


def carries(live: Any, wanted: Any) -> bool:
    """Tell whether a live value has all that is wanted; what it has beside that is others'.

    The API server leaves out what is empty, such as the value of a variable.
    """
    if live is None and wanted in ("", [], {}):
        return True
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(
            carries(live.get(name), value) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(live, list)
            and len(live) == len(wanted)
            and all(carries(*pair) for pair in zip(live, wanted, strict=True))
        )
    return bool(live == wanted)


def _differs(kind: Kind, child: Child, manifest: Mapping[str, Any], applied: str) -> bool:
    last = child.last
    if last is not None and last.applied != applied:
        return True
    if not _carries_metadata(child.live, manifest):
        return True
    if kind in READ_BY_FIELDS or last is None:
        # After a start, too: a thousand applies that change nothing would take most of its time. What
        # the API server writes in other words than we do is applied once, and then has an answer.
        rest = {name: value for name, value in manifest.items() if name not in _IDENTITY}
        return not carries(child.live, rest)
    # Compared is what we sent last, not what came back: defaults and others' fields are no drift. A
    # generation below the last answer's is an old event of a slow watch.
    live = read_metadata(child.live)
    return last.uid != live.uid or live.generation > last.generation


def _carries_metadata(live: Manifest, manifest: Mapping[str, Any]) -> bool:
    """Compare labels and annotations, whose change is no new generation."""
    have, wanted = live.get("metadata") or {}, manifest["metadata"]
    return all(
        carries(have.get(name) or {}, wanted.get(name, {})) for name in ("labels", "annotations")
    )
