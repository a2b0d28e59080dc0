"""The steps that a workflow has recorded, as values that people and programs read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from towpath.codec import Codec, ValueNotDecodableError, as_recorded, decode_failure
from towpath.store import managing, workflows
from towpath.store.session import Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInfo:
    """A recorded step, child or wait of a workflow.

    Attributes:
        position: Its place in the workflow: 1, 2, ...; 3.1 is the first of a concurrent branch.
        name: Of the step's function, of the child's workflow, or of the verb that waited.
        attempt: The attempt of the workflow that recorded it.
        output: What it returned; None where it failed.
        error: What it raised, as `Type: message`; None where it did not.
        child_workflow_id: The workflow that it started; None also where that was deleted.
    """

    position: str
    name: str
    attempt: int
    output: Any
    error: str | None
    child_workflow_id: str | None
    started_at: datetime
    completed_at: datetime


async def list_steps(
    session: Session, statements: Statements, codec: Codec, workflow_id: str
) -> list[StepInfo]:
    """Return the steps that a workflow has recorded, in the order of their positions.

    Raises:
        WorkflowNotFoundError: there is none of that id.
    """
    located = await workflows.locate(session, statements, workflow_id)
    return [_info(codec, row) for row in await managing.steps(session, statements, located.seq)]


def _info(codec: Codec, row: managing.StepRow) -> StepInfo:
    error = None
    if row.failure is not None:
        failure = decode_failure(row.failure)
        error = f"{type(failure).__name__}: {failure}"
    return StepInfo(
        position=row.position,
        name=row.name,
        attempt=row.attempt,
        output=_value(codec, row.output),
        error=error,
        child_workflow_id=row.child,
        started_at=row.started_at,
        completed_at=row.completed_at,
    )


def _value(codec: Codec, output: str | None) -> Any:
    if output is None:
        return None
    try:
        return codec.decode(output)
    except ValueNotDecodableError:
        return as_recorded(output)
