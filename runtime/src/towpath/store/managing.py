"""Verbs on workflows that are there: cancel, resume, retry, fork, delete, change what waits.

Each is one statement, and so one transaction: another's turn, claim or verb is before it or after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from towpath.domain.errors import (
    EnqueueOptionError,
    WorkflowNotFoundError,
    WorkflowStatusError,
)
from towpath.domain.ids import QueueName, Seq, WorkflowId, format_generated_id
from towpath.domain.queue import Retention
from towpath.domain.status import WorkflowStatus
from towpath.domain.workflow_filter import WorkflowFilter
from towpath.store.enqueue import Enqueued, NewItem, NewWorkflows, refusal
from towpath.store.session import Call, Session
from towpath.store.statements import Statements
from towpath.store.steps import position_key
from towpath.store.workflows import WorkflowRow, get, locate, to_json


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a cancel did.

    Attributes:
        was: The status that the workflow had: DELAYED, ENQUEUED or PENDING, and it is CANCELLED now;
            CANCELLED or MAX_RECOVERY_ATTEMPTS_EXCEEDED, and nothing was done to it.
        children: How many of the workflows that it started, and they started, were cancelled with it.
    """

    workflow_id: str
    was: WorkflowStatus
    children: int = 0

    @property
    def changed(self) -> bool:
        """Whether it was cancelled by this call."""
        return not self.was.ended


@dataclass(frozen=True, slots=True)
class StepTrace:
    """How a step of a failed workflow went; `failure` is encoded, times are seconds since 1970."""

    position: str
    failure: str | None
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class FailedWorkflow:
    """A workflow that ended with ERROR, in which attempt, and what it and its steps failed with."""

    seq: Seq
    attempt: int
    failure: str | None
    steps: Sequence[StepTrace]


async def cancel(
    session: Session, statements: Statements, workflow_id: str, *, cascade: bool = False
) -> Cancelled:
    """Cancel a workflow, with `cascade` also all that it has started, and they have.

    Raises:
        WorkflowNotFoundError: there is none of that id.
        WorkflowStatusError: it has ended with SUCCESS or ERROR; its children are left alone too.
    """
    located = await locate(session, statements, workflow_id)
    call: Call
    if cascade:
        call = statements["cancel_with_children"], {"seq": located.seq}
    else:
        call = statements["cancel"], {"seqs": [located.seq]}
    ((_, was), *children), *_ = await session.run(call)
    cancelled = sum(before is not None for _, before in children)
    if was is not None:
        return Cancelled(workflow_id, WorkflowStatus(was), cancelled)
    row = await get(session, statements, workflow_id)
    if row.status in (WorkflowStatus.SUCCESS, WorkflowStatus.ERROR):
        raise WorkflowStatusError(
            workflow_id=workflow_id,
            status=row.status,
            verb="cancel",
            allowed="workflows that have not ended",
        )
    return Cancelled(workflow_id, row.status, cancelled)


async def resume(
    session: Session, statements: Statements, workflow_id: str
) -> WorkflowStatus | None:
    """Put a cancelled or given-up workflow in line again; return None, or what it is instead.

    Raises:
        WorkflowNotFoundError: there is none of that id.
    """
    located = await locate(session, statements, workflow_id)
    (rows,) = await session.run((statements["resume"], {"seq": located.seq}))
    if rows[0][0] == "gone":
        raise WorkflowNotFoundError(workflow_id=workflow_id)
    return None if rows[0][0] is None else WorkflowStatus(rows[0][0])


async def find_failed(
    session: Session,
    statements: Statements,
    *,
    seqs: Sequence[Seq] | None = None,
    asked: WorkflowFilter | None = None,
    beyond: Seq | None = None,
    limit: int | None = None,
) -> list[FailedWorkflow]:
    """Return those that ended with ERROR: of some, or the first of what a filter lets through."""
    parameters = {
        "seqs": None if seqs is None else list(seqs),
        "filter": None if asked is None else to_json(asked, beyond=beyond, oldest_first=True),
        "limit": limit,
    }
    (rows,) = await session.run((statements["failed_workflows"], parameters))
    return [
        FailedWorkflow(seq, attempt, failure, [StepTrace(*step) for step in steps])
        for seq, attempt, failure, steps in rows
    ]


async def retry(
    session: Session,
    statements: Statements,
    failed: Sequence[FailedWorkflow],
    dropped: Sequence[tuple[Seq, str]],
) -> list[str | None]:
    """Put failed workflows in line again without the records of some steps, given as (seq, position).

    Returns:
        For each, by seq, None; or its status where it is not any more as it was found, or `gone`.
    """
    ordered = sorted(failed, key=lambda f: f.seq)
    parameters = {
        "seqs": [f.seq for f in ordered],
        "attempts": [f.attempt for f in ordered],
        "failed_seqs": [seq for seq, _ in dropped],
        "positions": [position for _, position in dropped],
    }
    (rows,) = await session.run((statements["retry"], parameters))
    return [status for _, status in rows]


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step as people look at it; `output` and `failure` are encoded."""

    position: str
    name: str
    attempt: int
    output: str | None
    failure: str | None
    child: WorkflowId | None
    started_at: datetime
    completed_at: datetime


async def steps(session: Session, statements: Statements, seq: Seq) -> list[StepRow]:
    """Return a workflow's steps in the order of their positions."""
    (rows,) = await session.run((statements["workflow_steps"], {"seq": seq}))
    return sorted((StepRow(*row) for row in rows), key=lambda step: position_key(step.position))


