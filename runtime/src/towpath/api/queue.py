"""Queue: the place of a workflow in line, as code names it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from towpath.api.functions import Workflow
from towpath.api.handle import WorkflowHandle, WorkflowHandleAsync
from towpath.api.starting import Start
from towpath.domain.errors import UsageError
from towpath.domain.ids import QueueName
from towpath.domain.queue import UNLIMITED, QueueSettings, check_queue_name, check_queue_settings
from towpath.executor.registry import QueueDeclaration

if TYPE_CHECKING:
    from towpath.api.app import App

P = ParamSpec("P")
T = TypeVar("T")


class Queue:
    """A named queue.

    Without options it makes the queue's row where it is missing and changes nothing: a manifest, or
    other code, declares the limits. With options the code declares them; a manifest wins over code.

    Args:
        name: 1 to 255 characters, without a comma.
        concurrency: How many of its workflows run at once, in all workers together.
        worker_concurrency: How many of them run at once in one worker.
        app: The App that it belongs to; the default App's unless given.

    Raises:
        QueueSettingsError: a value is out of bounds.
        ConfigurationError: the queue is declared with other options in this process.
    """

    def __init__(
        self,
        name: str,
        *,
        concurrency: int | None = None,
        worker_concurrency: int | None = None,
        app: App | None = None,
    ) -> None:
        self.name: QueueName = check_queue_name(name)
        settings = check_queue_settings(
            name, QueueSettings(concurrency=concurrency, worker_concurrency=worker_concurrency)
        )
        declared = None if settings == UNLIMITED else settings
        self._declaration = QueueDeclaration(self.name, declared)
        self._find_app: Callable[[], App] = _default_app if app is None else lambda: app
        self._find_app().registry.add_queue(self._declaration)

    def options(self, *, workflow_id: str | None = None) -> BoundQueue:
        """Return the queue with options for the enqueues made through it.

        Args:
            workflow_id: The id of the workflow; the same id again is the same workflow.
        """
        return BoundQueue(self, workflow_id=workflow_id)

    @overload
    def enqueue(
        self, function: Workflow[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> WorkflowHandle[T]: ...
    @overload
    def enqueue(
        self, function: Workflow[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> WorkflowHandle[T]: ...
    def enqueue(
        self, function: Workflow[..., Any], *args: Any, **kwargs: Any
    ) -> WorkflowHandle[Any]:
        """Put a workflow in line; it is in Postgres when this returns. All arguments go to it.

        Raises:
            ValueNotEncodableError: an argument that cannot be recorded; nothing is written.
            WorkflowIdConflictError: the chosen id is in use by another workflow name or queue.
            DatabaseUnreachableError: Postgres cannot be reached.
        """
        return self._find_app().start(self.start_of(function, args, kwargs))

    @overload
    async def enqueue_async(
        self, function: Workflow[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> WorkflowHandleAsync[T]: ...
    @overload
    async def enqueue_async(
        self, function: Workflow[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> WorkflowHandleAsync[T]: ...
    async def enqueue_async(
        self, function: Workflow[..., Any], *args: Any, **kwargs: Any
    ) -> WorkflowHandleAsync[Any]:
        """As `enqueue`, awaited from any loop."""
        return await self._find_app().start_async(self.start_of(function, args, kwargs))

    def start_of(
        self,
        function: Workflow[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        workflow_id: str | None = None,
    ) -> Start:
        """Return the start of a workflow on this queue.

        Raises:
            UsageError: the function is not a workflow.
        """
        if not isinstance(function, Workflow):
            raise UsageError(
                f"{function!r} is not a workflow. Decorate it with @towpath.workflow() to enqueue it."
            )
        return Start(
            self.name, function.definition.name, args, kwargs, workflow_id, self._declaration
        )

    def __repr__(self) -> str:
        return f"Queue({self.name!r})"


class BoundQueue:
    """A queue with the options of an enqueue."""

    def __init__(self, queue: Queue, *, workflow_id: str | None) -> None:
        self._queue = queue
        self._workflow_id = workflow_id

    @overload
    def enqueue(
        self, function: Workflow[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> WorkflowHandle[T]: ...
    @overload
    def enqueue(
        self, function: Workflow[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> WorkflowHandle[T]: ...
    def enqueue(
        self, function: Workflow[..., Any], *args: Any, **kwargs: Any
    ) -> WorkflowHandle[Any]:
        """As `Queue.enqueue`, with the options."""
        start = self._queue.start_of(function, args, kwargs, self._workflow_id)
        return self._queue._find_app().start(start)  # noqa: SLF001 - one class in two parts

    @overload
    async def enqueue_async(
        self, function: Workflow[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> WorkflowHandleAsync[T]: ...
    @overload
    async def enqueue_async(
        self, function: Workflow[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> WorkflowHandleAsync[T]: ...
    async def enqueue_async(
        self, function: Workflow[..., Any], *args: Any, **kwargs: Any
    ) -> WorkflowHandleAsync[Any]:
        """As `enqueue`, awaited from any loop."""
        start = self._queue.start_of(function, args, kwargs, self._workflow_id)
        return await self._queue._find_app().start_async(start)  # noqa: SLF001 - one class in two parts


def _default_app() -> App:
    from towpath.api.default import default_app  # noqa: PLC0415 - it is made of this module

    return default_app
