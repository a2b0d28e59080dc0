"""Schedules: declared on a workflow in code, and looked at and managed by their names."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from towpath.api.functions import Workflow
from towpath.api.handle import WorkflowHandle, WorkflowHandleAsync
from towpath.api.starting import accepted
from towpath.codec import Codec
from towpath.domain.errors import ConfigurationError, ScheduleDeclarationError, UsageError
from towpath.domain.ids import INTERNAL_QUEUE, QueueName
from towpath.domain.queue import check_queue_name
from towpath.domain.schedule import before, check_schedule_name, read_cron
from towpath.executor.context import refuse_blocking
from towpath.executor.engine import Engine
from towpath.executor.maintenance.schedules import make_ticks
from towpath.executor.registry import QueueDeclaration, Registry, ScheduleDeclaration
from towpath.insights import schedules as insights
from towpath.insights.schedules import ScheduleInfo
from towpath.store import schedules
from towpath.store.enqueue import Enqueued, NewItem, enqueue
from towpath.store.lending import Verb
from towpath.store.schedules import FiredTick, ScheduleSettings, as_new
from towpath.store.session import Session

if TYPE_CHECKING:
    from towpath.api.queue import Queue

W = TypeVar("W", bound=Workflow[..., Any])

MOST_TICKS: Final = 10_000
"""Of one backfill."""

_A_CALL: Final = 500
_ANY_TICK: Final = datetime(2026, 1, 1, tzinfo=UTC)


class DeclaresSchedules(ABC):
    """What may be declared beside workflows; an App does it."""

    registry: Registry
    _codec: Codec

    def schedule(
        self,
        cron: str,
        *,
        timezone: str = "UTC",
        queue: Queue | str | None = None,
        name: str | None = None,
        backfill: bool = False,
        args: Sequence[Any] = (),
    ) -> Callable[[W], W]:
        """Start a workflow by the clock, once a tick over any number of processes.

        It stands above `@towpath.workflow()`, which may still be called and enqueued. The workflow gets
        the tick as its first argument, an aware datetime in UTC. A schedule fires while a live worker
        declares it; of processes that declare it differently, the one launched last wins.

        Args:
            cron: `minute hour day-of-month month day-of-week`, with seconds first if there are six
                fields, such as "0 9 * * 1-5": 9:00 on weekdays.
            timezone: The zone of the expression, by its IANA name. What names a time that clocks leave
                out ticks right after it, what names one that comes twice ticks in the first.
            queue: The queue that takes its workflows; without one they begin as by `start_workflow`.
            name: The schedule's name, 1 to 200 characters; the workflow's unless given.
            backfill: Whether ticks that no live worker looked after fire later, rather than never.
            args: The workflow's arguments after the tick.

        Raises:
            ScheduleDeclarationError: the expression is none or never ticks, there is no such time
                zone, the workflow does not take these arguments, or the queue is partitioned.
            DuplicateNameError: another schedule has the name.
            ValueNotEncodableError: an argument that cannot be recorded.
        """

        def decorate(workflow: W) -> W:
            chosen = _name_of(workflow, name)
            _check_call(chosen, workflow, args)
            self._codec.encode_input([_ANY_TICK, *args], {})
            settings = ScheduleSettings(
                workflow=workflow.definition.name,
                queue=self._queue_of(chosen, queue),
                cron=read_cron(chosen, cron, timezone).expression,
                timezone=timezone,
                backfill=bool(backfill),
                codec=self._codec.name,
                args=self._codec.encode_input(list(args), {}),
            )
            self.registry.add_schedule(
                ScheduleDeclaration(chosen, settings, workflow.definition.function)
            )
            return workflow

        return decorate

    def _queue_of(self, schedule_name: str, queue: Queue | str | None) -> QueueName:
        """Return the queue's name; the process then serves it as any queue that it declares."""
        if queue is None:
            return INTERNAL_QUEUE
        name = check_queue_name(queue if isinstance(queue, str) else queue.name)
        if isinstance(queue, str):
            self.registry.add_queue(QueueDeclaration(name, None))
        declared = self.registry.queue(name)
        if declared is not None and declared.settings and declared.settings.partition_queue:
            raise ScheduleDeclarationError(
                schedule_name=schedule_name,
                field="queue",
                value=name,
                reason="it is partitioned, and a tick has no partition key. Name another queue; the "
                "workflow may enqueue on this one.",
            )
        return name


