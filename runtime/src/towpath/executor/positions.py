"""The positions of a workflow's steps, and whether the caller is in one, by context variables.

A position is text: the next number of the running task. Creating a task outside a step takes a
number too, and the task's own count goes below it (3.1, 3.2), so that concurrent branches of several
steps find their records again whatever their timing. Tasks made inside a step take none, and nor does
the one that `asyncio.wait_for` makes in Python 3.11 alone: it counts on in the caller's name, so that
another Python finds the records too.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import types
from collections.abc import Coroutine
from typing import Any

from towpath.domain.errors import UsageError

_counting = threading.Lock()  # threads may share a branch
_MAKERS = frozenset({"asyncio.base_events", "asyncio.tasks"})  # of tasks, for others


class Branch:
    """Counts the positions of one task, and knows whether it waits.

    Attributes:
        task: The task, unless it is the workflow's own.
        parent: The branch of the task that has made it, or of what made that where it has ended.
        children: The branches of those that it has made and that have not ended.
        waits: How many durable waits are under way in the task itself.
        steps: How many steps, from their functions to their records.
        interrupted: Of the workflow's own: whether the interruption of the attempt was raised in it.
    """

    __slots__ = (
        "_next", "_prefix", "children", "interrupted", "parent", "steps", "task", "waits",
    )  # fmt: skip

    def __init__(self, prefix: str = "", parent: Branch | None = None) -> None:
        self._prefix = prefix
        self.parent = parent
        self._next = 1
        self.children: set[Branch] = set()
        self.task: asyncio.Task[Any] | None = None
        self.waits = 0
        self.steps = 0
        self.interrupted = False

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
        child = Branch(f"{self.take()}.", self)
        self.children.add(child)
        return child

    def end(self, task: asyncio.Task[Any]) -> None:
        """The task has ended; those that outlive it are its parent's."""
        parent = root = self.parent or self
        parent.children.discard(self)
        for child in self.children:
            child.parent = parent
            parent.children.add(child)
        while root.parent is not None:
            root = root.parent
        if root.interrupted and not task.cancelled():
            task.exception()  # so that asyncio logs no interruption which nobody awaits

    @property
    def tasks(self) -> list[tuple[Branch, asyncio.Task[Any]]]:
        """The tasks that the code has made and that have not ended, with their branches."""
        found = []
        for child in list(self.children):
            found += child.tasks
            if child.task is not None:
                found.append((child, child.task))
        return found

    @property
    def in_step(self) -> bool:
        """Whether the task is in a step, or one that it has made, which ends with it."""
        return self.steps > 0 or any(child.in_step for child in list(self.children))

    @property
    def only_waits(self) -> bool:
        """Whether nothing but durable waits goes on in the task and those that it has made.

        A task that has made others is presumed to await them, unless it is in a step.
        """
        if self.steps:
            return False
        children = list(self.children)
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
    if parent is None or context.get(_step) is not None or _counts_on(coro):
        return asyncio.Task(coro, loop=loop, context=context, **options)
    branch = parent.fork()
    context.run(_branch.set, branch)
    task = branch.task = asyncio.Task(coro, loop=loop, context=context, **options)
    task.add_done_callback(branch.end)
    return task


def _counts_on(coro: Coroutine[Any, Any, Any]) -> bool:
    """Tell whether a task that is being made counts in its maker's name.

    Raises:
        UsageError: `asyncio.as_completed` makes it, in an order that another run would not have.
    """
    frame: types.FrameType | None = sys._getframe(2)  # noqa: SLF001 - of what asks for a task
    while frame is not None and frame.f_globals.get("__name__") in _MAKERS:
        name = frame.f_code.co_qualname
        if name == "wait_for":
            return True
        if name.startswith(("as_completed", "_AsCompletedIterator")):
            coro.close()
            raise UsageError(
                "asyncio.as_completed makes the tasks of coroutines in no certain order, so that a "
                "replay would mistake one for the other. Pass it tasks: "
                "as_completed([asyncio.create_task(c) for c in coroutines])."
            )
        frame = frame.f_back
    return False
