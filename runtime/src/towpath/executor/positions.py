"""The positions of a workflow's steps, and whether the caller is in one, by context variables.

A position is text: the next number of the running task. Creating a task outside a step takes a
number too, and the task's own count goes below it (3.1, 3.2), so that concurrent branches of several
steps find their records again whatever their timing. Tasks made inside a step take none.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Coroutine
from typing import Any

_counting = threading.Lock()  # threads may share a branch


class Branch:
    """Counts the positions of one task, and knows whether it waits.

    Attributes:
        task: The task, unless it is the workflow's own.
        waits: How many durable waits are under way in the task itself.
    """

    __slots__ = ("_children", "_next", "_prefix", "task", "waits")

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._next = 1
        self._children: set[Branch] = set()
        self.task: asyncio.Task[Any] | None = None
        self.waits = 0

    def take(self) -> str:
        """Return the next position."""
        with _counting:
            number, self._next = self._next, self._next + 1
        return f"{self._prefix}{number}"

    @property
    def following(self) -> str:
        """The next position, which stays the next one."""
        return f"{self._prefix}{self._next}"

    def fork(self) -> Branch:
        """Return the branch of a new task, which takes a position of this one."""
        child = Branch(f"{self.take()}.")
        self._children.add(child)
        return child

    def join(self, child: Branch) -> None:
        """The task of a branch has ended."""
        self._children.discard(child)

    def cancel_tasks(self) -> None:
        """Cancel the tasks that outlive the code that made them."""
        for child in list(self._children):
            child.cancel_tasks()
            if child.task is not None:
                child.task.cancel()

    @property
    def only_waits(self) -> bool:
        """Whether nothing but durable waits goes on in the task and those that it has made.

        A task that has made others is presumed to await them.
        """
        children = list(self._children)
        return all(c.only_waits for c in children) if children else self.waits > 0


_branch: contextvars.ContextVar[Branch] = contextvars.ContextVar("towpath_branch")
_step: contextvars.ContextVar[str | None] = contextvars.ContextVar("towpath_step", default=None)


def begin_positions() -> Branch:
    """Count from 1 in the caller's context, which is that of an attempt's code."""
    branch = Branch()
    _branch.set(branch)
    return branch


def current_branch() -> Branch:
    """Return the branch of the running task."""
    return _branch.get()


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
    if parent is None or context.get(_step) is not None:
        return asyncio.Task(coro, loop=loop, context=context, **options)
    branch = parent.fork()
    context.run(_branch.set, branch)
    task = branch.task = asyncio.Task(coro, loop=loop, context=context, **options)
    task.add_done_callback(lambda _: parent.join(branch))
    return task
