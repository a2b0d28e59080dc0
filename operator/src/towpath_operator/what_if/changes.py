"""What would be another than it is, field by field. Pure; values of Secrets are never shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from towpath_operator.model.queue_status import effective_configuration
from towpath_operator.plan.observed import QueueRow
from towpath_operator.ports.cluster import DEPLOYMENT, SECRET, Kind, Manifest

HIDDEN: Final = "(hidden)"
"""Stands for a value of a Secret."""

ROLLS_PODS: Final = "the pods are replaced"

_BOOKKEEPING: Final = frozenset(
    {
        "metadata.annotations.towpath.dev/applied",
        "metadata.annotations.towpath.dev/inputs",
        "metadata.annotations.towpath.dev/revision",
        "metadata.annotations.deployment.kubernetes.io/revision",
        "metadata.creationTimestamp",
        "metadata.generation",
        "metadata.managedFields",
        "metadata.ownerReferences",
        "metadata.resourceVersion",
        "metadata.uid",
        "apiVersion",
        "kind",
        "status",
    }
)
"""What every write changes, or none can."""


class Verb(StrEnum):
    """What would be done to a thing."""

    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field; None where it is not there."""

    path: str
    before: Any = None
    after: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that would be made, changed or deleted.

    Attributes:
        about: The thing, such as `Deployment shop/mail` or `queue 'mail' in shop/default`.
        verb: What would be done to it.
        fields: What it would say otherwise, or say at all.
        note: What follows from that, such as that pods are replaced.
    """

    about: str
    verb: Verb
    fields: tuple[FieldChange, ...] = field(default=())
    note: str = ""


def object_change(kind: Kind, before: Manifest | None, after: Manifest | None) -> Change | None:
    """Compare an object of the cluster with what it would be; None where nothing would change."""
    some = after or before
    assert some is not None  # noqa: S101 - there was or would be something
    about = f"{kind.name} {some['metadata'].get('namespace')}/{some['metadata']['name']}"
    if after is None:
        return Change(about=about, verb=Verb.DELETE)
    fields = tuple(
        _shown(kind, one)
        for one in differences(before or {}, after)
        if not _is_bookkeeping(one.path)
    )
    if before is None:
        return Change(about=about, verb=Verb.CREATE, fields=fields)
    if not fields:
        return None
    rolls = kind == DEPLOYMENT and any(one.path.startswith("spec.template") for one in fields)
    return Change(about=about, verb=Verb.CHANGE, fields=fields, note=ROLLS_PODS if rolls else "")


def row_change(place: str, before: QueueRow | None, after: QueueRow) -> Change | None:
    """Compare a queue's row with what it would be; None where nothing would change."""
    about = f"queue {after.queue_name!r} in {place}"
    fields = tuple(differences(_row(before) if before else {}, _row(after)))
    if before is None:
        return Change(about=about, verb=Verb.CREATE, fields=fields)
    return Change(about=about, verb=Verb.CHANGE, fields=fields) if fields else None


def differences(before: Any, after: Any, path: str = "") -> Iterator[FieldChange]:
    """Yield the fields in which two JSON values differ; lists of named things go by their names."""
    if before == after:
        return
    old, new = _parts(before), _parts(after)
    if old is None or new is None or not (old or new):
        yield FieldChange(path=path, before=before, after=after)
        return
    for name in dict.fromkeys((*new, *old)):
        below = name if not path or name.startswith("[") else f".{name}"
        yield from differences(old.get(name), new.get(name), f"{path}{below}")


def _parts(value: Any) -> Mapping[str, Any] | None:
    """Return what a value consists of, by name; nothing has no parts, and a scalar none that it could have."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return value
    if isinstance(value, Sequence) and not isinstance(value, str):
        names = [one.get("name") if isinstance(one, Mapping) else None for one in value]
        if value and None not in names and len(set(names)) == len(names):
            return {f"[{name}]": one for name, one in zip(names, value, strict=True)}
    return None


def _shown(kind: Kind, change: FieldChange) -> FieldChange:
    if kind != SECRET or not change.path.startswith(("data.", "stringData.")):
        return change
    return FieldChange(
        path=change.path,
        before=None if change.before is None else HIDDEN,
        after=None if change.after is None else HIDDEN,
    )


def _is_bookkeeping(path: str) -> bool:
    return any(path == one or path.startswith((f"{one}.", f"{one}[")) for one in _BOOKKEEPING)


def _row(row: QueueRow) -> Mapping[str, Any]:
    """Return a row in the words of a manifest."""
    said = effective_configuration(row.settings, paused=row.paused, closed=row.closed)
    return {**said, "owner": None if row.owner is None else str(row.owner)}
