"""Cron schedules: their rows, who declares them, and the firing of their ticks."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from towpath.domain.errors import ScheduleDeclaredError, ScheduleNotFoundError, TowpathError
from towpath.domain.ids import QueueName, Seq, WorkerId, WorkflowId, WorkflowName, storable_text
from towpath.store.enqueue import NewItem, NewWorkflows, error_of
from towpath.store.session import Row, Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSettings:
    """What code declares of a schedule.

    Attributes:
        args: The arguments after the tick, as `codec` writes a call's.
        backfill: Whether what was missed fires once somebody declares the schedule again.
    """

    workflow: WorkflowName
    queue: QueueName
    cron: str
    timezone: str
    backfill: bool
    codec: str
    args: str

    def differences(self, other: ScheduleSettings) -> tuple[str, ...]:
        """Name the fields in which the other settings differ."""
        return tuple(
            f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)
        )


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """A schedule that is to fire.

    Attributes:
        settled_until: Every tick up to here has fired, or was let go.
    """

    name: str
    revision: int
    settings: ScheduleSettings
    paused: bool
    settled_until: datetime


@dataclass(frozen=True, slots=True)
class Watched:
    """A schedule that a worker looks after.

    Attributes:
        since: Since when live workers have declared it without a gap; None where none does.
        declared: Whether this worker does.
    """

    schedule: StoredSchedule
    since: datetime | None
    declared: bool


@dataclass(frozen=True, slots=True)
class NewTick:
    """A tick that is to fire; `input` is encoded."""

    at: datetime
    workflow_id: WorkflowId
    input: str
    secret: int


@dataclass(frozen=True, slots=True)
class FiredTick:
    """What became of a tick; its workflow was there before, or the queue refused it, unless created."""

    at: datetime
    workflow_id: WorkflowId
    seq: Seq | None
    created: bool
    error: TowpathError | None


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A schedule as people look at it; `workers` are the names of those that declare it."""

    schedule: StoredSchedule
    last_tick: datetime | None
    workers: Sequence[str]
    now: datetime


async def declare(
    session: Session, statements: Statements, name: str, settings: ScheduleSettings
) -> ScheduleSettings | None:
    """Write what code declares; return what was declared before, None where nothing was."""
    named = {"schedule": name}
    written = {f.name: getattr(settings, f.name) for f in fields(settings)}
    before, _ = await session.run(
        (statements["hold_schedule"], named), (statements["declare_schedule"], {**named, **written})
    )
    return _stored(before[0]).settings if before else None


async def watch(
    session: Session, statements: Statements, worker: WorkerId, names: Sequence[str]
) -> None:
    """Look after schedules in a worker's name, from now on and as long as its row is there."""
    parameters = {"worker": worker, "schedules": list(names)}
    await session.run((statements["watch_schedules"], parameters))


async def look(
    session: Session, statements: Statements, worker: WorkerId, names: Sequence[str]
) -> tuple[datetime, list[Watched]]:
    """Return the time, and those of the schedules that have a row."""
    parameters = {"worker": worker, "schedules": list(names)}
    (rows,) = await session.run((statements["look_at_schedules"], parameters))
    found = [
        Watched(_stored(row[1:-2]), since=row[-2], declared=row[-1])
        for row in rows
        if row[1] is not None
    ]
    return rows[0][0], found


async def fire(
    session: Session,
    statements: Statements,
    worker: WorkerId,
    schedule: StoredSchedule,
    ticks: Sequence[NewTick],
) -> list[FiredTick]:
    """Fire ticks, which come next, in one transaction; none where somebody else was faster."""
    parameters = {
        **_parameters(schedule, ticks),
        "worker": worker,
        "after": schedule.settled_until,
        "ticks": [t.at for t in ticks],
    }
    (rows,) = await session.run((statements["fire_schedule"], parameters))
    return [_fired(schedule, ticks, row) for row in rows]


async def backfill(
    session: Session, statements: Statements, schedule: StoredSchedule, ticks: Sequence[NewTick]
) -> list[FiredTick]:
    """Enqueue ticks of the past; none where the schedule was changed meanwhile."""
    parameters = _parameters(schedule, ticks)
    (rows,) = await session.run((statements["backfill_schedule"], parameters))
    return [_fired(schedule, ticks, row) for row in rows]


