"""The root of the tree, and what stands beside it."""

from __future__ import annotations


class TowpathError(Exception):
    """Everything that Towpath raises on purpose, except interruptions."""


class WorkflowInterrupted(BaseException):
    """The attempt must end here: it was fenced, or is handed back at shutdown. Do not catch it."""

    def __init__(self, *, workflow_id: str, reason: str) -> None:
        super().__init__(f"workflow {workflow_id!r} is interrupted: {reason}")
        self.workflow_id = workflow_id
        self.reason = reason
