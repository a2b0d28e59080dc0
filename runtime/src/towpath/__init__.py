"""Towpath: durable workflow queues as Kubernetes resources, on Postgres alone.

import towpath
from towpath import Queue

queue = Queue("email")

@towpath.workflow()
def send_email(address: str) -> str: ...

handle = queue.enqueue(send_email, "a@example.org")

A name is loaded when it is first used: the command line, which lives in this package, answers
`--help` before psycopg would be imported.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from towpath import errors
    from towpath.api.app import App
    from towpath.api.chosen_ids import SetWorkflowID, SetWorkflowTimeout
    from towpath.api.client import Client
    from towpath.api.current import Current, current
    from towpath.api.default import (
        backfill_schedule,
        backfill_schedule_async,
        cancel_workflow,
        cancel_workflow_async,
        close_stream,
        close_stream_async,
        delete_schedule,
        delete_schedule_async,
        delete_workflow,
        delete_workflow_async,
        deprecate_patch,
        deprecate_patch_async,
        fork_workflow,
        fork_workflow_async,
        get_event,
        get_event_async,
        launch,
        list_schedules,
        list_schedules_async,
        list_versions,
        list_versions_async,
        list_workflow_steps,
        list_workflow_steps_async,
        list_workflows,
        list_workflows_async,
        patch,
        patch_async,
        pause_schedule,
        pause_schedule_async,
        promote_version,
        promote_version_async,
        read_stream,
        read_stream_async,
        recv,
        recv_async,
        resume_schedule,
        resume_schedule_async,
        resume_workflow,
        resume_workflow_async,
        retrieve_workflow,
        retrieve_workflow_async,
        retry_workflow,
        retry_workflow_async,
        retry_workflows,
        retry_workflows_async,
        schedule,
        send,
        send_async,
        set_delay,
        set_delay_async,
        set_event,
        set_event_async,
        set_priority,
        set_priority_async,
        shutdown,
        sleep,
        sleep_async,
        start_workflow,
        start_workflow_async,
        step,
        transaction,
        trigger_schedule,
        trigger_schedule_async,
        workflow,
        write_stream,
        write_stream_async,
    )
    from towpath.api.functions import Step, Workflow
    from towpath.api.handle import WorkflowHandle, WorkflowHandleAsync
    from towpath.api.options import EnqueueItem, EnqueueOptions, SetEnqueueOptions
    from towpath.api.queue import Queue
    from towpath.api.transactions import Transaction
    from towpath.domain.retry import Backoff
    from towpath.domain.status import WorkflowStatus
    from towpath.executor.worker import Worker
    from towpath.insights.schedules import ScheduleInfo
    from towpath.insights.steps import StepInfo
    from towpath.insights.versions import VersionInfo
    from towpath.insights.workflows import WorkflowInfo
    from towpath.store.managing import Cancelled

__all__ = [
    "App",
    "Backoff",
    "Cancelled",
    "Client",
    "Current",
    "EnqueueItem",
    "EnqueueOptions",
    "Queue",
    "ScheduleInfo",
    "SetEnqueueOptions",
    "SetWorkflowID",
    "SetWorkflowTimeout",
    "Step",
    "StepInfo",
    "Transaction",
    "VersionInfo",
    "Worker",
    "Workflow",
    "WorkflowHandle",
    "WorkflowHandleAsync",
    "WorkflowInfo",
    "WorkflowStatus",
    "backfill_schedule",
    "backfill_schedule_async",
    "cancel_workflow",
    "cancel_workflow_async",
    "close_stream",
    "close_stream_async",
    "current",
    "delete_schedule",
    "delete_schedule_async",
    "delete_workflow",
    "delete_workflow_async",
    "deprecate_patch",
    "deprecate_patch_async",
    "errors",
    "fork_workflow",
    "fork_workflow_async",
    "get_event",
    "get_event_async",
    "launch",
    "list_schedules",
    "list_schedules_async",
    "list_versions",
    "list_versions_async",
    "list_workflow_steps",
    "list_workflow_steps_async",
    "list_workflows",
    "list_workflows_async",
    "patch",
    "patch_async",
    "pause_schedule",
    "pause_schedule_async",
    "promote_version",
    "promote_version_async",
    "read_stream",
    "read_stream_async",
    "recv",
    "recv_async",
    "resume_schedule",
    "resume_schedule_async",
    "resume_workflow",
    "resume_workflow_async",
    "retrieve_workflow",
    "retrieve_workflow_async",
    "retry_workflow",
    "retry_workflow_async",
    "retry_workflows",
    "retry_workflows_async",
    "schedule",
    "send",
    "send_async",
    "set_delay",
    "set_delay_async",
    "set_event",
    "set_event_async",
    "set_priority",
    "set_priority_async",
    "shutdown",
    "sleep",
    "sleep_async",
    "start_workflow",
    "start_workflow_async",
    "step",
    "transaction",
    "trigger_schedule",
    "trigger_schedule_async",
    "workflow",
    "write_stream",
    "write_stream_async",
]

_HOMES = {
    "towpath.api.app": ["App"],
    "towpath.api.chosen_ids": ["SetWorkflowID", "SetWorkflowTimeout"],
    "towpath.api.client": ["Client"],
    "towpath.api.current": ["Current", "current"],
    "towpath.api.default": [
        "backfill_schedule",
        "backfill_schedule_async",
        "cancel_workflow",
        "cancel_workflow_async",
        "close_stream",
        "close_stream_async",
        "delete_schedule",
        "delete_schedule_async",
        "delete_workflow",
        "delete_workflow_async",
        "get_event",
        "get_event_async",
        "launch",
        "deprecate_patch",
        "deprecate_patch_async",
        "list_versions",
        "list_versions_async",
        "patch",
        "patch_async",
        "promote_version",
        "promote_version_async",
        "list_schedules",
        "list_schedules_async",
        "list_workflows",
        "list_workflows_async",
        "list_workflow_steps",
        "list_workflow_steps_async",
        "retry_workflow",
        "retry_workflow_async",
        "retry_workflows",
        "retry_workflows_async",
        "fork_workflow",
        "fork_workflow_async",
        "pause_schedule",
        "pause_schedule_async",
        "read_stream",
        "read_stream_async",
        "recv",
        "recv_async",
        "resume_schedule",
        "resume_schedule_async",
        "resume_workflow",
        "resume_workflow_async",
        "retrieve_workflow",
        "retrieve_workflow_async",
        "schedule",
        "send",
        "send_async",
        "set_delay",
        "set_delay_async",
        "set_event",
        "set_event_async",
        "set_priority",
        "set_priority_async",
        "shutdown",
        "sleep",
        "sleep_async",
        "start_workflow",
        "start_workflow_async",
        "step",
        "transaction",
        "trigger_schedule",
        "trigger_schedule_async",
        "workflow",
        "write_stream",
        "write_stream_async",
    ],
    "towpath.api.functions": ["Step", "Workflow"],
    "towpath.api.handle": ["WorkflowHandle", "WorkflowHandleAsync"],
    "towpath.api.options": ["EnqueueItem", "EnqueueOptions", "SetEnqueueOptions"],
    "towpath.api.queue": ["Queue"],
    "towpath.api.transactions": ["Transaction"],
    "towpath.domain.retry": ["Backoff"],
    "towpath.domain.status": ["WorkflowStatus"],
    "towpath.executor.worker": ["Worker"],
    "towpath.insights.schedules": ["ScheduleInfo"],
    "towpath.insights.steps": ["StepInfo"],
    "towpath.insights.versions": ["VersionInfo"],
    "towpath.insights.workflows": ["WorkflowInfo"],
    "towpath.store.managing": ["Cancelled"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name, once."""
    if name == "errors":
        return importlib.import_module("towpath.errors")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'towpath' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
