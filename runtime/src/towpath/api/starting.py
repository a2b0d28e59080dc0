"""Starting workflows: from outside, and as children from within a workflow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from towpath.api.chosen_ids import ChosenId, chosen_timeout, free_chosen_id
from towpath.api.functions import name_instance
from towpath.api.options import NO_OPTIONS, EnqueueItem, EnqueueOptions, current_options
from towpath.codec import encode_failure
from towpath.domain.errors import (
    ImportingApplicationError,
    QueueNotFoundError,
    StartInsideStepError,
    TowpathError,
    UsageError,
    ValueNotEncodableError,
)
from towpath.domain.ids import (
    INTERNAL_QUEUE,
    QueueName,
    Seq,
    WorkflowId,
    WorkflowName,
    check_chosen_id,
)
from towpath.executor.boundaries import Moment
from towpath.executor.context import Execution, running_in_workflow
from towpath.executor.engine import Engine
from towpath.executor.inside_transaction import refuse_in_transaction
from towpath.executor.positions import current_step, take_position
from towpath.executor.registry import QueueDeclaration
from towpath.executor.steps import Pace, keep, replay, value_of
from towpath.store import queues, steps
from towpath.store.debounce import Bounce, bounce, check_alone
from towpath.store.enqueue import (
    Enqueued,
    NewItem,
    NewWorkflows,
    ParentStep,
    Refused,
    enqueue,
)
from towpath.store.session import Session
from towpath.store.steps import NewStep, RecordedStep

MAX_CALL_CHARACTERS = 256 * 1024 * 1024
"""Of arguments in one call: Postgres takes no message above 1 GiB."""


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
        bounce: How it is debounced, if it is.
    """

    queue: QueueName
    name: WorkflowName
    items: Sequence[EnqueueItem]
    declaration: QueueDeclaration | None = None
    options: EnqueueOptions = NO_OPTIONS
    many: bool = False
    bounce: Bounce | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """A child; `seq` is None where a record tells of it."""

    workflow_id: WorkflowId
    created: bool
    seq: Seq | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A start that is encoded.

    Attributes:
        connection: The caller's own, if it gave one.
        chosen: The `SetWorkflowID` block whose id the start has taken.
    """

    new: NewWorkflows
    declaration: QueueDeclaration | None
    connection: Any
    chosen: ChosenId | None
    bounce: Bounce | None

    def failed(self) -> None:
        """Give the block's id back: the start has failed, and the caller may try again with it."""
        if self.chosen is not None:
            self.chosen.used = False


def prepare(engine: Engine, start: Start) -> Prepared:
    """Check and encode a start, in the caller's stack.

    Raises:
        ValueNotEncodableError: an argument that the codec would not give back as it is.
        ValueTooLargeError: arguments beyond the bound.
        EnqueueOptionError: an option that no queue takes.
        StartInsideStepError: the caller is in a step.
        UsageError: the caller is a workflow of another database, or the call is too large.
    """
    _check_place(engine, start)
    # direct calls are no enqueues: what a block says of those is not meant for them
    around = NO_OPTIONS if start.queue == INTERNAL_QUEUE else current_options()
    options = start.options.over(around)
    chosen = _find_chosen_id(start)
    try:
        items = _prepare_items(engine, start, options, chosen)
    except ValueNotEncodableError as error:
        raise name_instance(engine.registry.workflow(start.name), error) from None
    if start.bounce is not None:
        check_alone(items[0], options.connection)
    if chosen is not None:
        chosen.used = True
    new = NewWorkflows(
        queue=start.queue,
        name=start.name,
        codec=engine.codec.name,
        items=items,
        version=options.app_version or "",
        many=start.many,
        notify=options.connection is not None,
    )
    return Prepared(new, start.declaration, options.connection, chosen, start.bounce)


def _find_chosen_id(start: Start) -> ChosenId | None:
    if not start.many and start.items[0].workflow_id is not None:
        return None
    chosen = free_chosen_id(start.name)
    if chosen is not None and start.many:
        raise UsageError("SetWorkflowID is for one workflow: give each EnqueueItem its own id.")
    return chosen


def _prepare_items(
    engine: Engine, start: Start, options: EnqueueOptions, chosen: ChosenId | None
) -> list[NewItem]:
    single_id = None if chosen is None else chosen.workflow_id
    if not start.many:
        return [_prepare_item(engine, start.items[0], options, single_id, refuses=True)]
    items: list[NewItem] = []
    size = 0
    try:
        for item in start.items:
            items.append(_prepare_item(engine, item, options, None, refuses=False))
            size += len(items[-1].input)
    except TowpathError as error:
        error.add_note(f"in item {len(items)} of enqueue_many, counted from 0")
        raise
    if size > MAX_CALL_CHARACTERS:
        raise UsageError(
            f"the arguments of one enqueue_many have {size} characters as they are recorded; "
            f"allowed are {MAX_CALL_CHARACTERS}. Make several calls."
        )
    return items


