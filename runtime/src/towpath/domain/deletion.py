"""How far the deletion of a queue with its workflows is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from towpath.domain.ids import Seq


class Clearing(StrEnum):
    """How far a queue's deletion is."""

    GOES_ON = "goes on"
    """There is more to look at."""
    WAITS = "waits"
    """All that is left runs, or is about to be enqueued."""
    GONE = "gone"
    """The row is deleted, and all that was kept by its name."""
    KEPT = "kept"
    """The queue was to be deleted if empty, and is not."""
    NOT_OURS = "not ours"
    """The row is another's, or was not there."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Where a walk through all workflows has come to.

    Attributes:
        beyond: The last seq that was looked at.
        left: Of those before it, who was in a worker's memory and is to be looked at again.
    """

    beyond: Seq = Seq(0)  # noqa: RUF009 - an int
    left: tuple[Seq, ...] = ()


FROM_THE_START: Final = Walk()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """What one call has done: how many workflows it has deleted, and where the next call begins."""

    state: Clearing
    walk: Walk
    deleted: int = 0
