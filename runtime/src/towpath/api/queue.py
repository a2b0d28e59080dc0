"""Queue: the place of a workflow in line, as code names it."""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ParamSpec, TypedDict, TypeVar, overload

from towpath.api.debouncing import Debounced, make_bounce
from towpath.api.functions import Workflow
from towpath.api.handle import WorkflowHandle, WorkflowHandleAsync
from towpath.api.options import (
    NO_OPTIONS,
    EnqueueItem,
    EnqueueOptions,
    OnDuplicate,
    check_options,
)
from towpath.api.starting import Start
from towpath.domain.errors import UsageError
from towpath.domain.ids import QueueName, check_chosen_id
from towpath.domain.queue import (
    ALLOWED_POLLING_INTERVAL,
    DEFAULT_POLLING_INTERVAL,
    MAX_POLLING_INTERVAL,
    MIN_POLLING_INTERVAL,
    UNLIMITED,
    QueueSettings,
    check_queue_name,
    check_queue_settings,
    make_limiter,
    make_retention,
    make_seconds,
)
from towpath.executor.registry import QueueDeclaration

if TYPE_CHECKING:
    from towpath.api.app import App

P = ParamSpec("P")
T = TypeVar("T")

Item = EnqueueItem | tuple[Any, ...] | list[Any]
"""One workflow of `enqueue_many`: a tuple of its arguments, or an `EnqueueItem`."""


class QueueOptions(TypedDict, total=False):
    """The options of a `Queue`, as `App.queue` takes them."""

    concurrency: int | None
    worker_concurrency: int | None
    partition_concurrency: int | None
    limiter: Mapping[str, Any] | None
    partition_limiter: Mapping[str, Any] | None
    priority_enabled: bool
    partition_queue: bool
    release_while_waiting: bool
    polling_interval_sec: float | None
    retention: Mapping[str, Any] | None


