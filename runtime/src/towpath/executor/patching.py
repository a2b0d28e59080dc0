"""Changes of a workflow's code under its running workflows: each keeps the way that it has begun.

A marker stands at the position where a run has taken the new way; a run from before the change has
something else there, and takes no position, so that all that follows stays where it was.
"""

from __future__ import annotations

from towpath.executor.context import Execution
from towpath.executor.positions import current_branch, take_position
from towpath.executor.steps import Pace, keep
from towpath.store import versions
from towpath.store.steps import NewStep

MARKER = "towpath.patch."


async def patch(execution: Execution, name: str, pace: Pace) -> bool:
    """Tell whether the run takes the new way, and record that it does.

    Raises:
        WorkflowInterrupted: the attempt must end here, or no longer holds its place.
    """
    position = current_branch().following
    recorded = execution.recorded.get(position)
    if recorded is not None:
        is_new = recorded.name == MARKER + name
    elif any(place.startswith(position + ".") for place in execution.recorded):
        is_new = False  # a task was made here
    else:
        execution.check()
        is_new = await _record(execution, position, MARKER + name, pace)
    if is_new:
        take_position()
    return is_new


def deprecate_patch(execution: Execution, name: str) -> None:
    """Pass the marker of a patch, where the run has one."""
    recorded = execution.recorded.get(current_branch().following)
    if recorded is not None and recorded.name == MARKER + name:
        take_position()


async def _record(execution: Execution, position: str, name: str, pace: Pace) -> bool:
    """Write the marker; an attempt that goes on may have an earlier one's wait at the position."""
    if execution.attempt == 1:
        step = NewStep(execution.seq, execution.attempt, position, name, "true", None)
        await keep(execution, step, pace)
        return True
    statements = execution.engine.statements
    is_new = await pace.verb(
        execution.engine,
        lambda session: versions.record_patch(
            session, statements, seq=execution.seq, attempt=execution.attempt, position=position,
            name=name,
        ),
    )  # fmt: skip
    if is_new is None:
        raise execution.fenced()
    return is_new
