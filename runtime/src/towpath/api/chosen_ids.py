"""What callers choose for the workflows that they start: the id of the next one, the time of all."""

from __future__ import annotations

import contextvars
import logging
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from towpath.api.options import check_timeout
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


NO_TIMEOUT: Final = 0.0
"""The timeout of a workflow that has no deadline and takes none from its parent."""

_timeouts: contextvars.ContextVar[tuple[float, ...]] = contextvars.ContextVar(
    "towpath_workflow_timeout", default=()
)


class SetWorkflowTimeout:
    """A block whose started workflows are cancelled so many seconds after their first start.

    What waits in line does not count, and what is recovered or resumed keeps its deadline or has none
    any more. Without such a block, a child has the deadline of its parent.

    Args:
        seconds: The timeout; with None the workflows have no deadline, also not their parent's.

    Raises:
        EnqueueOptionError: it is not a time.
    """

    def __init__(self, seconds: float | None) -> None:
        check_timeout(seconds)
        self._seconds = NO_TIMEOUT if seconds is None else float(seconds)

    def __enter__(self) -> Self:
        _timeouts.set((*_timeouts.get(), self._seconds))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _timeouts.set(_timeouts.get()[:-1])


def chosen_timeout() -> float | None:
    """Return the timeout of the block around the caller in seconds, None where no block is."""
    around = _timeouts.get()
    return around[-1] if around else None
