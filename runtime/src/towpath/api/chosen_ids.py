"""Ids that callers choose for the next workflow that they start."""

from __future__ import annotations

import contextvars
import logging
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from towpath.domain.ids import WorkflowId, check_chosen_id

logger = logging.getLogger("towpath.api")


@dataclass(slots=True)
class ChosenId:
    """The id of a `SetWorkflowID` block, for the first start that succeeds in it."""

    workflow_id: WorkflowId
    outer: ChosenId | None
    used: bool = False


_chosen: contextvars.ContextVar[ChosenId | None] = contextvars.ContextVar(
    "towpath_workflow_id", default=None
)


class SetWorkflowID:
    """A block whose first started workflow gets a chosen id; later ones get ids of their own.

    The same id again is the same workflow: its handle is returned, and nothing runs twice. A start
    that fails does not use the id up, so that it may be tried again in the block.

    Raises:
        InvalidWorkflowIdError: the id cannot be one.
    """

    def __init__(self, workflow_id: str) -> None:
        self._chosen = check_chosen_id(workflow_id)

    def __enter__(self) -> Self:
        _chosen.set(ChosenId(self._chosen, _chosen.get()))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        inner = _chosen.get()
        _chosen.set(inner and inner.outer)


def free_chosen_id(workflow_name: str) -> ChosenId | None:
    """Return the id of the block around the caller, None where no block is, or its id is used."""
    chosen = _chosen.get()
    if chosen is None or not chosen.used:
        return chosen
    logger.warning(
        "SetWorkflowID serves one start; this one gets an id of its own",
        extra={"workflow_id": chosen.workflow_id, "workflow": workflow_name},
    )
    return None
