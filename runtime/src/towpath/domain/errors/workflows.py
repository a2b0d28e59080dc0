"""Queues and workflows: what is not there, is refused, or ended otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from towpath.domain.errors.base import TowpathError

MAX_STEPS_SHOWN = 20


class ValueNotEncodableError(TowpathError):
    """A value that the codec would not give back as it was."""

    def __init__(self, *, path: str, type_name: str, reason: str) -> None:
        super().__init__(
            f"{path} ({type_name}) cannot be recorded: {reason}. "
            "Pass values of JSON's types, times, UUIDs, Decimals, bytes, tuples, or Enums, dataclasses "
            "and pydantic models of them."
        )
        self.path = path
        self.type_name = type_name
        self.reason = reason


class ValueTooLargeError(TowpathError):
    """A value whose recorded text would be beyond the bound (bytes)."""

    def __init__(self, *, path: str, size: int, bound: int) -> None:
        super().__init__(
            f"{path} has {size} bytes as it is recorded; allowed are {bound}. Store it elsewhere and "
            "pass its address, or raise TOWPATH_MAX_VALUE_BYTES or App(max_value_bytes=...)."
        )
        self.path = path
        self.size = size
        self.bound = bound


class QueueNotFoundError(TowpathError):
    """No queue of that name exists in the schema."""

    def __init__(self, *, queue_name: str, nearest: Sequence[str] = ()) -> None:
        hint = f" Did you mean {' or '.join(map(repr, nearest))}?" if nearest else ""
        super().__init__(
            f"queue {queue_name!r} was not found.{hint} Declare it with a Queue manifest or "
            "Queue(...) in code. Try: towpath queue list"
        )
        self.queue_name = queue_name
        self.nearest = list(nearest)


class QueueClosedError(TowpathError):
    """The queue was closed: it takes no new workflows, and those that wait go on."""

    def __init__(self, *, queue_name: str) -> None:
        super().__init__(
            f"queue {queue_name!r} is closed: it takes no new workflows. "
            f"Try: towpath queue open {queue_name}"
        )
        self.queue_name = queue_name


class WorkflowNotFoundError(TowpathError):
    """No workflow of that id exists in the schema."""

    def __init__(self, *, workflow_id: str) -> None:
        super().__init__(f"workflow {workflow_id!r} was not found. Try: towpath workflow list")
        self.workflow_id = workflow_id


class WorkflowIdConflictError(TowpathError):
    """The id is in use by a workflow of another name or queue."""

    def __init__(
        self, *, workflow_id: str, asked: tuple[str, str], existing: tuple[str, str]
    ) -> None:
        super().__init__(
            f"workflow id {workflow_id!r} is in use by workflow {existing[0]!r} on queue "
            f"{existing[1]!r}; asked was {asked[0]!r} on {asked[1]!r}. Choose another id."
        )
        self.workflow_id = workflow_id
        self.workflow_name, self.queue_name = asked
        self.existing_workflow_name, self.existing_queue_name = existing


class QueueDeduplicatedError(TowpathError):
    """The deduplication id is held by another workflow of the queue; `workflow_id` is the holder's."""

    def __init__(self, *, workflow_id: str, queue_name: str, deduplication_id: str) -> None:
        super().__init__(
            f"deduplication id {deduplication_id!r} on queue {queue_name!r} is held by workflow "
            f"{workflow_id!r}. Use retrieve_workflow() for its handle."
        )
        self.workflow_id = workflow_id
        self.queue_name = queue_name
        self.deduplication_id = deduplication_id


class WorkflowStatusError(TowpathError):
    """The workflow's status does not allow what was asked."""

    def __init__(self, *, workflow_id: str, status: str, verb: str, allowed: str) -> None:
        super().__init__(
            f"workflow {workflow_id!r} is {status}: {verb} is only for {allowed}. "
            f"Try: towpath workflow get {workflow_id}"
        )
        self.workflow_id = workflow_id
        self.status = status
        self.verb = verb
        self.allowed = allowed


