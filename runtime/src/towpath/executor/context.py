"""The running workflow: one attempt of it, found by context variables."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from towpath.domain.errors import SyncCallInAsyncError, WorkflowInterrupted
from towpath.domain.ids import QueueName, Seq, WorkflowId, WorkflowName
from towpath.executor.boundaries import Moment
from towpath.executor.engine import Engine
from towpath.executor.inside_transaction import refuse_in_transaction
from towpath.executor.lease import Lease
from towpath.executor.positions import Branch, begin_positions, current_step
from towpath.executor.slots import Seat
from towpath.store.steps import RecordedStep
from towpath.store.waits import Wait


class Then(Enum):
    """What becomes of an attempt that is interrupted."""

    NOTHING = "nothing"
    """Another attempt has taken over, or will."""
    BACK = "back"
    """It goes back to its line."""
    ASLEEP = "asleep"
    """It keeps its place and goes on when its wait is over, in whatever worker."""


@dataclass(slots=True)
class OpenWait:
    """A durable wait that is under way; `since` is the time.monotonic() of its beginning.

    `written` says that it stands in Postgres, so that the workflow can go out of memory.
    """

    wait: Wait
    since: float
    written: bool = False


@dataclass(slots=True)
class Execution:
    """One attempt of a workflow, running in this process.

    What its code records goes to its own engine, whichever App a step was declared on.

    Attributes:
        begin_by: The time.monotonic() by which the function must begin, since a limiter has dated its
            start then; None where there is no limiter.
        late: Whether it would have begun later, and is handed back for a new start.
        waited_at: The positions of its waits when it was interrupted.
        restless: Whether a branch was interrupted where it did not wait: a wait ended as the attempt was
            put to sleep, and it has to go on at once.
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
    begin_by: float | None = None
    late: bool = False
    recorded: Mapping[str, RecordedStep] = field(default_factory=dict)
    interruption: str | None = None
    then: Then = Then.NOTHING
    raised: bool = False
    restless: bool = False
    branch: Branch | None = None
    open_waits: dict[str, OpenWait] = field(default_factory=dict)
    waited_at: tuple[str, ...] = ()
    _wakes: list[Callable[[], None]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def interrupt(self, reason: str, then: Then) -> None:
        """Ask the code to end at its next step boundary; one that waits ends at once."""
        with self._lock:
            if self.interruption is not None:
                return
            self.interruption = reason
            self.then = then
            self.waited_at = tuple(self.open_waits)
            wakes = list(self._wakes)
        for wake in wakes:
            wake()

    def interrupt_wait(self, reason: str) -> None:
        """End the attempt where it waits at this moment: asleep if it can be; one that computes goes on.

        A durable wait that is not written yet, or beside which a branch computes, is left alone.
        """
        if self.sleeps_since is not None:
            self.interrupt(reason, Then.ASLEEP)
            return
        with self._lock:
            waiting = bool(self._wakes)
        if waiting and not self.open_waits:
            self.interrupt(reason, Then.BACK)

    @property
    def sleeps_since(self) -> float | None:
        """The time.monotonic() since when all of it only waits, in Postgres; None where it does not."""
        waits = list(self.open_waits.values())
        if self.branch is None or not waits or not self.branch.only_waits:
            return None
        return max(w.since for w in waits) if all(w.written for w in waits) else None

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

    def reach(self, position: str, name: str, moment: Moment) -> None:
        """Stand at one side of a write; raise `WorkflowInterrupted` where a test has the attempt crash."""
        if self.engine.boundary is not None:
            self.engine.boundary(self, position, name, moment)

    def check_start(self) -> None:
        """Raise where the function would begin later than its start is dated.

        Called right before the function, so that no window sees more starts than its limiter allows.
        """
        if self.begin_by is not None and self.engine.time_of_starts() > self.begin_by:
            self.late = True
            self.interrupt("it would begin later than its limiter counts", Then.BACK)
        self.check()
        self.reach("", self.name, Moment.AFTER)

    def check(self) -> None:
        """Raise `WorkflowInterrupted` where the attempt must end here."""
        if self.interruption is not None:
            self.restless = True
            self.check_wait()

    def check_wait(self) -> None:
        """As `check`, where a wait was cut short: it can sleep."""
        if self.interruption is not None:
            raise self._raising(self.interruption)

    def fenced(self) -> WorkflowInterrupted:
        """Note that the attempt may write nothing any more; the caller raises what is returned.

        It was cancelled, and still has its place to give back; or another has taken over, and then
        there is nothing left to give.
        """
        self.interrupt("another attempt has taken over", Then.BACK)
        self.then = Then.BACK
        return self._raising("another attempt has taken over")

    def _raising(self, reason: str) -> WorkflowInterrupted:
        self.raised = True
        if self.branch is not None:
            self.branch.interrupted = True
        return WorkflowInterrupted(workflow_id=self.workflow_id, reason=reason)


_execution: contextvars.ContextVar[Execution | None] = contextvars.ContextVar(
    "towpath_execution", default=None
)


def current_execution() -> Execution | None:
    """Return the attempt in whose code the caller is, or None outside of workflows."""
    return _execution.get()


def running_in_workflow() -> Execution | None:
    """Return the attempt where the caller is in a workflow's own code; None outside and in steps.

    Raises:
        StepInsideTransactionError: the caller is in a transaction's function.
    """
    refuse_in_transaction("a verb of Towpath")
    return None if current_step() is not None else _execution.get()


def enter(execution: Execution) -> None:
    """Make the caller's context that of an attempt's code."""
    _execution.set(execution)
    execution.branch = begin_positions()


def refuse_blocking(verb: str, twin: str) -> None:
    """Raise where a blocking verb would stop the loop that runs the async workflow or step.

    Raises:
        StepInsideTransactionError: the caller is in a transaction's function.
        SyncCallInAsyncError: naming the verb's async twin.
    """
    refuse_in_transaction(verb)
    if _execution.get() is None:
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise SyncCallInAsyncError(verb=verb, twin=twin)