def _name_of(workflow: object, name: str | None) -> str:
    if not isinstance(workflow, Workflow):
        raise UsageError(
            f"{workflow!r} is not a workflow. Put @towpath.schedule(...) above @towpath.workflow()."
        )
    return check_schedule_name(workflow.name if name is None else name)


def _check_call(schedule_name: str, workflow: Workflow[..., Any], args: Sequence[Any]) -> None:
    """Raise where the workflow cannot be called with the tick and the arguments."""
    try:
        inspect.signature(workflow.definition.function).bind(_ANY_TICK, *args)
    except TypeError as error:
        raise ScheduleDeclarationError(
            schedule_name=schedule_name,
            field="workflow",
            value=workflow.name,
            reason=f"it is called with the tick, a datetime, and {len(args)} of args=, and does not take "
            f"that: {error}. Change its parameters, or args=.",
        ) from None


class ManagesSchedules(ABC):
    """What may be done to schedules by their names; an App and a Client do it."""

    @property
    @abstractmethod
    def engine(self) -> Engine:
        """The connections and loops of this process."""

    def list_schedules(self) -> list[ScheduleInfo]:
        """Return every schedule, by name; those that no live worker declares are orphaned."""
        refuse_blocking("list_schedules", "list_schedules_async()")
        return self.engine.run(_list(self.engine))

    async def list_schedules_async(self) -> list[ScheduleInfo]:
        """As `list_schedules`, awaited from any loop."""
        return await self.engine.run_async(_list(self.engine))

    def pause_schedule(self, name: str) -> None:
        """Stop a schedule: no tick fires once this has returned. What has fired goes on.

        Raises:
            ScheduleNotFoundError: there is none of that name; with the nearest names.
        """
        refuse_blocking("pause_schedule", "pause_schedule_async(...)")
        self.engine.run(_set_paused(self.engine, name, paused=True))

    async def pause_schedule_async(self, name: str) -> None:
        """As `pause_schedule`, awaited from any loop."""
        await self.engine.run_async(_set_paused(self.engine, name, paused=True))

    def resume_schedule(self, name: str) -> None:
        """Let a schedule go on from now; the ticks of the pause do not fire, also not with backfill.

        Raises:
            ScheduleNotFoundError: there is none of that name; with the nearest names.
        """
        refuse_blocking("resume_schedule", "resume_schedule_async(...)")
        self.engine.run(_set_paused(self.engine, name, paused=False))

    async def resume_schedule_async(self, name: str) -> None:
        """As `resume_schedule`, awaited from any loop."""
        await self.engine.run_async(_set_paused(self.engine, name, paused=False))

    def trigger_schedule(self, name: str) -> WorkflowHandle[Any]:
        """Start the schedule's workflow now, out of turn, and paused or not; its tick is now.

        Raises:
            ScheduleNotFoundError: there is none of that name; with the nearest names.
            QueueClosedError: its queue takes no new workflows.
            UsageError: its arguments were declared with another codec than this one's.
        """
        refuse_blocking("trigger_schedule", "trigger_schedule_async(...)")
        started = self.engine.run(_trigger(self.engine, name))
        return WorkflowHandle(lambda: self.engine, started.workflow_id, started.seq)

    async def trigger_schedule_async(self, name: str) -> WorkflowHandleAsync[Any]:
        """As `trigger_schedule`, awaited from any loop."""
        started = await self.engine.run_async(_trigger(self.engine, name))
        return WorkflowHandleAsync(lambda: self.engine, started.workflow_id, started.seq)

    def backfill_schedule(
        self, name: str, start: datetime, end: datetime
    ) -> list[tuple[WorkflowHandle[Any], bool]]:
        """Fire the ticks from `start` on and before `end` that have not fired; future ones are left.

        Returns:
            For each tick its workflow's handle, and whether it was created; where not, it had fired.

        Raises:
            ScheduleNotFoundError: there is none of that name; with the nearest names.
            ConfigurationError: a moment without a time zone.
            UsageError: more than 10,000 ticks, or arguments that were declared with another codec.
            QueueClosedError: its queue takes no new workflows.
        """
        refuse_blocking("backfill_schedule", "backfill_schedule_async(...)")
        fired = self.engine.run(_backfill(self.engine, name, start, end))
        return [
            (WorkflowHandle(lambda: self.engine, f.workflow_id, f.seq), f.created) for f in fired
        ]

    async def backfill_schedule_async(
        self, name: str, start: datetime, end: datetime
    ) -> list[tuple[WorkflowHandleAsync[Any], bool]]:
        """As `backfill_schedule`, awaited from any loop."""
        fired = await self.engine.run_async(_backfill(self.engine, name, start, end))
        return [
            (WorkflowHandleAsync(lambda: self.engine, f.workflow_id, f.seq), f.created)
            for f in fired
        ]

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule that no live worker declares. Workflows that it has started stay.

        Raises:
            ScheduleNotFoundError: there is none of that name; with the nearest names.
            ScheduleDeclaredError: a live worker declares it.
        """
        refuse_blocking("delete_schedule", "delete_schedule_async(...)")
        self.engine.run(_delete(self.engine, name))

    async def delete_schedule_async(self, name: str) -> None:
        """As `delete_schedule`, awaited from any loop."""
        await self.engine.run_async(_delete(self.engine, name))


def _list(engine: Engine) -> Verb[list[ScheduleInfo]]:
    return lambda session: insights.list_schedules(session, engine.statements)


def _set_paused(engine: Engine, name: str, *, paused: bool) -> Verb[None]:
    return lambda session: schedules.set_paused(session, engine.statements, name, paused=paused)


def _delete(engine: Engine, name: str) -> Verb[None]:
    return lambda session: schedules.delete(session, engine.statements, name)


def _trigger(engine: Engine, name: str) -> Verb[Enqueued]:
    """Enqueue a run of the schedule's workflow under an id of its own."""

    async def verb(session: Session) -> Enqueued:
        row = await schedules.get(session, engine.statements, name)
        (tick,) = make_ticks(engine, row.schedule, [row.now])
        item = NewItem(input=tick.input, secret=tick.secret)
        (started,) = accepted(
            await enqueue(session, engine.statements, as_new(row.schedule, [item]))
        )
        return started

    return verb