class StepNotFoundError(TowpathError):
    """A fork from a step that the workflow has not recorded; `steps` are `position name` of those it has."""

    def __init__(self, *, workflow_id: str, from_step: object, steps: Sequence[str]) -> None:
        shown = [*steps[:MAX_STEPS_SHOWN], "..."] if len(steps) > MAX_STEPS_SHOWN else steps
        super().__init__(
            f"workflow {workflow_id!r} has no step {from_step!r} to fork from. It has recorded: "
            f"{', '.join(shown) or 'none'}. Pass one of these positions, or 'start'."
        )
        self.workflow_id = workflow_id
        self.from_step = from_step
        self.steps = list(steps)


class WorkflowCancelledError(TowpathError):
    """The workflow was cancelled, by somebody or for the reason given, so it has no result."""

    def __init__(self, *, workflow_id: str, reason: str | None = None) -> None:
        why = "" if reason is None else f": {reason}"
        super().__init__(
            f"workflow {workflow_id!r} was cancelled{why}. Try: towpath workflow resume {workflow_id}"
        )
        self.workflow_id = workflow_id
        self.reason = reason


class MaxRecoveryAttemptsExceededError(TowpathError):
    """Too many workers died under the workflow without a new step recorded; it was given up."""

    def __init__(self, *, workflow_id: str, reason: str | None = None) -> None:
        why = "" if reason is None else f": {reason}"
        super().__init__(
            f"workflow {workflow_id!r} was given up after too many recoveries{why}. Look for what "
            f"kills its workers, then: towpath workflow resume {workflow_id}"
        )
        self.workflow_id = workflow_id
        self.reason = reason


class ResultTimeoutError(TowpathError, TimeoutError):
    """The workflow did not end within the timeout; it goes on."""

    def __init__(self, *, workflow_id: str, timeout_seconds: float) -> None:
        super().__init__(
            f"workflow {workflow_id!r} has not ended within {timeout_seconds:g} s; it goes on. "
            f"Try: towpath workflow get {workflow_id}"
        )
        self.workflow_id = workflow_id
        self.timeout_seconds = timeout_seconds


class StepFailedError(TowpathError):
    """A recorded failure whose class is not imported in this process."""

    def __init__(self, type: str, message: str, traceback: str) -> None:  # noqa: A002 - the field's name
        super().__init__(f"{type}: {message}" if message else type)
        self.type = type
        self.message = message
        self.traceback = traceback

    def __reduce__(self) -> tuple[type[StepFailedError], tuple[str, str, str]]:
        """Rebuild from the fields, since the message is made of them."""
        return (StepFailedError, (self.type, self.message, self.traceback))


class StepRetriesExhaustedError(TowpathError):
    """Every try of a step failed; `tries` has one line for each."""

    def __init__(self, *, step_name: str, tries: Sequence[str]) -> None:
        super().__init__(
            f"step {step_name!r} failed {len(tries)} times; the last: {tries[-1]}. "
            "Mend the cause, then retry the workflow."
        )
        self.step_name = step_name
        self.tries = list(tries)


class StepTimeoutError(TowpathError, TimeoutError):
    """A try of a step took longer than its timeout."""

    def __init__(self, *, step_name: str, timeout_seconds: float) -> None:
        super().__init__(
            f"step {step_name!r} took longer than its timeout of {timeout_seconds:g} s."
        )
        self.step_name = step_name
        self.timeout_seconds = timeout_seconds


class NonDeterminismError(TowpathError):
    """A replay reached another step than the recorded one."""

    def __init__(self, *, workflow_id: str, position: str, recorded: str, reached: str) -> None:
        super().__init__(
            f"workflow {workflow_id!r} is not deterministic: at position {position} {recorded!r} is "
            f"recorded, but the code reached {reached!r}. Put what varies (time, random numbers, "
            "reads) into steps, or run it with the code that began it."
        )
        self.workflow_id = workflow_id
        self.position = position
        self.recorded = recorded
        self.reached = reached
