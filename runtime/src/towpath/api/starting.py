"""Starting workflows: from outside, and as children from within a workflow."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from towpath.domain.errors import (
    ImportingApplicationError,
    QueueNotFoundError,
    StartInsideStepError,
    UsageError,
)
from towpath.domain.ids import QueueName, WorkflowId, WorkflowName, check_chosen_id
from towpath.executor.context import Execution, running_in_workflow
from towpath.executor.engine import Engine
from towpath.executor.positions import current_step, take_position
from towpath.executor.registry import QueueDeclaration
from towpath.executor.steps import Pace, keep, replay, value_of
from towpath.store import queues, steps
from towpath.store.enqueue import (
    Enqueued,
    NewWorkflow,
    ParentStep,
    enqueue,
    refuse_unknown_queue,
)
from towpath.store.session import Session

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


@dataclass(frozen=True, slots=True)
class Start:
    """A call to start a workflow, before it is encoded."""

    queue: QueueName
    name: WorkflowName
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    workflow_id: str | None = None
    declaration: QueueDeclaration | None = None


def prepare(engine: Engine, start: Start) -> NewWorkflow:
    """Check and encode a start, in the caller's stack.

    Raises:
        ValueNotEncodableError: an argument that the codec would not give back as it is.
        StartInsideStepError: the caller is in a step.
        UsageError: the caller is a workflow of another database.
    """
    step = current_step()
    if step is not None:
        raise StartInsideStepError(workflow_name=start.name, step_name=step)
    execution = running_in_workflow()
    if execution is not None and not engine.shares_database(execution.engine):
        raise UsageError(
            f"workflow {start.name!r} belongs to another database than workflow {execution.name!r}, "
            "which would start it: no transaction holds both. Start it from outside of workflows."
        )
    return NewWorkflow(
        queue=start.queue,
        name=start.name,
        input=engine.codec.encode_input(start.args, start.kwargs),
        codec=engine.codec.name,
        secret=engine.new_secret(),
        chosen_id=_take_chosen_id(start),
    )


def _take_chosen_id(start: Start) -> WorkflowId | None:
    if start.workflow_id is not None:
        return check_chosen_id(start.workflow_id)
    chosen = _chosen.get()
    if chosen is None:
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
    session: Session,
    engine: Engine,
    new: NewWorkflow,
    declaration: QueueDeclaration | None,
    parent: ParentStep | None = None,
) -> Enqueued | None:
    """Write a workflow; a queue that code declares gets its row when it is missing.

    Raises:
        QueueNotFoundError: the queue has no row and no declaration.
    """
    statements = engine.statements
    done = await enqueue(session, statements, new, parent=parent)
    if done is None and declaration is not None:
        await queues.declare(session, statements, declaration.name, declaration.settings)
        done = await enqueue(session, statements, new, parent=parent)
    if done is None:
        await refuse_unknown_queue(session, statements, new.queue)
    return done


async def write_root(
    session: Session, engine: Engine, new: NewWorkflow, declaration: QueueDeclaration | None
) -> Enqueued:
    """Write a workflow that has no parent.

    Raises:
        QueueNotFoundError: the queue has no row and no declaration.
    """
    done = await write(session, engine, new, declaration)
    if done is None:  # the queue's row came between the try and the look
        done = await enqueue(session, engine.statements, new)
    if done is None:
        raise QueueNotFoundError(queue_name=new.queue)
    return done


async def start_child(
    execution: Execution, new: NewWorkflow, start: Start, pace: Pace
) -> WorkflowId:
    """Start a workflow from within one: once, whatever crashes.

    The child and the parent's record of it are one transaction, so they are in one database.

    Raises:
        WorkflowInterrupted: the parent's attempt no longer holds its place.
        NonDeterminismError: another step is recorded at this position.
    """
    engine = execution.engine
    position = take_position()
    recorded = replay(execution, position, new.name)
    if recorded is not None:
        return WorkflowId(value_of(execution, recorded))
    execution.check()
    parent = ParentStep(execution.seq, execution.attempt, position)
    done = await pace.verb(
        engine, lambda session: write(session, engine, new, start.declaration, parent)
    )
    if done is None:
        return await _find_written_child(execution, position, pace)
    if not done.created:
        # the chosen id was taken before: the record that names it is still to be written
        step = steps.NewStep(
            execution.seq,
            execution.attempt,
            position,
            new.name,
            engine.codec.encode(done.workflow_id),
            None,
            timedelta(0),
        )
        await keep(execution, step, pace)
    return done.workflow_id


async def _find_written_child(execution: Execution, position: str, pace: Pace) -> WorkflowId:
    """Find the child of a start whose answer was lost, or learn that the attempt is stale."""
    engine = execution.engine
    statements = engine.statements
    seq = execution.seq
    recorded = await pace.verb(engine, lambda session: steps.load(session, statements, [seq]))
    found = recorded.get(seq, {}).get(position)
    if found is None:
        raise execution.fenced()
    return WorkflowId(value_of(execution, found))
