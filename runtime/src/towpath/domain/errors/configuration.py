"""What was declared or passed is wrong, or called in a place where it is not allowed."""

from __future__ import annotations

from towpath.domain.errors.base import TowpathError


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


class WorkflowFilterError(ConfigurationError):
    """A filter of workflows that cannot be one; `field` is the argument's name."""

    def __init__(self, *, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field} is {value!r}; allowed is {allowed}.")
        self.field = field
        self.value = value
        self.allowed = allowed


class InvalidWorkflowIdError(ConfigurationError):
    """A chosen workflow id that cannot be one."""

    def __init__(self, *, workflow_id: object, reason: str) -> None:
        super().__init__(f"{workflow_id!r} cannot be a workflow id: {reason}")
        self.workflow_id = workflow_id
        self.reason = reason


class ApplicationImportError(ConfigurationError):
    """The application module could not be imported, or has no such attribute."""

    def __init__(self, *, application: str, reason: str) -> None:
        # the operator finds this line by its first words and shows it in a condition
        super().__init__(f"cannot import application {application!r}: {reason}")
        self.application = application
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
