"""The errors of Towpath: one tree; each carries fields and ends with what to do.

    TowpathError
      ConfigurationError                what was declared or passed is wrong
        NotConfiguredError              no database is named anywhere
        DuplicateNameError              two functions of one name
        QueueSettingsError              a queue's settings are out of bounds or contradict each other
        EnqueueOptionError              an option of an enqueue that the queue does not take
        WorkflowFilterError             a filter of workflows that cannot be one
        InvalidWorkflowIdError          a chosen id that cannot be one
        ScheduleDeclarationError        a schedule that cannot be: its cron expression, zone or workflow
        TransactionDatabaseError        a transaction's database_url leads to another database
      UsageError                        the call is not allowed in this place
        SyncCallInAsyncError            a blocking verb in an async workflow or step
        StartInsideStepError            a workflow started inside a step
        OutsideWorkflowError            a workflow's verb outside of one, or in a step
        ConcurrentReceiveError          two branches receive from one topic at once
        WaitOptionError                 a topic, key or time that cannot be one
        StepInsideTransactionError      a step or another verb inside a transaction's function
        TransactionEndedError           a transaction's function committed or rolled back itself
        TransactionAbortedError         a transaction's function went on after a failed statement
        AlreadyLaunchedError            a second launch
        ImportingApplicationError       an enqueue while the worker imports the application
      ValueNotEncodableError            a value that the codec would not give back as it was
      ValueTooLargeError                a value beyond the bound of what is recorded
      QueueNotFoundError                no queue of that name
      QueueClosedError                  the queue takes no new workflows
      ScheduleNotFoundError             no schedule of that name
      ScheduleDeclaredError             the schedule is declared by a worker, so that it cannot be deleted
      WorkflowNotFoundError             no workflow of that id
      WorkflowIdConflictError           the id is in use by another workflow name or queue
      QueueDeduplicatedError            the deduplication id is held by another workflow
      WorkflowStatusError               the workflow's status does not allow the change
      StepNotFoundError                 the workflow has no such step to fork from
      WorkflowCancelledError            the workflow was cancelled
      MaxRecoveryAttemptsExceededError  the workflow was given up: too many workers died under it
      ResultTimeoutError                the result did not come in time (a TimeoutError too)
      StepFailedError                   a recorded failure whose class is not imported here
      StepRetriesExhaustedError         every try of a step failed
      StepTimeoutError                  a try of a step took too long
      StreamClosedError                 the stream takes nothing more
      NonDeterminismError               the code took another path than what is recorded
      DatabaseUnreachableError          Postgres cannot be reached
      ShutDownError                     the App was shut down while a call waited
      PortInUseError                    the port of the probes cannot be had
      SchemaError                       the schema is missing, older or newer than this library serves,
                                        or not granted to this login
      RoleNotFoundError                 no login of the name that rights are to be granted to
      GrantRefusedError                 another role owns the schema, and alone may grant rights in it

`WorkflowInterrupted` stands beside the tree, on BaseException, so that `except Exception` in a
workflow cannot swallow it: the attempt was fenced, or is handed back at shutdown.
"""

from __future__ import annotations

from towpath.domain.errors.base import (
    TowpathError,
    WorkflowInterrupted,
)
from towpath.domain.errors.configuration import (
    AlreadyLaunchedError,
    ApplicationImportError,
    ConfigurationError,
    DuplicateNameError,
    EnqueueOptionError,
    ImportingApplicationError,
    InvalidWorkflowIdError,
    NotConfiguredError,
    QueueSettingsError,
    StartInsideStepError,
    SyncCallInAsyncError,
    UsageError,
    WorkflowFilterError,
)
from towpath.domain.errors.database import (
    DatabaseUnreachableError,
    GrantRefusedError,
    PortInUseError,
    RoleNotFoundError,
    SchemaError,
    SchemaMissingError,
    SchemaNotGrantedError,
    SchemaOlderError,
    SchemaTooNewError,
    ShutDownError,
)
from towpath.domain.errors.schedules import (
    ScheduleDeclarationError,
    ScheduleDeclaredError,
    ScheduleNotFoundError,
)
from towpath.domain.errors.transactions import (
    StepInsideTransactionError,
    TransactionAbortedError,
    TransactionDatabaseError,
    TransactionEndedError,
)
from towpath.domain.errors.waiting import (
    ConcurrentReceiveError,
    OutsideWorkflowError,
    StreamClosedError,
    WaitOptionError,
)
from towpath.domain.errors.workflows import (
    MaxRecoveryAttemptsExceededError,
    NonDeterminismError,
    QueueClosedError,
    QueueDeduplicatedError,
    QueueNotFoundError,
    ResultTimeoutError,
    StepFailedError,
    StepNotFoundError,
    StepRetriesExhaustedError,
    StepTimeoutError,
    ValueNotEncodableError,
    ValueTooLargeError,
    WorkflowCancelledError,
    WorkflowIdConflictError,
    WorkflowNotFoundError,
    WorkflowStatusError,
)

__all__ = [
    "AlreadyLaunchedError",
    "ApplicationImportError",
    "ConcurrentReceiveError",
    "ConfigurationError",
    "DatabaseUnreachableError",
    "DuplicateNameError",
    "EnqueueOptionError",
    "GrantRefusedError",
    "ImportingApplicationError",
    "InvalidWorkflowIdError",
    "MaxRecoveryAttemptsExceededError",
    "NonDeterminismError",
    "NotConfiguredError",
    "OutsideWorkflowError",
    "PortInUseError",
    "QueueClosedError",
    "QueueDeduplicatedError",
    "QueueNotFoundError",
    "QueueSettingsError",
    "ResultTimeoutError",
    "RoleNotFoundError",
    "ScheduleDeclarationError",
    "ScheduleDeclaredError",
    "ScheduleNotFoundError",
    "SchemaError",
    "SchemaMissingError",
    "SchemaNotGrantedError",
    "SchemaOlderError",
    "SchemaTooNewError",
    "ShutDownError",
    "StartInsideStepError",
    "StepFailedError",
    "StepInsideTransactionError",
    "StepNotFoundError",
    "StepRetriesExhaustedError",
    "StepTimeoutError",
    "StreamClosedError",
    "SyncCallInAsyncError",
    "TowpathError",
    "TransactionAbortedError",
    "TransactionDatabaseError",
    "TransactionEndedError",
    "UsageError",
    "ValueNotEncodableError",
    "ValueTooLargeError",
    "WaitOptionError",
    "WorkflowCancelledError",
    "WorkflowFilterError",
    "WorkflowIdConflictError",
    "WorkflowInterrupted",
    "WorkflowNotFoundError",
    "WorkflowStatusError",
]