def _check_place(engine: Engine, start: Start) -> None:
    refuse_in_transaction(f"workflow {start.name!r}")
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
    item: EnqueueItem,
    outer: EnqueueOptions,
    single_id: WorkflowId | None,
    *,
    refuses: bool,
) -> NewItem:
    """Encode one workflow; `refuses` is what a duplicate does where nobody says."""
    options = outer if item.options is None else item.own_options.over(outer)
    text = engine.codec.encode_input(item.args, item.kwargs)
    secret = engine.new_secret()
    chosen = check_chosen_id(item.workflow_id) if item.workflow_id is not None else single_id
    refuses = refuses if options.on_duplicate is None else options.on_duplicate == "raise"
    timeout = (
        chosen_timeout() if options.timeout_seconds is None else float(options.timeout_seconds)
    )
    if options is NO_OPTIONS:
        return NewItem(
            input=text, secret=secret, chosen_id=chosen, timeout_seconds=timeout,
            refuse_duplicate=refuses,
        )  # fmt: skip
    delay = options.delay_seconds
    return NewItem(
        input=text,
        secret=secret,
        chosen_id=chosen,
        priority=options.priority,
        partition_key=options.queue_partition_key,
        deduplication_id=options.deduplication_id,
        delay_seconds=None if delay is None else float(delay),
        start_at=options.start_at,
        timeout_seconds=timeout,
        refuse_duplicate=refuses,
    )


async def write(
    session: Session, engine: Engine, prepared: Prepared, parent: ParentStep | None = None
) -> list[Enqueued] | Refused:
    """Write workflows; a queue that code declares gets its row when it is missing."""
    done = await _write_once(session, engine, prepared, parent)
    if may_be_declared(done, prepared):
        await declare(session, engine, prepared)
        done = await _write_once(session, engine, prepared, parent)
    return done


async def _write_once(
    session: Session, engine: Engine, prepared: Prepared, parent: ParentStep | None
) -> list[Enqueued] | Refused:
    new, how = prepared.new, prepared.bounce
    if how is not None:
        return await bounce(session, engine.statements, new, how, parent=parent)
    return await enqueue(session, engine.statements, new, parent=parent)


def may_be_declared(done: list[Enqueued] | Refused, prepared: Prepared) -> bool:
    """Tell whether only the queue's row is missing, and code has what it takes to make it."""
    return (
        isinstance(done, Refused)
        and isinstance(done.error, QueueNotFoundError)
        and prepared.declaration is not None
    )


async def declare(session: Session, engine: Engine, prepared: Prepared) -> None:
    """Make the queue's row, with the options that any part of the process has declared."""
    queue = prepared.new.queue
    declaration = engine.registry.queue(queue) or prepared.declaration
    await queues.declare(
        session, engine.statements, queue, None if declaration is None else declaration.settings
    )


async def write_root(session: Session, engine: Engine, prepared: Prepared) -> list[Enqueued]:
    """Write workflows that have no parent.

    Raises:
        TowpathError: why the queue refuses them; nothing is written.
    """
    return accepted(await write(session, engine, prepared))


def accepted(done: list[Enqueued] | Refused) -> list[Enqueued]:
    """Return what was written.

    Raises:
        TowpathError: why it was not.
    """
    if isinstance(done, Refused):
        raise done.error or UsageError("the workflow that starts another holds its place no more.")
    return done


async def start_children(execution: Execution, prepared: Prepared, pace: Pace) -> list[Started]:
    """Start workflows from within one: once, whatever crashes.

    The children and the parent's record of them are one transaction, so they are in one database. A
    refusal is recorded too: a replay goes the way of the first run, also where the queue would take
    them by then.

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
        execution.reach(position, new.name, Moment.BEFORE)
        done = await pace.verb(engine, lambda session: write(session, engine, prepared, parent))
        if not isinstance(done, Refused):
            execution.reach(position, new.name, Moment.AFTER)
            return [Started(d.workflow_id, d.created, d.seq) for d in done]
        if done.error is None:
            recorded = await _find_written(execution, position, pace)
        else:
            recorded = await _record_refusal(execution, position, new.name, done.error, pace)
    value = value_of(execution, recorded)
    if new.many:
        return [Started(WorkflowId(child), created, None) for child, created in value]
    return [Started(WorkflowId(value), created=True, seq=None)]


async def _find_written(execution: Execution, position: str, pace: Pace) -> RecordedStep:
    """Find the children of a start whose answer was lost, or learn that the attempt is stale."""
    engine = execution.engine
    statements = engine.statements
    seq = execution.seq
    loaded = await pace.verb(engine, lambda session: steps.load(session, statements, [seq]))
    found = loaded.get(seq, {}).get(position)
    if found is None or found.attempt != execution.attempt:
        raise execution.fenced()
    return found


async def _record_refusal(
    execution: Execution, position: str, name: str, error: TowpathError, pace: Pace
) -> RecordedStep:
    failure = encode_failure(error)
    step = NewStep(execution.seq, execution.attempt, position, name, None, failure, timedelta(0))
    await keep(execution, step, pace)
    return RecordedStep(position, name, None, failure, None)
