"""Why does it wait? For a queue and for a workflow, in data and in one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from towpath.domain.errors import WorkflowNotFoundError
from towpath.insights.reasons import Kind, Reason, why_queue, why_workflow
from towpath.insights.words import COUNTED_TO, agree
from towpath.store import queues, workflows
from towpath.store.insights import Seen, observe
from towpath.store.session import Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What holds a queue or a workflow back now.

    Attributes:
        workflow_id: The workflow that was asked for; None where it was the queue.
        waiting: ENQUEUED workflows of the queue, counted to 10,000.
        waiting_capped: Whether there are more than were counted.
        running: Workflows of the queue that workers have in memory.
        sleeping: Workflows of it that wait and that no worker has in memory, counted to 10,000.
        sleeping_capped: Whether there are more than were counted.
        reasons: At least one; the first is what to look at first.
        sentence: All of them in one sentence.
    """

    queue_name: str
    workflow_id: str | None
    waiting: int
    waiting_capped: bool
    running: int
    sleeping: int
    sleeping_capped: bool
    sentence: str
    reasons: tuple[Reason, ...]


async def explain_queue(session: Session, statements: Statements, name: str) -> Explanation:
    """Say what holds a queue back now, and when that may change.

    Raises:
        QueueNotFoundError: there is none of that name; with the nearest names.
    """
    seen = await observe(session, statements, queue=name)
    if seen is None:
        raise await queues.not_found(session, statements, name)
    return _of_queue(seen)


async def explain_queues(
    session: Session, statements: Statements, names: Iterable[str]
) -> list[Explanation]:
    """Say what holds some queues back now; one without a row is left out."""
    looks = [await observe(session, statements, queue=name) for name in names]
    return [_of_queue(seen) for seen in looks if seen is not None]


def _of_queue(seen: Seen) -> Explanation:
    reasons = why_queue(seen)
    waits = f"{agree(seen.waiting, 'waits', 'wait')}; " if seen.waiting else ""
    over = f"{agree(seen.awake, 'wait is over', 'waits are over')}; " if seen.awake else ""
    return _explanation(seen, None, waits + over + _joined(reasons), reasons)


async def explain_workflow(
    session: Session, statements: Statements, workflow_id: str
) -> Explanation:
    """Say where a workflow stands: what holds it back now, and when that may change.

    Raises:
        WorkflowNotFoundError: there is none of that id.
        QueueNotFoundError: its queue's row was deleted.
    """
    located = await workflows.locate(session, statements, workflow_id)
    seen = await observe(session, statements, seq=located.seq)
    if seen is None:
        row = await workflows.get(session, statements, workflow_id)
        raise await queues.not_found(session, statements, row.queue)
    if seen.workflow is None:  # deleted meanwhile
        raise WorkflowNotFoundError(workflow_id=workflow_id)
    reasons = why_workflow(seen, seen.workflow)
    return _explanation(seen, workflow_id, _joined(reasons), reasons)


async def why_it_waits(session: Session, statements: Statements, workflow_id: str) -> str | None:
    """Say in one sentence why a workflow does not go on; None where it runs or has ended.

    Raises:
        WorkflowNotFoundError: there is none of that id.
    """
    found = await explain_workflow(session, statements, workflow_id)
    begun = {Kind.RUNNING, Kind.LEASE_ENDED, Kind.ENDED}
    return None if found.reasons[0].kind in begun else found.sentence


def _explanation(
    seen: Seen, workflow_id: str | None, sentence: str, reasons: tuple[Reason, ...]
) -> Explanation:
    return Explanation(
        queue_name=seen.queue,
        workflow_id=workflow_id,
        waiting=min(seen.waiting, COUNTED_TO),
        waiting_capped=seen.waiting > COUNTED_TO,
        running=seen.running,
        sleeping=min(seen.sleeping, COUNTED_TO),
        sleeping_capped=seen.sleeping > COUNTED_TO,
        sentence=sentence,
        reasons=reasons,
    )


def _joined(reasons: tuple[Reason, ...]) -> str:
    return "; ".join(reason.sentence for reason in reasons)
