"""Reading workflows: where one stands, what it returned, which there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from towpath.domain.errors import (
    EnqueueOptionError,
    InvalidWorkflowIdError,
    WorkflowNotFoundError,
    WorkflowStatusError,
)
from towpath.domain.ids import (
    QueueName,
    Seq,
    WorkflowId,
    WorkflowName,
    format_generated_id,
    parse_generated_id,
    storable_text,
)
from towpath.domain.status import WorkflowStatus
from towpath.store.session import Call, Row, Session
from towpath.store.statements import Statements

END_OF_TIME_SEQ = Seq((1 << 63) - 1)


@dataclass(frozen=True, slots=True)
class EndedWorkflow:
    """How a workflow ended; `output` is encoded."""

    seq: Seq
    status: WorkflowStatus
    output: str | None


@dataclass(frozen=True, slots=True)
class Located:
    """A workflow that is there."""

    seq: Seq
    workflow_id: WorkflowId
    codec: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRow:
    """A workflow as people look at it; `input` and `output` are encoded."""

    seq: Seq
    workflow_id: WorkflowId
    queue: QueueName
    name: WorkflowName
    status: WorkflowStatus
    codec: str
    input: str
    output: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    attempt: int
    worker: str | None
    parent: Seq | None
    priority: int | None
    partition_key: str | None
    deduplication_id: str | None
    due: datetime | None
    version: str


async def results(
    session: Session, statements: Statements, seqs: Sequence[Seq]
) -> list[EndedWorkflow]:
    """Return how those of the workflows ended that have ended."""
    (rows,) = await session.run((statements["results"], {"seqs": list(seqs)}))
    return [EndedWorkflow(seq, WorkflowStatus(status), output) for seq, status, output in rows]


async def locate(session: Session, statements: Statements, workflow_id: str) -> Located:
    """Find a workflow by its id, generated or chosen.

    Raises:
        WorkflowNotFoundError: there is none.
        InvalidWorkflowIdError: it is not a str.
    """
    if not isinstance(workflow_id, str):
        raise InvalidWorkflowIdError(workflow_id=workflow_id, reason="it is not a str.")
    generated = parse_generated_id(workflow_id)
    call: Call
    if generated is not None:
        call = statements["locate_generated"], {"seq": generated.seq, "secret": generated.secret}
    elif storable_text(workflow_id):
        call = statements["locate_chosen"], {"id": workflow_id}
    else:
        raise WorkflowNotFoundError(workflow_id=workflow_id)
    (rows,) = await session.run(call)
    if not rows:
        raise WorkflowNotFoundError(workflow_id=workflow_id)
    seq, _, _, codec = rows[0]
    return Located(seq, WorkflowId(workflow_id), codec)


async def get(session: Session, statements: Statements, workflow_id: str) -> WorkflowRow:
    """Return where a workflow stands.

    Raises:
        WorkflowNotFoundError: there is none of that id.
    """
    located = await locate(session, statements, workflow_id)
    (rows,) = await session.run((statements["workflow_status"], {"seq": located.seq}))
    if not rows:
        raise WorkflowNotFoundError(workflow_id=workflow_id)
    return _row(rows[0])


async def list_workflows(
    session: Session,
    statements: Statements,
    *,
    queue: str | None = None,
    name: str | None = None,
    status: WorkflowStatus | None = None,
    before: Seq = END_OF_TIME_SEQ,
    limit: int = 100,
) -> list[WorkflowRow]:
    """Return workflows, newest first; `before` is the seq of the last row of the page before."""
    (rows,) = await session.run(
        (
            statements["list_workflows"],
            {
                "queue": queue,
                "name": name,
                "status": None if status is None else status.value,
                "before": before,
                "limit": limit,
            },
        )
    )
    return [_row(row) for row in rows]


def _row(row: Row) -> WorkflowRow:
    (
        seq, chosen_id, secret, queue, name, codec, text, created_at,
        status, output, completed_at, started_at, attempt, worker, parent,
        priority, key, deduplication_id, due, version,
    ) = row  # fmt: skip
    return WorkflowRow(
        seq=seq,
        workflow_id=chosen_id or format_generated_id(seq, secret),
        queue=queue,
        name=name,
        status=WorkflowStatus(status),
        codec=codec,
        input=text,
        output=output,
        created_at=created_at,
        started_at=started_at,
        completed_at=completed_at,
        attempt=attempt,
        worker=worker,
        parent=parent,
        priority=priority,
        partition_key=key,
        deduplication_id=deduplication_id,
        due=due,
        version=version,
    )


async def cancel(
    session: Session, statements: Statements, workflow_id: str
) -> WorkflowStatus | None:
    """Cancel a workflow; return the status that it had, or None where it had ended.

    Raises:
        WorkflowNotFoundError: there is none of that id.
    """
    located = await locate(session, statements, workflow_id)
    (rows,) = await session.run((statements["cancel"], {"seqs": [located.seq]}))
    return None if rows[0][1] is None else WorkflowStatus(rows[0][1])


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
