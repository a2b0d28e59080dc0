"""Application versions: which one is current, what each has open, and the markers of patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from towpath.domain.ids import Seq
from towpath.store.session import Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A version; the empty name is that of what carries none."""

    name: str
    current: bool
    promoted_at: datetime | None
    workers: Sequence[str]
    delayed: int
    enqueued: int
    pending: int


async def promote(session: Session, statements: Statements, name: str) -> bool:
    """Make a version the current one; return whether it was another before."""
    (rows,) = await session.run((statements["promote_version"], {"name": name}))
    return bool(rows[0][0])


async def list_versions(session: Session, statements: Statements) -> list[VersionRow]:
    """Return every version that is promoted, runs, or has open workflows, by name."""
    (rows,) = await session.run((statements["list_versions"], {}))
    return [VersionRow(*row) for row in rows]


async def record_patch(
    session: Session, statements: Statements, *, seq: Seq, attempt: int, position: str, name: str
) -> bool | None:
    """Write a patch's marker, unless an earlier attempt waits there; None: the place is lost."""
    parameters = {"seq": seq, "attempt": attempt, "position": position, "name": name}
    (rows,) = await session.run((statements["record_patch"], parameters))
    return bool(rows[0][0]) if rows else None
