"""The statuses of a workflow and the one table of legal transitions; every write is guarded by it."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType


class WorkflowStatus(StrEnum):
    """Where a workflow stands. The names are those of DBOS, whose users are ours."""

    DELAYED = "DELAYED"
    ENQUEUED = "ENQUEUED"
    PENDING = "PENDING"
    SUCCESS = "SUCCESS"
    ERROR = "ERROR"
    CANCELLED = "CANCELLED"
    MAX_RECOVERY_ATTEMPTS_EXCEEDED = "MAX_RECOVERY_ATTEMPTS_EXCEEDED"

    @property
    def ended(self) -> bool:
        """Whether the workflow has a final status; only resume or retry lead on from there."""
        return self not in _OPEN


_OPEN = frozenset({WorkflowStatus.DELAYED, WorkflowStatus.ENQUEUED, WorkflowStatus.PENDING})

_S = WorkflowStatus

LEGAL_TRANSITIONS = MappingProxyType(
    {
        _S.DELAYED: frozenset({_S.ENQUEUED, _S.CANCELLED}),
        _S.ENQUEUED: frozenset({_S.PENDING, _S.CANCELLED}),
        # back to ENQUEUED: recovery after a lease ended, or a hand-back at shutdown
        _S.PENDING: frozenset(
            {_S.ENQUEUED, _S.SUCCESS, _S.ERROR, _S.CANCELLED, _S.MAX_RECOVERY_ATTEMPTS_EXCEEDED}
        ),
        _S.SUCCESS: frozenset(),
        _S.ERROR: frozenset({_S.ENQUEUED}),  # retry
        _S.CANCELLED: frozenset({_S.ENQUEUED}),  # resume
        _S.MAX_RECOVERY_ATTEMPTS_EXCEEDED: frozenset({_S.ENQUEUED}),  # resume
    }
)
"""From each status, those that may follow."""


def is_legal(before: WorkflowStatus, after: WorkflowStatus) -> bool:
    """Tell whether a workflow may go from one status to another."""
    return after in LEGAL_TRANSITIONS[before]
