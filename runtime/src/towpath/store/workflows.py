"""Reading workflows: where one stands, what it returned, which there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from towpath.domain.errors import WorkflowNotFoundError
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
    """
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
    )
