"""Where schedules stand, as values that people and programs read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from towpath.domain.errors import ScheduleDeclarationError
from towpath.domain.schedule import read_cron
from towpath.store import schedules
from towpath.store.session import Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleInfo:
    """A schedule at one moment.

    Attributes:
        workflow_name: What it starts.
        queue_name: On which queue; `_towpath` is that of direct calls.
        backfill: Whether what was missed fires later.
        paused: Whether no tick fires.
        orphaned: Whether no live worker declares it, so that no tick fires.
        workers: The names of the live workers that declare it.
        last_tick: The last one that fired; None where none did.
        next_tick: The next one to fire; None where it is paused or orphaned, or its time zone is not
            known here.
    """

    name: str
    workflow_name: str
    queue_name: str
    cron: str
    timezone: str
    backfill: bool = False
    paused: bool = False
    orphaned: bool = False
    workers: tuple[str, ...] = ()
    last_tick: datetime | None = None
    next_tick: datetime | None = None

    @property
    def state(self) -> str:
        """Whether it fires, in a word: active, paused, orphaned, or paused,orphaned."""
        words = [word for word in ("paused", "orphaned") if getattr(self, word)]
        return ",".join(words) or "active"


async def list_schedules(session: Session, statements: Statements) -> list[ScheduleInfo]:
    """Return every schedule, by name."""
    return [_info(row) for row in await schedules.list_schedules(session, statements)]


def _info(row: schedules.ScheduleRow) -> ScheduleInfo:
    settings = row.schedule.settings
    return ScheduleInfo(
        name=row.schedule.name,
        workflow_name=settings.workflow,
        queue_name=settings.queue,
        cron=settings.cron,
        timezone=settings.timezone,
        backfill=settings.backfill,
        paused=row.schedule.paused,
        orphaned=not row.workers,
        workers=tuple(row.workers),
        last_tick=row.last_tick,
        next_tick=_next_tick(row),
    )


def _next_tick(row: schedules.ScheduleRow) -> datetime | None:
    schedule = row.schedule
    if schedule.paused or not row.workers:
        return None
    try:
        cron = read_cron(schedule.name, schedule.settings.cron, schedule.settings.timezone)
    except ScheduleDeclarationError:
        return None
    return cron.next_after(max(schedule.settled_until, row.now))
