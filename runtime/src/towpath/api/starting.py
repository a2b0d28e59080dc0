"""Starting workflows: from outside, and as children from within a workflow."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import psycopg

from towpath.api.options import NO_OPTIONS, EnqueueItem, EnqueueOptions, current_options
from towpath.domain.errors import (
    ImportingApplicationError,
    QueueNotFoundError,
    StartInsideStepError,
    UsageError,
)
from towpath.domain.ids import INTERNAL_QUEUE, QueueName, WorkflowId, WorkflowName, check_chosen_id
from towpath.executor.context import Execution, running_in_workflow
from towpath.executor.engine import Engine
from towpath.executor.positions import current_step, take_position
from towpath.executor.registry import QueueDeclaration
from towpath.executor.steps import Pace, replay, value_of
from towpath.store import queues, steps
from towpath.store.enqueue import (
    Enqueued,
    NewItem,
    NewWorkflows,
    ParentStep,
    Refused,
    enqueue,
)
from towpath.store.session import AsyncSession, BlockingSession, Session, run_blocking
from towpath.store.steps import RecordedStep

logger = logging.getLogger("towpath.api")


@dataclass(slots=True)
class _ChosenId:
    """The id of a `SetWorkflowID` block, for its first start."""

    workflow_id: WorkflowId
    used: bool = False


_chosen: contextvars.ContextVar[_ChosenId | None] = contextvars.ContextVar(
    "towpath_workflow_id", default=None
)


class SetWorkflowID:
    """A block whose first started workflow gets a chosen id; later ones get ids of their own.

    The same id again is the same workflow: its handle is returned, and nothing runs twice.

    Raises:
        InvalidWorkflowIdError: the id cannot be one.
    """

    def __init__(self, workflow_id: str) -> None:
        self._chosen = check_chosen_id(workflow_id)

    def __enter__(self) -> Self:
        self._token = _chosen.set(_ChosenId(self._chosen))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _chosen.reset(self._token)


@dataclass(slots=True)
class ImportGuard:
    """Set while `towpath worker run` imports the application: starting is refused meanwhile."""

    application: str | None = None

    def check(self) -> None:
        """Raise where the application is being imported.

        Raises:
            ImportingApplicationError: naming the application.
        """
        if self.application is not None:
            raise ImportingApplicationError(application=self.application)


import_guard = ImportGuard()


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A call to start workflows of one name, before they are encoded.

    Attributes:
        many: Whether it is a bulk call, which reports duplicates rather than raise.
    """

    queue: QueueName
    name: WorkflowName
    items: Sequence[EnqueueItem]
    declaration: QueueDeclaration | None = None
    options: EnqueueOptions = NO_OPTIONS
    many: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A start that is encoded. `connection` is the caller's own, if it gave one."""

    new: NewWorkflows
    declaration: QueueDeclaration | None
    connection: Any


def prepare(engine: Engine, start: Start) -> Prepared:
    """Check and encode a start, in the caller's stack.

    Raises:
        ValueNotEncodableError: an argument that the codec would not give back as it is.
        ValueTooLargeError: arguments beyond the bound.
        EnqueueOptionError: an option that no queue takes.
        StartInsideStepError: the caller is in a step.
        UsageError: the caller is a workflow of another database.
    """
    _check_place(engine, start)
    # direct calls are no enqueues: what a block says of those is not meant for them
    around = NO_OPTIONS if start.queue == INTERNAL_QUEUE else current_options()
    options = start.options.over(around)
    single_id = None if start.many else _take_chosen_id(start)
    items = [_prepare_item(engine, start, item, options, single_id) for item in start.items]
    new = NewWorkflows(
        queue=start.queue,
        name=start.name,
        codec=engine.codec.name,
        items=items,
        version=options.app_version or "",
        many=start.many,
        notify=options.connection is not None,
    )
    return Prepared(new, start.declaration, options.connection)


def _check_place(engine: Engine, start: Start) -> None:
    step = current_step()
    if step is not None:
        raise StartInsideStepError(workflow_name=start.name, step_name=step)
    execution = running_in_workflow()
    if execution is not None and not engine.shares_database(execution.engine):
        raise UsageError(
            f"workflow {start.name!r} belongs to another database than workflow {execution.name!r}, "
            "which would start it: no transaction holds both. Start it from outside of workflows."
        )


def _prepare_item(
    engine: Engine,
    start: Start,
    item: EnqueueItem,
    outer: EnqueueOptions,
    single_id: WorkflowId | None,
) -> NewItem:
    options = item.own_options.over(outer)
    refuses = options.on_duplicate == "raise" or (options.on_duplicate is None and not start.many)
    chosen = check_chosen_id(item.workflow_id) if item.workflow_id is not None else single_id
    return NewItem(
        input=engine.codec.encode_input(item.args, item.kwargs),
        secret=engine.new_secret(),
        chosen_id=chosen,
        priority=options.priority,
        partition_key=options.queue_partition_key,
        deduplication_id=options.deduplication_id,
        delay_seconds=options.delay_seconds,
        start_at=options.start_at,
        refuse_duplicate=refuses,
    )