async def recorded_positions(
    session: Session, statements: Statements, seq: Seq
) -> list[tuple[str, str]]:
    """Return the position and name of each step that a workflow has recorded, in no order."""
    (rows,) = await session.run((statements["recorded_positions"], {"seq": seq}))
    return [(position, name) for position, name in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFork:
    """A fork that is asked for.

    Attributes:
        from_number: The number, in the workflow's own task, of the first position that is not copied.
        queue: Its queue; that of the source unless given.
        version: The application version that alone may run it; empty for any.
        chosen_id: Its id; generated unless given.
        secret: 64 random bits, signed.
    """

    from_number: int
    queue: QueueName | None
    version: str
    chosen_id: WorkflowId | None
    secret: int


async def fork(
    session: Session, statements: Statements, source: WorkflowRow, new: NewFork
) -> Enqueued:
    """Enqueue a workflow with another's input and with what it recorded before a position.

    Raises:
        TowpathError: as an enqueue: the queue is not there, is closed or takes no such options, or
            the id is in use by anything but a fork of the same workflow.
        WorkflowNotFoundError: the source is gone.
    """
    parameters = {
        "seq": source.seq,
        "from_number": new.from_number,
        "queue": new.queue,
        "version": new.version,
        "id": new.chosen_id,
        "secret": new.secret,
    }
    ((row,),) = await session.run((statements["fork"], parameters))
    _, outcome, seq, workflow_id, _ = row
    if outcome == "created":
        chosen = new.chosen_id or format_generated_id(seq, new.secret)
        return Enqueued(seq, chosen, created=True)
    if outcome == "exists":
        return Enqueued(seq, workflow_id, created=False)
    if outcome == "gone":
        raise WorkflowNotFoundError(workflow_id=source.workflow_id)
    item = NewItem(
        input="",
        secret=new.secret,
        chosen_id=new.chosen_id,
        priority=source.priority,
        partition_key=source.partition_key,
    )
    asked = NewWorkflows(
        queue=new.queue or source.queue, name=source.name, codec=source.codec, items=[item]
    )
    refused = refusal(asked, (row[0], outcome, seq, new.chosen_id, row[4])).error
    raise refused or WorkflowNotFoundError(workflow_id=source.workflow_id)


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a look for workflows whose retention is over has done."""

    looked_at: int
    deleted: int


async def delete_kept_long_enough(session: Session, statements: Statements, limit: int) -> Deleted:
    """Look at so many ended workflows and delete those whose retention is over, in one transaction.

    Nothing is looked at while another does, or where a round through all of them has just ended.
    """
    (rows,) = await session.run((statements["delete_kept_long_enough"], {"limit": limit}))
    return Deleted(*rows[0])


async def default_retention(session: Session, statements: Statements) -> Retention:
    """Return how long ended workflows are kept where their queue does not say."""
    (rows,) = await session.run((statements["default_retention"], {}))
    return Retention(*rows[0])


async def set_default_retention(
    session: Session, statements: Statements, retention: Retention
) -> None:
    """Say how long ended workflows are kept where their queue does not say; None is for ever."""
    parameters = {"succeeded": retention.succeeded, "failed": retention.failed}
    await session.run((statements["set_default_retention"], parameters))


async def forget(session: Session, statements: Statements, workflow_id: str) -> None:
    """Delete a workflow and all that it recorded.

    Raises:
        WorkflowNotFoundError: there is none of that id.
    """
    located = await locate(session, statements, workflow_id)
    await session.run((statements["forget"], {"seq": located.seq}))


async def set_priority(
    session: Session, statements: Statements, workflow_id: str, priority: int
) -> None:
    """Move a workflow that waits to another priority.

    Raises:
        WorkflowNotFoundError: there is none of that id.
        WorkflowStatusError: it has begun, or has ended.
        EnqueueOptionError: its queue has no priority.
    """
    located = await locate(session, statements, workflow_id)
    call = statements["set_priority"], {"seq": located.seq, "priority": priority}
    (rows,) = await session.run(call)
    if not rows:
        raise WorkflowNotFoundError(workflow_id=workflow_id)
    enabled, queue, status = rows[0]
    if not enabled:
        allowed = "none on a queue without priority (priority_enabled=True)"
        raise EnqueueOptionError(
            queue_name=queue, field="priority", value=priority, allowed=allowed
        )
    _refuse(workflow_id, status, "a change of priority", "DELAYED and ENQUEUED workflows")


async def set_delay(
    session: Session,
    statements: Statements,
    workflow_id: str,
    *,
    delay_seconds: float | None,
    start_at: datetime | None,
) -> None:
    """Change when a delayed workflow joins the line.

    Raises:
        WorkflowNotFoundError: there is none of that id.
        WorkflowStatusError: it is not DELAYED.
    """
    located = await locate(session, statements, workflow_id)
    parameters = {"seq": located.seq, "delay": delay_seconds, "due": start_at}
    (rows,) = await session.run((statements["set_delay"], parameters))
    _refuse(workflow_id, rows[0][0], "a change of delay", "DELAYED workflows")


def _refuse(workflow_id: str, status: str | None, verb: str, allowed: str) -> None:
    if status == "gone":
        raise WorkflowNotFoundError(workflow_id=workflow_id)
    if status is not None:
        raise WorkflowStatusError(
            workflow_id=workflow_id, status=status, verb=verb, allowed=allowed
        )
