"""Retry: failed workflows go on from their failed step, with the successes that they have recorded."""

from __future__ import annotations

from collections.abc import Iterator

from towpath.codec.same_failure import is_raised_by
from towpath.domain.errors import WorkflowNotFoundError
from towpath.domain.ids import Seq
from towpath.domain.status import WorkflowStatus
from towpath.domain.workflow_filter import WorkflowFilter
from towpath.store import managing, workflows
from towpath.store.managing import FailedWorkflow, StepTrace
from towpath.store.session import Session
from towpath.store.statements import Statements

BATCH = 100
"""Workflows of a bulk retry in one transaction."""


async def retry(
    session: Session, statements: Statements, workflow_id: str
) -> WorkflowStatus | None:
    """Put a failed workflow at the end of its queue's line; return None, or what it is instead.

    Raises:
        WorkflowNotFoundError: there is none of that id.
    """
    located = await workflows.locate(session, statements, workflow_id)
    while True:
        failed = await managing.find_failed(session, statements, seqs=[located.seq])
        if not failed:
            status = (await workflows.get(session, statements, workflow_id)).status
            if status is not WorkflowStatus.ERROR:
                return status
            continue
        (answer,) = await managing.retry(session, statements, failed, list(_to_drop(failed[0])))
        if answer == "gone":
            raise WorkflowNotFoundError(workflow_id=workflow_id)
        if answer != WorkflowStatus.ERROR:  # else it was retried by somebody else, and failed again
            return None if answer is None else WorkflowStatus(answer)


async def retry_many(
    session: Session, statements: Statements, asked: WorkflowFilter, limit: int | None
) -> int:
    """Retry what a filter lets through, oldest first, batch by batch; return how many went in line.

    Each is retried once: one that fails again meanwhile is behind the batches.
    """
    beyond, retried = Seq(0), 0
    while limit is None or retried < limit:
        at_most = BATCH if limit is None else min(BATCH, limit - retried)
        failed = await managing.find_failed(
            session, statements, asked=asked, beyond=beyond, limit=at_most
        )
        if not failed:
            break
        dropped = [place for one in failed for place in _to_drop(one)]
        answers = await managing.retry(session, statements, failed, dropped)
        retried += answers.count(None)
        beyond = failed[-1].seq
    return retried


def _to_drop(workflow: FailedWorkflow) -> Iterator[tuple[Seq, str]]:
    """Yield the records of the steps that failed the workflow.

    A failure after which it went on was caught: that record stays, or a replay would take another path.
    """
    same = [
        step
        for step in workflow.steps
        if step.failure is not None
        and workflow.failure is not None
        and is_raised_by(workflow.failure, step.failure)
    ]
    kept = [step for step in workflow.steps if step not in same]
    for step in same:
        if not any(_follows(other, step) for other in kept):
            yield workflow.seq, step.position


def _follows(other: StepTrace, step: StepTrace) -> bool:
    """Tell whether the code went on from a step to another: in the same task, or in one around it.

    Other tasks ran beside it, whenever they recorded what they did.
    """
    theirs, mine = other.position.split("."), step.position.split(".")
    depth = len(theirs) - 1
    if depth >= len(mine) or theirs[:depth] != mine[:depth]:
        return False
    same_task = len(theirs) == len(mine)
    return int(theirs[depth]) > int(mine[depth]) and (same_task or other.began > step.ended)
