"""The exit codes, and which error ends with which: one table for every command."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from towpath.domain import errors


class ExitCode(IntEnum):
    """What the exit code of a command says."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNREACHABLE = 5
    IMPORT_FAILED = 6
    TIMEOUT = 124
    INTERRUPTED = 130


MEANINGS: Final = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "the workflow failed, or something unexpected happened",
    ExitCode.USAGE: "the command, an option or a variable is wrong",
    ExitCode.NOT_FOUND: "no such queue, workflow, schedule or role",
    ExitCode.CONFLICT: "the state does not allow it: an id, a schema version or a port is taken",
    ExitCode.UNREACHABLE: "the database cannot be reached",
    ExitCode.IMPORT_FAILED: "the application could not be imported",
    ExitCode.TIMEOUT: "it did not end in time",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
}

_OF_ERRORS: Final[tuple[tuple[type[BaseException], ExitCode], ...]] = (
    # the first that fits counts: a subclass stands before its parent
    (errors.ApplicationImportError, ExitCode.IMPORT_FAILED),
    (errors.ConfigurationError, ExitCode.USAGE),
    (errors.UsageError, ExitCode.USAGE),
    (errors.ValueNotEncodableError, ExitCode.USAGE),
    (errors.ValueTooLargeError, ExitCode.USAGE),
    (errors.QueueNotFoundError, ExitCode.NOT_FOUND),
    (errors.WorkflowNotFoundError, ExitCode.NOT_FOUND),
    (errors.StepNotFoundError, ExitCode.NOT_FOUND),
    (errors.ScheduleNotFoundError, ExitCode.NOT_FOUND),
    (errors.WorkflowIdConflictError, ExitCode.CONFLICT),
    (errors.QueueDeduplicatedError, ExitCode.CONFLICT),
    (errors.QueueClosedError, ExitCode.CONFLICT),
    (errors.WorkflowStatusError, ExitCode.CONFLICT),
    (errors.ScheduleDeclaredError, ExitCode.CONFLICT),
    (errors.SchemaError, ExitCode.CONFLICT),
    (errors.RoleNotFoundError, ExitCode.NOT_FOUND),
    (errors.GrantRefusedError, ExitCode.CONFLICT),
    (errors.PortInUseError, ExitCode.CONFLICT),
    (errors.DatabaseUnreachableError, ExitCode.UNREACHABLE),
    (errors.ResultTimeoutError, ExitCode.TIMEOUT),
)


class CommandError(Exception):
    """What ends a command: one line for people, and the code for programs."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the exit code of a command that ends with this error."""
    if isinstance(error, CommandError):
        return error.code
    return next((code for kind, code in _OF_ERRORS if isinstance(error, kind)), ExitCode.FAILED)