def _backfill(engine: Engine, name: str, start: datetime, end: datetime) -> Verb[list[FiredTick]]:
    """Enqueue the ticks of a time that is past, each once."""
    for field, moment in (("start", start), ("end", end)):
        if not isinstance(moment, datetime) or moment.utcoffset() is None:
            raise ConfigurationError(
                f"{field} is {moment!r}; allowed is a datetime with a time zone."
            )

    async def verb(session: Session) -> list[FiredTick]:
        row = await schedules.get(session, engine.statements, name)
        settings = row.schedule.settings
        cron = read_cron(name, settings.cron, settings.timezone)
        moments = cron.between(before(start), min(before(end), row.now), MOST_TICKS + 1)
        if len(moments) > MOST_TICKS:
            raise UsageError(
                f"schedule {name!r} has more than {MOST_TICKS} ticks between {start} and {end}. "
                "Backfill a shorter time, and then the next."
            )
        fired: list[FiredTick] = []
        ticks = make_ticks(engine, row.schedule, moments)
        for first in range(0, len(ticks), _A_CALL):
            chunk = ticks[first : first + _A_CALL]
            fired += await schedules.backfill(session, engine.statements, row.schedule, chunk)
        refused = next((f.error for f in fired if f.error is not None), None)
        if refused is not None:
            raise refused
        if len(fired) < len(moments):
            raise UsageError(f"schedule {name!r} was changed meanwhile. Backfill it again.")
        return fired

    return verb
