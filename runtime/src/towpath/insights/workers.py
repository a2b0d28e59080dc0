"""Which workers there are, as values that people and programs read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from towpath.domain.ids import INTERNAL_QUEUE
from towpath.store import workers
from towpath.store.session import Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """A worker at one moment.

    Attributes:
        state: `live`, `draining` (it takes nothing new), or `dead` (its lease has run out; others return
            its workflows to their lines).
        version: Its application version; empty where it has none.
        library: Its version of Towpath.
        queues: The queues that it serves, beside direct calls.
        workflow_names: The workflows that are registered there.
        running: Workflows that it has in memory, to run or to wait.
        slots_taken: Those of them that do not wait, of so many `slots`.
        pool: The WorkerPool that it is of, as namespace/name.
    """

    name: str
    state: str
    version: str
    library: str
    queues: Sequence[str]
    workflow_names: Sequence[str]
    running: int
    slots_taken: int
    slots: int
    started_at: datetime
    lease_until: datetime
    pool: str | None


async def list_workers(session: Session, statements: Statements) -> list[WorkerInfo]:
    """Return every worker that has a row, the oldest first."""
    return [_info(row) for row in await workers.list_workers(session, statements)]


def _info(row: workers.WorkerRow) -> WorkerInfo:
    state = "draining" if row.draining else "live"
    return WorkerInfo(
        name=row.name,
        state=state if row.lease_seconds > 0 else "dead",
        version=row.version,
        library=row.library,
        queues=[name for name in row.queues if name != INTERNAL_QUEUE],
        workflow_names=row.names,
        running=row.running,
        slots_taken=row.slots_taken,
        slots=row.slots,
        started_at=row.started_at,
        lease_until=row.lease_until,
        pool=row.pool,
    )
