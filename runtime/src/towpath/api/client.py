"""Client: enqueue, inspect and manage without the application's code."""

from __future__ import annotations

from datetime import datetime
from types import TracebackType
from typing import Any, Self

from towpath.api.app import App
from towpath.api.handle import WorkflowHandle, WorkflowHandleAsync
from towpath.api.options import EnqueueItem
from towpath.api.starting import Start
from towpath.domain.ids import WorkflowName
from towpath.domain.queue import check_queue_name
from towpath.executor.registry import check_name
from towpath.insights.workflows import WorkflowInfo


class Client:
    """A connection to a schema, for programs that do not have the workflows' code.

    Args:
        database_url: A Postgres URI.
        schema: The schema.
    """

    def __init__(self, database_url: str, *, schema: str = "towpath") -> None:
        self._app = App(database_url=database_url, schema=schema)

    def enqueue(
        self, queue_name: str, workflow_name: str, *args: Any, **kwargs: Any
    ) -> WorkflowHandle[Any]:
        """Put a workflow in line by the names of its queue and function.

        Raises:
            QueueNotFoundError: no queue of that name, with the nearest names.
        """
        return self._app.start(_start(queue_name, workflow_name, args, kwargs))

    async def enqueue_async(
        self, queue_name: str, workflow_name: str, *args: Any, **kwargs: Any
    ) -> WorkflowHandleAsync[Any]:
        """As `enqueue`, awaited from any loop."""
        return await self._app.start_async(_start(queue_name, workflow_name, args, kwargs))

    def retrieve_workflow(self, workflow_id: str) -> WorkflowHandle[Any]:
        """Return the handle of a workflow that is there."""
        return self._app.retrieve_workflow(workflow_id)

    async def retrieve_workflow_async(self, workflow_id: str) -> WorkflowHandleAsync[Any]:
        """As `retrieve_workflow`, awaited from any loop."""
        return await self._app.retrieve_workflow_async(workflow_id)

    def list_workflows(
        self, *, queue_name: str | None = None, name: str | None = None, limit: int = 100
    ) -> list[WorkflowInfo]:
        """Return workflows, newest first."""
        return self._app.list_workflows(queue_name=queue_name, name=name, limit=limit)

    def cancel_workflow(self, workflow_id: str) -> None:
        """As `App.cancel_workflow`."""
        self._app.cancel_workflow(workflow_id)

    def resume_workflow(self, workflow_id: str) -> WorkflowHandle[Any]:
        """As `App.resume_workflow`."""
        return self._app.resume_workflow(workflow_id)

    def delete_workflow(self, workflow_id: str) -> None:
        """As `App.delete_workflow`."""
        self._app.delete_workflow(workflow_id)

    def set_priority(self, workflow_id: str, priority: int) -> None:
        """As `App.set_priority`."""
        self._app.set_priority(workflow_id, priority)

    def set_delay(
        self,
        workflow_id: str,
        *,
        delay_seconds: float | None = None,
        start_at: datetime | None = None,
    ) -> None:
        """As `App.set_delay`."""
        self._app.set_delay(workflow_id, delay_seconds=delay_seconds, start_at=start_at)

    def close(self) -> None:
        """Close the connections."""
        self._app.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _start(
    queue_name: str, workflow_name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Start:
    name = check_name(workflow_name, kind="workflow")
    return Start(
        queue=check_queue_name(queue_name),
        name=WorkflowName(name),
        items=[EnqueueItem(args, kwargs)],
    )
