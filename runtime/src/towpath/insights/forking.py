"""Fork: a new workflow that begins where another has recorded something, and goes its own way from there."""

from __future__ import annotations

from dataclasses import dataclass

from towpath.domain.errors import ConfigurationError, StepNotFoundError
from towpath.domain.ids import QueueName, WorkflowId
from towpath.store import managing, workflows
from towpath.store.enqueue import Enqueued
from towpath.store.managing import NewFork
from towpath.store.session import Session
from towpath.store.statements import Statements
from towpath.store.steps import position_key

START = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """A fork as it is asked for.

    Attributes:
        workflow_id: The workflow that is forked.
        from_step: The position of the first step that is run anew; "start" or 1 runs all of them.
        queue_name: The fork's queue; that of the workflow unless given.
        app_version: The version that alone may run it; any unless given.
        new_workflow_id: The fork's id; generated unless given.
        secret: 64 random bits for a generated id.
    """

    workflow_id: str
    from_step: str | int
    queue_name: QueueName | None = None
    app_version: str | None = None
    new_workflow_id: WorkflowId | None = None
    secret: int


async def fork(session: Session, statements: Statements, asked: Fork) -> Enqueued:
    """Enqueue the fork of a workflow; the same new id again is the same fork.

    Raises:
        WorkflowNotFoundError: there is none of that id.
        StepNotFoundError: it has recorded no such step.
        ConfigurationError: the position is below the workflow's own task.
        TowpathError: as an enqueue.
    """
    source = await workflows.get(session, statements, asked.workflow_id)
    recorded = await managing.recorded_positions(session, statements, source.seq)
    number = _number(asked, recorded)
    new = NewFork(
        from_number=number,
        queue=asked.queue_name,
        version=asked.app_version or "",
        chosen_id=asked.new_workflow_id,
        secret=asked.secret,
    )
    return await managing.fork(session, statements, source, new)


def _number(asked: Fork, recorded: list[tuple[str, str]]) -> int:
    """Return the number of the position from which the fork runs anew."""
    wanted = str(asked.from_step)
    if wanted in (START, "1"):
        return 1
    task, below, _ = wanted.partition(".")
    if below and any(position == wanted for position, _ in recorded):
        raise ConfigurationError(
            f"from_step is {wanted!r}, a position in a concurrent branch; a fork begins at a position "
            f"of the workflow's own task. Pass {task!r}: it runs the whole branch anew."
        )
    if wanted not in {position.partition(".")[0] for position, _ in recorded}:
        ordered = sorted(recorded, key=lambda step: position_key(step[0]))
        raise StepNotFoundError(
            workflow_id=asked.workflow_id,
            from_step=asked.from_step,
            steps=[f"{position} {name}" for position, name in ordered],
        )
    return int(wanted)
