"""`current()`: what the caller's code runs as."""

from __future__ import annotations

from dataclasses import dataclass

from towpath.executor.context import current_execution
from towpath.executor.positions import current_step


@dataclass(frozen=True, slots=True)
class Current:
    """The running workflow, and the step where the caller is in one.

    `cancelled` says that the attempt is to end: long steps may look at it and stop.
    """

    workflow_id: str
    attempt: int
    queue: str
    step: str | None
    cancelled: bool


def current() -> Current | None:
    """Return what the caller's code runs as; None outside of workflows."""
    execution = current_execution()
    if execution is None:
        return None
    return Current(
        execution.workflow_id,
        execution.attempt,
        execution.queue,
        current_step(),
        execution.interruption is not None,
    )
