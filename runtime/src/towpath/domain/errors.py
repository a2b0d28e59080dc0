"""The errors of Towpath: one tree; each carries fields and ends with what to do.

    TowpathError
      ConfigurationError                what was declared or passed is wrong
        NotConfiguredError              no database is named anywhere
        DuplicateNameError              two functions of one name
        QueueSettingsError              a queue's settings are out of bounds or contradict each other
        EnqueueOptionError              an option of an enqueue that the queue does not take
        InvalidWorkflowIdError          a chosen id that cannot be one
      UsageError                        the call is not allowed in this place
        SyncCallInAsyncError            a blocking verb in an async workflow or step
        StartInsideStepError            a workflow started inside a step
        AlreadyLaunchedError            a second launch
        ImportingApplicationError       an enqueue while the worker imports the application
      ValueNotEncodableError            a value that the codec would not give back as it was
      ValueTooLargeError                a value beyond the bound of what is recorded
      QueueNotFoundError                no queue of that name
      QueueClosedError                  the queue takes no new workflows
      WorkflowNotFoundError             no workflow of that id
      WorkflowIdConflictError           the id is in use by another workflow name or queue
      QueueDeduplicatedError            the deduplication id is held by another workflow
      WorkflowStatusError               the workflow's status does not allow the change
      WorkflowCancelledError            the workflow was cancelled
      MaxRecoveryAttemptsExceededError  the workflow was given up: too many workers died under it
      ResultTimeoutError                the result did not come in time (a TimeoutError too)
      StepFailedError                   a recorded failure whose class is not imported here
      StepRetriesExhaustedError         every try of a step failed
      StepTimeoutError                  a try of a step took too long
      NonDeterminismError               the code took another path than what is recorded
      DatabaseUnreachableError          Postgres cannot be reached
      PortInUseError                    the port of the probes cannot be had
      SchemaError                       the schema is missing, older or newer than this library serves

`WorkflowInterrupted` stands beside the tree, on BaseException, so that `except Exception` in a
workflow cannot swallow it: the attempt was fenced, or is handed back at shutdown.
"""

from __future__ import annotations

from collections.abc import Sequence


class TowpathError(Exception):
    """Everything that Towpath raises on purpose, except interruptions."""


class ConfigurationError(TowpathError):
    """What was declared or passed is wrong."""


class NotConfiguredError(ConfigurationError):
    """No database is named anywhere."""

    def __init__(self) -> None:
        super().__init__(
            "no database is configured. Set TOWPATH_DATABASE_URL (or TOWPATH_DATABASE_URL_FILE), "
            "or start `towpath dev` in this folder or a parent."
        )


class DuplicateNameError(ConfigurationError):
    """Two functions were registered under one name."""

    def __init__(self, *, kind: str, name: str, first: str, second: str) -> None:
        super().__init__(
            f"{kind} {name!r} is registered twice: at {first} and at {second}. "
            "Give one of them another name with name=."
        )
        self.kind = kind
        self.name = name
        self.first = first
        self.second = second


class QueueSettingsError(ConfigurationError):
    """A queue's settings are out of bounds or contradict each other."""

    def __init__(self, *, queue_name: str, field: str, value: object, allowed: str) -> None:
        super().__init__(f"queue {queue_name!r}: {field} is {value!r}; allowed is {allowed}.")
        self.queue_name = queue_name
        self.field = field
        self.value = value
        self.allowed = allowed


class EnqueueOptionError(ConfigurationError):
    """An option of an enqueue that is out of bounds, or that the queue does not take; nothing was written.

    `queue_name` is None where no queue would take it.
    """

    def __init__(self, *, queue_name: str | None, field: str, value: object, allowed: str) -> None:
        where = "" if queue_name is None else f"queue {queue_name!r}: "
        super().__init__(f"{where}{field} is {value!r}; allowed is {allowed}.")
        self.queue_name = queue_name
        self.field = field
        self.value = value
        self.allowed = allowed


class InvalidWorkflowIdError(ConfigurationError):
    """A chosen workflow id that cannot be one."""

    def __init__(self, *, workflow_id: object, reason: str) -> None:
        super().__init__(f"{workflow_id!r} cannot be a workflow id: {reason}")
        self.workflow_id = workflow_id
        self.reason = reason


class UsageError(TowpathError):
    """The call is not allowed in this place."""


class SyncCallInAsyncError(UsageError):
    """A blocking verb was called in an async workflow or step, where it would stop every other one."""

    def __init__(self, *, verb: str, twin: str) -> None:
        super().__init__(
            f"{verb} blocks and was called in an async workflow or step. Use `await {twin}`."
        )
        self.verb = verb
        self.twin = twin


