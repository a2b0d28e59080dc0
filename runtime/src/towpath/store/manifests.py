"""A queue's row as a Queue object declares it: taken, changed and freed under its owner's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from towpath.domain.queue import QueueSettings, Retention
from towpath.store import settings as stored
from towpath.store.session import Row, Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOwner:
    """The Queue object that a row belongs to: its cluster's uid, its place and its uid."""

    cluster: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredRow:
    """A queue's row: its settings, whether it is paused or closed, its owner (None: code may declare it)."""

    queue_name: str
    settings: QueueSettings
    paused: bool
    closed: bool
    owner: RowOwner | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredRows:
    """The schema with the rows that a cluster owns or asks for, as of one moment.

    Attributes:
        version: The schema's version.
        serves_from: The oldest library that it serves.
        access: Another text whenever somebody's rights in the schema are others.
        retention: The default retention.
        rows: The rows by name.
    """

    version: int
    serves_from: int
    access: str
    retention: Retention
    rows: Mapping[str, DeclaredRow]


async def declare_manifest(
    session: Session,
    statements: Statements,
    *,
    queue_name: str,
    settings: QueueSettings,
    owner: RowOwner,
    replaces: str | None,
    paused: bool | None = None,
    closed: bool | None = None,
) -> DeclaredRow:
    """Make the row say what the manifest says, unless another owner than `replaces` has it.

    `paused` and `closed` are left as they are where they are None.

    Returns:
        The row as it stands afterwards; its owner tells whether it was taken.
    """
    parameters = {
        "queue": queue_name,
        "settings": stored.to_json(settings),
        "paused": paused,
        "closed": closed,
        "owner_cluster": owner.cluster,
        "owner_namespace": owner.namespace,
        "owner_name": owner.name,
        "owner_uid": owner.uid,
        "replaces": replaces,
    }
    names = (
        "ensure_queue",
        "ensure_gate",
        "hold_settings",
        "declare_queue",
        "manifest_row",
    )
    *_, found = await session.run(*((statements[name], parameters) for name in names))
    return _declared(found[0])


async def release_manifest(
    session: Session, statements: Statements, *, queue_name: str, owner_uid: str
) -> bool:
    """Free the row if it still records this owner; tell whether it did."""
    parameters = {"queue": queue_name, "owner_uid": owner_uid}
    (freed,) = await session.run((statements["release_manifest"], parameters))
    return bool(freed)


async def manifest_rows(
    session: Session, statements: Statements, *, cluster: str, queue_names: Sequence[str]
) -> DeclaredRows:
    """Read the schema's version, the rows that a cluster owns and those of some names."""
    parameters = {"cluster": cluster, "queues": list(queue_names)}
    (found,) = await session.run((statements["manifest_rows"], parameters))
    version, serves_from, access, succeeded, failed = found[0][:5]
    rows = (_declared(row[5:]) for row in found if row[5] is not None)
    return DeclaredRows(
        version=version,
        serves_from=serves_from,
        access=access,
        retention=Retention(succeeded, failed),
        rows={row.queue_name: row for row in rows},
    )


def _declared(row: Row) -> DeclaredRow:
    name, settings, paused, closed, cluster, namespace, owner_name, uid = row
    return DeclaredRow(
        queue_name=name,
        settings=stored.from_json(settings),
        paused=paused,
        closed=closed,
        owner=None
        if uid is None
        else RowOwner(cluster=cluster, namespace=namespace, name=owner_name, uid=uid),
    )