def _take_chosen_id(start: Start) -> WorkflowId | None:
    chosen = _chosen.get()
    if chosen is None or start.items[0].workflow_id is not None:
        return None
    if chosen.used:
        logger.warning(
            "SetWorkflowID serves one start; this one gets an id of its own",
            extra={"workflow_id": chosen.workflow_id, "workflow": start.name},
        )
        return None
    chosen.used = True
    return chosen.workflow_id


async def write(
    session: Session, engine: Engine, prepared: Prepared, parent: ParentStep | None = None
) -> list[Enqueued] | Refused:
    """Write workflows; a queue that code declares gets its row when it is missing."""
    statements = engine.statements
    done = await enqueue(session, statements, prepared.new, parent=parent)
    if _unknown_queue(done) and (declaration := prepared.declaration) is not None:
        await queues.declare(session, statements, declaration.name, declaration.settings)
        done = await enqueue(session, statements, prepared.new, parent=parent)
    return done


def _unknown_queue(done: list[Enqueued] | Refused) -> bool:
    return isinstance(done, Refused) and isinstance(done.error, QueueNotFoundError)


async def write_root(session: Session, engine: Engine, prepared: Prepared) -> list[Enqueued]:
    """Write workflows that have no parent.

    Raises:
        TowpathError: why the queue refuses them; nothing is written.
    """
    return _accepted(await write(session, engine, prepared))


def _accepted(done: list[Enqueued] | Refused) -> list[Enqueued]:
    if isinstance(done, Refused):
        raise done.error or UsageError("the workflow that starts another holds its place no more.")
    return done


def write_on_connection(engine: Engine, prepared: Prepared) -> list[Enqueued]:
    """Write workflows in the transaction of the caller's own connection.

    Raises:
        UsageError: it is not a blocking psycopg connection.
        TowpathError: as `write_root`; the transaction can go on.
    """
    connection = prepared.connection
    if not isinstance(connection, psycopg.Connection):
        raise _wrong_connection(connection, "psycopg.Connection")
    session = BlockingSession(connection, prepare=None)
    return run_blocking(write_root(session, engine, prepared))


async def write_on_connection_async(engine: Engine, prepared: Prepared) -> list[Enqueued]:
    """As `write_on_connection`, over an async connection, on the caller's loop."""
    connection = prepared.connection
    if not isinstance(connection, psycopg.AsyncConnection):
        raise _wrong_connection(connection, "psycopg.AsyncConnection")
    return await write_root(AsyncSession(connection, prepare=None), engine, prepared)


def _wrong_connection(connection: object, wanted: str) -> UsageError:
    return UsageError(
        f"connection= is a {type(connection).__name__}; this call takes a {wanted}. "
        "Use enqueue with a blocking connection and enqueue_async with an async one."
    )


async def start_children(
    execution: Execution, prepared: Prepared, pace: Pace
) -> list[tuple[WorkflowId, bool]]:
    """Start workflows from within one: once, whatever crashes; return their ids and which are new.

    The children and the parent's record of them are one transaction, so they are in one database.

    Raises:
        WorkflowInterrupted: the parent's attempt no longer holds its place.
        NonDeterminismError: another step is recorded at this position.
        TowpathError: why the queue refuses them; nothing is written.
    """
    new, engine = prepared.new, execution.engine
    if prepared.connection is not None:
        raise UsageError(
            "connection= is not for workflows: a child commits with its parent's step."
        )
    position = take_position()
    recorded = replay(execution, position, new.name)
    if recorded is None:
        execution.check()
        parent = ParentStep(execution.seq, execution.attempt, position)
        done = await pace.verb(engine, lambda session: write(session, engine, prepared, parent))
        if not (isinstance(done, Refused) and done.stale):
            return [(d.workflow_id, d.created) for d in _accepted(done)]
        recorded = await _find_written(execution, position, pace)
    value = value_of(execution, recorded)
    if new.many:
        return [(WorkflowId(child), created) for child, created in value]
    return [(WorkflowId(value), True)]


async def _find_written(execution: Execution, position: str, pace: Pace) -> RecordedStep:
    """Find the children of a start whose answer was lost, or learn that the attempt is stale."""
    engine = execution.engine
    statements = engine.statements
    seq = execution.seq
    loaded = await pace.verb(engine, lambda session: steps.load(session, statements, [seq]))
    found = loaded.get(seq, {}).get(position)
    if found is None:
        raise execution.fenced()
    return found