class StartInsideStepError(UsageError):
    """A workflow was started inside a step; a step's retry would start it again."""

    def __init__(self, *, workflow_name: str, step_name: str) -> None:
        super().__init__(
            f"workflow {workflow_name!r} was started inside step {step_name!r}. "
            "Start it from the workflow itself."
        )
        self.workflow_name = workflow_name
        self.step_name = step_name


class AlreadyLaunchedError(UsageError):
    """A second launch in one process."""

    def __init__(self) -> None:
        super().__init__("this app is launched already in this process. Call shutdown() first.")


class ImportingApplicationError(UsageError):
    """A workflow was enqueued while the worker imports the application."""

    def __init__(self, *, application: str) -> None:
        super().__init__(
            f"a workflow was started while the worker imports {application!r}; every worker would "
            'start it again. Put the call under `if __name__ == "__main__":`.'
        )
        self.application = application


class ApplicationImportError(ConfigurationError):
    """The application module could not be imported, or has no such attribute."""

    def __init__(self, *, application: str, reason: str) -> None:
        # the operator finds this line by its first words and shows it in a condition
        super().__init__(f"cannot import application {application!r}: {reason}")
        self.application = application
        self.reason = reason


class ValueNotEncodableError(TowpathError):
    """A value that the codec would not give back as it was."""

    def __init__(self, *, path: str, type_name: str, reason: str) -> None:
        super().__init__(
            f"{path} ({type_name}) cannot be recorded: {reason}. "
            "Pass plain JSON values: None, bool, int, float, str, list, dict with str keys."
        )
        self.path = path
        self.type_name = type_name
        self.reason = reason


class ValueTooLargeError(TowpathError):
    """A value whose recorded text would be beyond the bound (bytes)."""

    def __init__(self, *, path: str, size: int, bound: int) -> None:
        super().__init__(
            f"{path} has {size} bytes as it is recorded; allowed are {bound}. Store it elsewhere and "
            "pass its address, or raise TOWPATH_MAX_VALUE_BYTES."
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


class WorkflowCancelledError(TowpathError):
    """The workflow was cancelled, so it has no result."""

    def __init__(self, *, workflow_id: str) -> None:
        super().__init__(
            f"workflow {workflow_id!r} was cancelled. Try: towpath workflow resume {workflow_id}"
        )
        self.workflow_id = workflow_id


class MaxRecoveryAttemptsExceededError(TowpathError):
    """Too many workers died under the workflow without a new step recorded; it was given up."""

    def __init__(self, *, workflow_id: str) -> None:
        super().__init__(
            f"workflow {workflow_id!r} was given up after too many recoveries. Look for what kills "
            f"its workers, then: towpath workflow resume {workflow_id}"
        )
        self.workflow_id = workflow_id


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


class DatabaseUnreachableError(TowpathError):
    """Postgres cannot be reached; `reason` never holds a password."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(f"the database cannot be reached: {reason}. Try: towpath db status")
        self.reason = reason


class PortInUseError(TowpathError):
    """The port of the probes cannot be had."""

    def __init__(self, *, port: int, reason: str) -> None:
        super().__init__(
            f"cannot listen on port {port}: {reason}. Set TOWPATH_HTTP_PORT to a free port, or unset it."
        )
        self.port = port
        self.reason = reason


class SchemaError(TowpathError):
    """The schema is missing, or older or newer than this library serves."""

    def __init__(self, *, schema: str, reason: str, next_step: str) -> None:
        super().__init__(f"schema {schema!r}: {reason}. {next_step}")
        self.schema = schema
        self.reason = reason


class SchemaMissingError(SchemaError):
    """The schema, or its tables, do not exist."""

    def __init__(self, *, schema: str) -> None:
        super().__init__(
            schema=schema, reason="it is not there", next_step="Try: towpath db migrate"
        )


class SchemaOlderError(SchemaError):
    """The schema is older than this library needs."""

    def __init__(self, *, schema: str, found: int, needed: int) -> None:
        super().__init__(
            schema=schema,
            reason=f"it has version {found}, this library needs {needed}",
            next_step="Try: towpath db migrate",
        )
        self.found = found
        self.needed = needed


class SchemaTooNewError(SchemaError):
    """The schema no longer serves a library this old."""

    def __init__(self, *, schema: str, serves_from: int, library: int) -> None:
        super().__init__(
            schema=schema,
            reason=f"it serves libraries from schema version {serves_from} on, this one has {library}",
            next_step="Upgrade the towpath package",
        )
        self.serves_from = serves_from
        self.library = library


class WorkflowInterrupted(BaseException):
    """The attempt must end here: it was fenced, or is handed back at shutdown. Do not catch it."""

    def __init__(self, *, workflow_id: str, reason: str) -> None:
        super().__init__(f"workflow {workflow_id!r} is interrupted: {reason}")
        self.workflow_id = workflow_id
        self.reason = reason
