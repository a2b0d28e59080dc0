"""Where application versions stand, as values that people and programs read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from towpath.store import versions
from towpath.store.session import Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionInfo:
    """An application version at one moment.

    Attributes:
        name: As TOWPATH_VERSION has it; empty for what carries no version.
        current: Whether it begins what was enqueued without a version.
        promoted_at: When it became the current one the last time; None where it never did.
        workers: The names of the live workers that run it.
        delayed: How many of its workflows are DELAYED.
        enqueued: How many are ENQUEUED.
        pending: How many are PENDING.
    """

    name: str
    current: bool = False
    promoted_at: datetime | None = None
    workers: tuple[str, ...] = ()
    delayed: int = 0
    enqueued: int = 0
    pending: int = 0

    @property
    def open(self) -> int:
        """How many of its workflows have not ended."""
        return self.delayed + self.enqueued + self.pending


async def list_versions(session: Session, statements: Statements) -> list[VersionInfo]:
    """Return every version that was promoted, that a worker runs or a workflow carries, by name."""
    return [
        VersionInfo(
            name=row.name,
            current=row.current,
            promoted_at=row.promoted_at,
            workers=tuple(row.workers),
            delayed=row.delayed,
            enqueued=row.enqueued,
            pending=row.pending,
        )
        for row in await versions.list_versions(session, statements)
    ]
