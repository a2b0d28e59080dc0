"""Starting workflows: one round trip, idempotent by a chosen id."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from towpath.domain.errors import QueueNotFoundError, WorkflowIdConflictError
from towpath.domain.ids import (
    INTERNAL_QUEUE,
    QueueName,
    Seq,
    WorkflowId,
    WorkflowName,
    format_generated_id,
)
from towpath.store.session import Call, Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWorkflow:
    """What is enqueued. `input` is encoded text; `secret` has 64 random bits, signed."""

    queue: QueueName
    name: WorkflowName
    input: str
    codec: str
    secret: int
    chosen_id: WorkflowId | None = None


@dataclass(frozen=True, slots=True)
class Enqueued:
    """A workflow that is in the store now. `created`: this call put it there."""

    seq: Seq
    workflow_id: WorkflowId
    created: bool


@dataclass(frozen=True, slots=True)
class ParentStep:
    """The place in a running workflow from which a child is started."""

    seq: Seq
    attempt: int
    position: str


async def enqueue(
    session: Session,
    statements: Statements,
    new: NewWorkflow,
    *,
    parent: ParentStep | None = None,
) -> Enqueued | None:
    """Write a workflow, or find the one that has its chosen id.

    With a parent, the child and the parent's step record are one transaction. None is returned where
    nothing was written and nothing found: the queue has no row (see `explain_refusal`), or the
    parent's attempt is stale.

    Raises:
        WorkflowIdConflictError: the id is in use by another workflow name or queue.
    """
    calls = [_write(statements, new, parent)]
    if new.chosen_id is not None:
        # the next statement sees what another transaction committed while this one waited for it
        calls.append((statements["find_chosen_id"], {"id": new.chosen_id}))
    written, *found = await session.run(*calls)
    if written:
        seq = Seq(written[0][0])
        workflow_id = new.chosen_id or format_generated_id(seq, new.secret)
        return Enqueued(seq, workflow_id, created=True)
    if not found or not found[0] or new.chosen_id is None:
        return None
    seq, _, queue, name = found[0][0]
    if (name, queue) != (new.name, new.queue):
        raise WorkflowIdConflictError(
            workflow_id=new.chosen_id, asked=(new.name, new.queue), existing=(name, queue)
        )
    return Enqueued(seq, new.chosen_id, created=False)


def _write(statements: Statements, new: NewWorkflow, parent: ParentStep | None) -> Call:
    parameters = {
        "queue": new.queue,
        "name": new.name,
        "input": new.input,
        "codec": new.codec,
        "secret": new.secret,
    }
    if parent is not None:
        return statements["enqueue_child"], {
            **parameters,
            "id": new.chosen_id,
            "parent": parent.seq,
            "attempt": parent.attempt,
            "position": parent.position,
        }
    if new.chosen_id is not None:
        return statements["enqueue_chosen"], {**parameters, "id": new.chosen_id}
    return statements["enqueue"], parameters


async def ensure_queue(session: Session, statements: Statements, queue: QueueName) -> None:
    """Make a queue's row where it is missing; change nothing where it is there."""
    named = {"queue": queue}
    await session.run((statements["ensure_queue"], named), (statements["ensure_gate"], named))


async def refuse_unknown_queue(session: Session, statements: Statements, queue: QueueName) -> None:
    """Raise `QueueNotFoundError` with the nearest names unless the queue has a row."""
    if queue == INTERNAL_QUEUE:
        return
    (rows,) = await session.run((statements["queue_names"], {}))
    names = [row[0] for row in rows]
    if queue not in names:
        raise QueueNotFoundError(
            queue_name=queue, nearest=difflib.get_close_matches(queue, names, n=3)
        )
