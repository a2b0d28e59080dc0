"""The positions of a workflow's steps, and whether the caller is in one, by context variables.

A position is text: the next number of the running task. Creating a task outside a step takes a
number too, and the task's own count goes below it (3.1, 3.2), so that concurrent branches of several
steps find their records again whatever their timing. Tasks made inside a step take none.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections.abc import Coroutine
from typing import Any


class Branch:
    """Counts the positions of one task."""

    __slots__ = ("_numbers", "_prefix")

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._numbers = itertools.count(1)  # its next() is one step for threads that share a branch

    def take(self) -> str:
        """Return the next position."""
        return f"{self._prefix}{next(self._numbers)}"


_branch: contextvars.ContextVar[Branch] = contextvars.ContextVar("towpath_branch")
_step: contextvars.ContextVar[str | None] = contextvars.ContextVar("towpath_step", default=None)


def begin_positions() -> None:
    """Count from 1 in the caller's context, which is that of an attempt's code."""
    _branch.set(Branch())


def take_position() -> str:
    """Return the next position of the running task."""
    return _branch.get().take()


def current_step() -> str | None:
    """Return the name of the step in whose code the caller is."""
    return _step.get()


class in_step:  # noqa: N801 - used as a with statement's verb
    """The block is a step's code: verbs act as outside, and no positions are taken."""

    __slots__ = ("_name", "_token")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._token = _step.set(self._name)

    def __exit__(self, *_: object) -> None:
        _step.reset(self._token)


def workflow_task_factory(
    loop: asyncio.AbstractEventLoop,
    coro: Coroutine[Any, Any, Any],
    *,
    context: contextvars.Context | None = None,
    **options: Any,
) -> asyncio.Task[Any]:
    """Make a task of the workflow loop; made in a workflow's own code, it gets a branch of its own."""
    if context is None:
        context = contextvars.copy_context()
    parent = context.get(_branch)
    if parent is not None and context.get(_step) is None:
        context.run(_branch.set, Branch(f"{parent.take()}."))
    return asyncio.Task(coro, loop=loop, context=context, **options)
