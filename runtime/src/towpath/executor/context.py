"""The running workflow, found by context variables, and the positions of its steps.

A position is text: the next number of the running task. Creating a task outside a step takes a
number too, and the task's own count goes below it (3.1, 3.2), so that concurrent branches of several
steps find their records again whatever their timing. Tasks made inside a step take none.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from towpath.domain.errors import SyncCallInAsyncError, WorkflowInterrupted
from towpath.domain.ids import QueueName, Seq, WorkflowId, WorkflowName
from towpath.executor.lease import Lease
from towpath.executor.slots import Seat
from towpath.store.steps import RecordedStep

if TYPE_CHECKING:
    from towpath.executor.engine import Engine


class Branch:
    """Counts the positions of one task."""

    __slots__ = ("_numbers", "_prefix")

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._numbers = itertools.count(1)  # its next() is one step for threads that share a branch

    def take(self) -> str:
        """Return the next position."""
        return f"{self._prefix}{next(self._numbers)}"


@dataclass(slots=True)
class Execution:
    """One attempt of a workflow, running in this process.

    What its code records goes to its own engine, whichever App a step was declared on.
    """

    engine: Engine
    seq: Seq
    workflow_id: WorkflowId
    attempt: int
    queue: QueueName
    name: WorkflowName
    codec: str
    input: str
    seat: Seat
    lease: Lease
    recorded: Mapping[str, RecordedStep] = field(default_factory=dict)
    interruption: str | None = None
    handed_back: bool = False
    raised: bool = False
    _wakes: list[Callable[[], None]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def interrupt(self, reason: str, *, hand_back: bool) -> None:
        """Ask the code to end at its next step boundary; one that waits ends at once."""
        with self._lock:
            if self.interruption is not None:
                return
            self.interruption = reason
            self.handed_back = hand_back
            wakes = list(self._wakes)
        for wake in wakes:
            wake()

    def interrupt_wait(self, reason: str) -> None:
        """Hand the attempt back where it waits at this moment; one that computes goes on."""
        with self._lock:
            waiting = bool(self._wakes)
        if waiting:
            self.interrupt(reason, hand_back=True)

    def begin_wait(self, wake: Callable[[], None]) -> None:
        """Name what ends a wait when the attempt is interrupted; several branches may wait."""
        with self._lock:
            self._wakes.append(wake)
            interrupted = self.interruption is not None
        if interrupted:
            wake()

    def end_wait(self, wake: Callable[[], None]) -> None:
        """The wait is over."""
        with self._lock:
            self._wakes.remove(wake)

    def check(self) -> None:
        """Raise `WorkflowInterrupted` where the attempt must end here."""
        if self.interruption is not None:
            self.raised = True
            raise WorkflowInterrupted(workflow_id=self.workflow_id, reason=self.interruption)

    def fenced(self) -> WorkflowInterrupted:
        """Note that another attempt has taken over; the caller raises what is returned."""
        self.interrupt("another attempt has taken over", hand_back=False)
        self.handed_back = False
        self.raised = True
        return WorkflowInterrupted(
            workflow_id=self.workflow_id, reason="another attempt has taken over"
        )


_execution: contextvars.ContextVar[Execution | None] = contextvars.ContextVar(
    "towpath_execution", default=None
)
_branch: contextvars.ContextVar[Branch] = contextvars.ContextVar("towpath_branch")
_step: contextvars.ContextVar[str | None] = contextvars.ContextVar("towpath_step", default=None)


def current_execution() -> Execution | None:
    """Return the attempt in whose code the caller is, or None outside of workflows."""
    return _execution.get()


def current_step() -> str | None:
    """Return the name of the step in whose code the caller is."""
    return _step.get()


def running_in_workflow() -> Execution | None:
    """Return the attempt where the caller is in a workflow's own code; None outside and in steps."""
    return None if _step.get() is not None else _execution.get()


def take_position() -> str:
    """Return the next position of the running task."""
    return _branch.get().take()


def enter(execution: Execution) -> None:
    """Make the caller's context that of an attempt's code."""
    _execution.set(execution)
    _branch.set(Branch())


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
    if context.get(_execution) is not None and context.get(_step) is None:
        parent = context.get(_branch)
        if parent is not None:
            context.run(_branch.set, Branch(f"{parent.take()}."))
    return asyncio.Task(coro, loop=loop, context=context, **options)


def refuse_blocking(verb: str, twin: str) -> None:
    """Raise where a blocking verb would stop the loop that runs the async workflow or step.

    Raises:
        SyncCallInAsyncError: naming the verb's async twin.
    """
    if _execution.get() is None:
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise SyncCallInAsyncError(verb=verb, twin=twin)