class Enqueuing(ABC):
    """What a queue and a queue with options do alike."""

    @abstractmethod
    def start_of(self, function: Workflow[..., Any], items: Iterable[Item], *, many: bool) -> Start:
        """Return the start of workflows on this queue."""

    @abstractmethod
    def find_app(self) -> App:
        """Return the App that it belongs to."""

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
            EnqueueOptionError: the queue does not take an option; nothing is written.
            QueueDeduplicatedError: another workflow of the queue holds the deduplication id.
            QueueClosedError: the queue takes no new workflows.
            WorkflowIdConflictError: the chosen id is in use by another workflow name or queue.
            DatabaseUnreachableError: Postgres cannot be reached.
        """
        start = self.start_of(function, [EnqueueItem(args, kwargs)], many=False)
        return self.find_app().start(start)

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
        start = self.start_of(function, [EnqueueItem(args, kwargs)], many=False)
        return await self.find_app().start_async(start)

    def debounce(
        self, key: str, *, delay_seconds: float = 5, at_most_seconds: float = 60
    ) -> Debounced:
        """Return the queue with its enqueues debounced: one workflow waits under a key, not many.

        Each enqueue replaces the arguments (and priority, partition key and version) of the workflow
        that waits, and puts its start off. Once it has joined the line, or was cancelled, the next
        enqueue makes a new one.

        Args:
            key: Of this queue and the workflow's name; 1 to 255 characters.
            delay_seconds: How long after the last enqueue the workflow joins the line.
            at_most_seconds: How long after the first one at the latest.

        Raises:
            EnqueueOptionError: a value that cannot be.
        """
        return Debounced(self, make_bounce(key, delay_seconds, at_most_seconds))

    @overload
    def enqueue_many(
        self, function: Workflow[..., Coroutine[Any, Any, T]], items: Iterable[Item]
    ) -> list[tuple[WorkflowHandle[T], bool]]: ...
    @overload
    def enqueue_many(
        self, function: Workflow[..., T], items: Iterable[Item]
    ) -> list[tuple[WorkflowHandle[T], bool]]: ...
    def enqueue_many(
        self, function: Workflow[..., Any], items: Iterable[Item]
    ) -> list[tuple[WorkflowHandle[Any], bool]]:
        """Put many workflows in line, all or none: one round trip, one transaction.

        Returns:
            For each item its handle, and whether it was created; where not, the handle is that of the
            workflow which has its id, or holds its deduplication id.

        Raises:
            TowpathError: as `enqueue`; a held deduplication id only with on_duplicate="raise".
        """
        start = self.start_of(function, items, many=True)
        return self.find_app().start_many(start) if start.items else []

    @overload
    async def enqueue_many_async(
        self, function: Workflow[..., Coroutine[Any, Any, T]], items: Iterable[Item]
    ) -> list[tuple[WorkflowHandleAsync[T], bool]]: ...
    @overload
    async def enqueue_many_async(
        self, function: Workflow[..., T], items: Iterable[Item]
    ) -> list[tuple[WorkflowHandleAsync[T], bool]]: ...
    async def enqueue_many_async(
        self, function: Workflow[..., Any], items: Iterable[Item]
    ) -> list[tuple[WorkflowHandleAsync[Any], bool]]:
        """As `enqueue_many`, awaited from any loop."""
        start = self.start_of(function, items, many=True)
        return await self.find_app().start_many_async(start) if start.items else []


class Queue(Enqueuing):
    """A named queue.

    Without options it makes the queue's row where it is missing and changes nothing: a manifest, or
    other code, declares the limits. With options the code declares them; a manifest wins over code.

    Args:
        name: 1 to 255 characters, without a comma.
        concurrency: How many of its workflows run at once, in all workers together.
        worker_concurrency: How many of them run at once in one worker.
        partition_concurrency: How many of one partition key run at once; 1 unless given.
        limiter: `{"limit": 5, "period": 10}`: at most 5 starts in any 10 seconds.
        partition_limiter: The same for each partition key.
        priority_enabled: Whether its workflows may have a priority.
        partition_queue: Whether its workflows have partition keys: in order within a key.
        release_while_waiting: Whether a workflow that waits gives its place in `concurrency` back, and
            takes one again to go on; never that of its partition.
        polling_interval_sec: The longest wait for what a lost notification has missed (default 1).
        retention: `{"succeeded": 86400, "failed": 604800}`: for how many seconds workflows are kept
            after a SUCCESS, and after any other end; as the database's default says where not given,
            which is for ever.
        app: The App that it belongs to; the default App's unless given.

    Raises:
        QueueSettingsError: a value is out of bounds, or contradicts another.
        ConfigurationError: the queue is declared with other options in this process.
    """

    def __init__(
        self,
        name: str,
        *,
        concurrency: int | None = None,
        worker_concurrency: int | None = None,
        partition_concurrency: int | None = None,
        limiter: Mapping[str, Any] | None = None,
        partition_limiter: Mapping[str, Any] | None = None,
        priority_enabled: bool = False,
        partition_queue: bool = False,
        release_while_waiting: bool = False,
        polling_interval_sec: float | None = None,
        retention: Mapping[str, Any] | None = None,
        app: App | None = None,
    ) -> None:
        self.name: QueueName = check_queue_name(name)
        settings = QueueSettings(
            concurrency=concurrency,
            worker_concurrency=worker_concurrency,
            partition_concurrency=partition_concurrency,
            limiter=make_limiter(name, "limiter", limiter),
            partition_limiter=make_limiter(name, "partition_limiter", partition_limiter),
            priority_enabled=priority_enabled,
            partition_queue=partition_queue,
            release_while_waiting=release_while_waiting,
            polling_interval=_polling_interval(name, polling_interval_sec),
            retention=make_retention(name, retention),
        )
        check_queue_settings(name, settings)
        silent = settings == UNLIMITED and polling_interval_sec is None
        self._declaration = QueueDeclaration(self.name, None if silent else settings)
        self._find_app: Callable[[], App] = _default_app if app is None else lambda: app
        self._find_app().registry.add_queue(self._declaration)

    def options(
        self,
        *,
        workflow_id: str | None = None,
        priority: int | None = None,
        deduplication_id: str | None = None,
        on_duplicate: OnDuplicate | None = None,
        queue_partition_key: str | None = None,
        delay_seconds: float | None = None,
        start_at: datetime | None = None,
        timeout_seconds: float | None = None,
        app_version: str | None = None,
        connection: Any = None,
    ) -> BoundQueue:
        """Return the queue with options for the enqueues made through it.

        They are those of `EnqueueOptions`, and `workflow_id`: the same id again is the same workflow.

        Raises:
            EnqueueOptionError: an option that no queue takes.
            InvalidWorkflowIdError: the id cannot be one.
        """
        options = EnqueueOptions(
            priority=priority,
            deduplication_id=deduplication_id,
            on_duplicate=on_duplicate,
            queue_partition_key=queue_partition_key,
            delay_seconds=delay_seconds,
            start_at=start_at,
            timeout_seconds=timeout_seconds,
            app_version=app_version,
            connection=connection,
        )
        chosen = None if workflow_id is None else check_chosen_id(workflow_id)
        return BoundQueue(self, check_options(options), chosen)

    def start_of(
        self,
        function: Workflow[..., Any],
        items: Iterable[Item],
        *,
        many: bool,
        options: EnqueueOptions = NO_OPTIONS,
    ) -> Start:
        """Return the start of workflows on this queue.

        Raises:
            UsageError: the function is not a workflow, or an item no tuple of arguments.
        """
        if not isinstance(function, Workflow):
            raise UsageError(
                f"{function!r} is not a workflow. Decorate it with @towpath.workflow() to enqueue it."
            )
        return Start(
            queue=self.name,
            name=function.definition.name,
            items=[function.complete(_item(item)) for item in items],
            declaration=self._declaration,
            options=options,
            many=many,
        )

    def find_app(self) -> App:
        """Return the App that it belongs to."""
        return self._find_app()

    def __repr__(self) -> str:
        return f"Queue({self.name!r})"


class BoundQueue(Enqueuing):
    """A queue with the options of an enqueue."""

    def __init__(self, queue: Queue, options: EnqueueOptions, workflow_id: str | None) -> None:
        self._queue = queue
        self._options = options
        self._workflow_id = workflow_id

    def start_of(self, function: Workflow[..., Any], items: Iterable[Item], *, many: bool) -> Start:
        """As `Queue.start_of`, with the options.

        Raises:
            UsageError: one id for many workflows.
        """
        if self._workflow_id is not None:
            if many:
                raise UsageError("workflow_id= is for one workflow: give each EnqueueItem its own.")
            (only,) = map(_item, items)
            items = [EnqueueItem(only.args, only.kwargs, self._workflow_id)]
        return self._queue.start_of(function, items, many=many, options=self._options)

    def find_app(self) -> App:
        """Return the queue's App."""
        return self._queue.find_app()


def _item(given: object) -> EnqueueItem:
    if isinstance(given, tuple | list):
        return EnqueueItem(given)
    if (
        isinstance(given, EnqueueItem)
        and isinstance(given.args, tuple | list)
        and isinstance(given.kwargs, Mapping)
    ):
        return given
    raise UsageError(
        f"{reprlib.repr(given)} is no item of enqueue_many. Pass a tuple of arguments, as (1, 'a') or "
        "(1,), or an EnqueueItem of a tuple and a dict."
    )


def _polling_interval(name: str, seconds: float | None) -> Any:
    if seconds is None:
        return DEFAULT_POLLING_INTERVAL
    return make_seconds(
        name, "polling_interval_sec", seconds, ALLOWED_POLLING_INTERVAL, MIN_POLLING_INTERVAL,
        MAX_POLLING_INTERVAL,
    )  # fmt: skip


def _default_app() -> App:
    from towpath.api.default import default_app  # noqa: PLC0415 - it is made of this module

    return default_app
