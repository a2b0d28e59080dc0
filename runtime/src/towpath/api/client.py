"""Client: enqueue, inspect and manage without the application's code."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from towpath.api.app import App
from towpath.api.handle import WorkflowHandle, WorkflowHandleAsync
from towpath.api.managing import ManagesWorkflows
from towpath.api.messaging import SendsMessages
from towpath.api.options import EnqueueItem
from towpath.api.schedules import ManagesSchedules
from towpath.api.starting import Start
from towpath.api.streams import ReadsStreams
from towpath.api.versions import ManagesVersions
from towpath.domain.ids import WorkflowName
from towpath.domain.queue import check_queue_name
from towpath.executor.engine import Engine
from towpath.executor.registry import check_name


class Client(ManagesWorkflows, ManagesSchedules, ManagesVersions, SendsMessages, ReadsStreams):
    """A connection to a schema, for programs that do not have the workflows' code.

    `SetEnqueueOptions` and `SetWorkflowID` work around its enqueues as around a queue's.

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
            TowpathError: as `Queue.enqueue`.
        """
        return self._app.start(_start(queue_name, workflow_name, args, kwargs))

    async def enqueue_async(
        self, queue_name: str, workflow_name: str, *args: Any, **kwargs: Any
    ) -> WorkflowHandleAsync[Any]:
        """As `enqueue`, awaited from any loop."""
        return await self._app.start_async(_start(queue_name, workflow_name, args, kwargs))

    @property
    def engine(self) -> Engine:
        """The connections and loops of this process."""
        return self._app.engine

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
