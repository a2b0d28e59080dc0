"""Crashes around a named step, for a test of one's own workflows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from towpath.api.functions import Step
from towpath.api.transactions import Transaction
from towpath.executor.boundaries import Moment
from towpath.testing.crashes import Arrival
from towpath.testing.errors import NotCrashedError
from towpath.testing.kit import in_use

AnyStep = Step[..., Any] | Transaction[..., Any] | str


@contextlib.contextmanager
def crash_after(step: AnyStep, *, times: int = 1) -> Iterator[None]:
    """Have the next runs that come to a step crash once its record is durable, before the code goes on.

    The workflow is recovered as from a dead worker: it goes on after that step, which does not run again.

    Args:
        step: The step, or the name in its record: a child's workflow, or such as `towpath.send`.
        times: How many runs crash.

    Raises:
        NotCrashedError: fewer have come to it in the block.
    """
    with _crashing(_name_of(step), Moment.AFTER, times):
        yield


@contextlib.contextmanager
def crash_before(step: AnyStep, *, times: int = 1) -> Iterator[None]:
    """As `crash_after`, when the step's function has run and its record is not written: it runs again."""
    with _crashing(_name_of(step), Moment.BEFORE, times):
        yield


@contextlib.contextmanager
def _crashing(name: str, moment: Moment, times: int) -> Iterator[None]:
    crashed, reached = 0, dict[str, None]()

    def rule(arrival: Arrival) -> bool:
        nonlocal crashed
        boundary = arrival.boundary
        if boundary.position:
            reached[boundary.name] = None
        if crashed < times and (boundary.name, boundary.moment) == (name, moment):
            crashed += 1
            return True
        return False

    with in_use().crashes.crashing(rule):
        yield
    if crashed < times:
        where = f"{moment.value} step {name!r}"
        raise NotCrashedError(where=where, wanted=times, crashed=crashed, reached=list(reached))


def _name_of(step: AnyStep) -> str:
    return step if isinstance(step, str) else step.definition.name
