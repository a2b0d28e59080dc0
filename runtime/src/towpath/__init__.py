"""Towpath: durable workflow queues as Kubernetes resources, on Postgres alone.

import towpath
from towpath import Queue

queue = Queue("email")

@towpath.workflow()
def send_email(address: str) -> str: ...

handle = queue.enqueue(send_email, "a@example.org")
"""

from __future__ import annotations

from towpath import errors
from towpath.api.app import App
from towpath.api.client import Client
from towpath.api.current import Current, current
from towpath.api.default import (
    launch,
    list_workflows,
    retrieve_workflow,
    retrieve_workflow_async,
    shutdown,
    start_workflow,
    start_workflow_async,
    step,
    workflow,
)
from towpath.api.functions import Step, Workflow
from towpath.api.handle import WorkflowHandle, WorkflowHandleAsync
from towpath.api.queue import Queue
from towpath.api.starting import SetWorkflowID
from towpath.domain.retry import Backoff
from towpath.domain.status import WorkflowStatus
from towpath.executor.worker import Worker
from towpath.insights.workflows import WorkflowInfo

__all__ = [
    "App",
    "Backoff",
    "Client",
    "Current",
    "Queue",
    "SetWorkflowID",
    "Step",
    "Worker",
    "Workflow",
    "WorkflowHandle",
    "WorkflowHandleAsync",
    "WorkflowInfo",
    "WorkflowStatus",
    "current",
    "errors",
    "launch",
    "list_workflows",
    "retrieve_workflow",
    "retrieve_workflow_async",
    "shutdown",
    "start_workflow",
    "start_workflow_async",
    "step",
    "workflow",
]