def _parameters(schedule: StoredSchedule, ticks: Sequence[NewTick]) -> dict[str, object]:
    return {
        "schedule": schedule.name,
        "revision": schedule.revision,
        "ids": [t.workflow_id for t in ticks],
        "inputs": [t.input for t in ticks],
        "secrets": [t.secret for t in ticks],
    }


def _fired(schedule: StoredSchedule, ticks: Sequence[NewTick], row: Row) -> FiredTick:
    number, outcome, seq, workflow_id, detail = row
    tick = ticks[number - 1]
    if outcome in ("created", "exists", "id conflict"):
        # a taken id is that of the tick under an earlier declaration: it has fired
        return FiredTick(tick.at, workflow_id, seq, created=outcome == "created", error=None)
    item = NewItem(input=tick.input, secret=tick.secret, chosen_id=tick.workflow_id)
    new = as_new(schedule, [item])
    error = error_of(new, item, outcome, workflow_id, detail)
    return FiredTick(tick.at, tick.workflow_id, None, created=False, error=error)


def as_new(schedule: StoredSchedule, items: Sequence[NewItem]) -> NewWorkflows:
    """Return workflows of the schedule, as they are enqueued."""
    settings = schedule.settings
    return NewWorkflows(
        queue=settings.queue, name=settings.workflow, codec=settings.codec, items=items
    )


async def list_schedules(session: Session, statements: Statements) -> list[ScheduleRow]:
    """Return every schedule, by name."""
    (rows,) = await session.run((statements["list_schedules"], {"schedule": None}))
    return [_row(row) for row in rows]


async def get(session: Session, statements: Statements, name: str) -> ScheduleRow:
    """Return a schedule.

    Raises:
        ScheduleNotFoundError: there is none of that name; with the nearest names.
    """
    rows: list[Row] = []
    if isinstance(name, str) and storable_text(name):
        (rows,) = await session.run((statements["list_schedules"], {"schedule": name}))
    if not rows:
        raise await _not_found(session, statements, name)
    return _row(rows[0])


async def set_paused(session: Session, statements: Statements, name: str, *, paused: bool) -> None:
    """Let no tick fire once this has returned, or let ticks from now on fire again.

    Raises:
        ScheduleNotFoundError: there is none of that name; with the nearest names.
    """
    await get(session, statements, name)
    await session.run(
        (statements["hold_schedule"], {"schedule": name}),
        (statements["set_schedule_paused"], {"schedule": name, "paused": paused}),
    )


async def delete(session: Session, statements: Statements, name: str) -> None:
    """Delete a schedule that no live worker declares.

    Raises:
        ScheduleNotFoundError: there is none of that name; with the nearest names.
        ScheduleDeclaredError: a live worker declares it.
    """
    row = await get(session, statements, name)
    named = {"schedule": name}
    _, deleted, left = await session.run(
        (statements["hold_schedule"], named),
        (statements["delete_schedule"], named),
        (statements["list_schedules"], named),
    )
    if left and not deleted:
        workers = _row(left[0]).workers or row.workers or ["a worker"]
        raise ScheduleDeclaredError(schedule_name=name, workers=workers)


async def _not_found(session: Session, statements: Statements, name: str) -> ScheduleNotFoundError:
    (rows,) = await session.run((statements["schedule_names"], {}))
    near = difflib.get_close_matches(str(name), [row[0] for row in rows], n=3)
    return ScheduleNotFoundError(schedule_name=name, nearest=near)


def _stored(row: Row) -> StoredSchedule:
    name, revision, workflow, queue, cron, timezone, backfill, codec, args, paused, until = row
    settings = ScheduleSettings(
        workflow=workflow, queue=queue, cron=cron, timezone=timezone, backfill=backfill,
        codec=codec, args=args,
    )  # fmt: skip
    return StoredSchedule(name, revision, settings, paused, until)


def _row(row: Row) -> ScheduleRow:
    last_tick, workers, now = row[-3:]
    return ScheduleRow(_stored(row[:-3]), last_tick, workers, now)
