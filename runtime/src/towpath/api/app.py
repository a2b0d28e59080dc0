"""App: one of the four places where things are wired.

Everything hangs on one; the module-level names of `towpath` are those of a default App.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from importlib import metadata
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from towpath.api.connection import choose_codec, find_engine_settings
from towpath.api.functions import Step, Workflow, is_async_function
from towpath.api.handle import WorkflowHandle, WorkflowHandleAsync
from towpath.api.managing import ManagesWorkflows
from towpath.api.messaging import ReceivesMessages, SendsMessages
from towpath.api.options import EnqueueItem
from towpath.api.own_transaction import write_on_connection, write_on_connection_async
from towpath.api.patching import PatchesWorkflows
from towpath.api.queue import Queue, QueueOptions
from towpath.api.schedules import DeclaresSchedules, ManagesSchedules
from towpath.api.starting import (
    Start,
    Started,
    import_guard,
    prepare,
    start_children,
    write_root,
)
from towpath.api.streams import ReadsStreams, WritesStreams
from towpath.api.transactions import TransactionDecorator
from towpath.api.versions import ManagesVersions
from towpath.codec import Codec
from towpath.domain.errors import AlreadyLaunchedError, ConfigurationError
from towpath.domain.ids import INTERNAL_QUEUE, QueueName, WorkflowName
from towpath.domain.queue import check_queue_name
from towpath.domain.retry import Backoff, RetryPolicy
from towpath.executor.context import refuse_blocking, running_in_workflow
from towpath.executor.engine import Engine
from towpath.executor.registry import (
    QueueDeclaration,
    Registry,
    WorkflowDefinition,
    check_name,
    name_of,
    place_of,
)
from towpath.executor.settings import read_worker_settings
from towpath.executor.steps import Blocking, StepDefinition, Suspending
from towpath.executor.worker import Worker
from towpath.store.enqueue import Enqueued
from towpath.store.session import run_blocking
from towpath.store.transactions import Isolation

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

DEFAULT_MAX_RECOVERY_ATTEMPTS = 100
EXIT_SECONDS = 2.0
_INTERNAL = QueueDeclaration(INTERNAL_QUEUE, None)


class App(
    ManagesWorkflows, ManagesSchedules, ManagesVersions, DeclaresSchedules, PatchesWorkflows,
    SendsMessages, ReceivesMessages, ReadsStreams, WritesStreams,
):  # fmt: skip
    """Workflows, queues and a connection.

    Args:
        database_url: A Postgres URI; the environment, or the folder's `towpath dev`, names one else.
        schema: The schema; TOWPATH_SCHEMA or `towpath` unless given.
        codec: How values are recorded; JSON unless given.
        max_value_bytes: The largest arguments, result or step that JSON records;
            TOWPATH_MAX_VALUE_BYTES or 16 MiB unless given. A codec that is given bounds its own.

    Raises:
        ConfigurationError: max_value_bytes is not allowed.
    """

    def __init__(
        self,
        *,
        database_url: str | None = None,
        schema: str | None = None,
        codec: Codec | None = None,
        max_value_bytes: int | None = None,
    ) -> None:
        self.registry = Registry()
        self._database_url = database_url
        self._schema = schema
        self._codec = choose_codec(codec, max_value_bytes)
        self._lock = threading.RLock()
        self._engine: Engine | None = None
        self._worker: Worker | None = None
        self._worker_pid = 0

    # -- declaring

    def workflow(
        self,
        *,
        name: str | None = None,
        max_recovery_attempts: int | None = DEFAULT_MAX_RECOVERY_ATTEMPTS,
    ) -> Callable[[Callable[P, R]], Workflow[P, R]]:
        """Make a function, sync or async, a workflow.

        Args:
            name: The name under which workers know it; the function's `__qualname__` unless given.
            max_recovery_attempts: After more recoveries than this without a new step it is given up.

        Raises:
            DuplicateNameError: another function has the name.
        """
        if max_recovery_attempts is not None and (
            type(max_recovery_attempts) is not int or max_recovery_attempts < 0
        ):
            raise ConfigurationError(
                f"max_recovery_attempts is {max_recovery_attempts!r}; allowed is an int, 0 or more."
            )

        def decorate(function: Callable[P, R]) -> Workflow[P, R]:
            definition = WorkflowDefinition(
                WorkflowName(name_of(function, name, kind="workflow")),
                function,
                is_async_function(function),
                max_recovery_attempts,
                place_of(function),
            )
            self.registry.add_workflow(definition)
            return Workflow(self, definition)

        return decorate

    def step(
        self,
        *,
        name: str | None = None,
        retries: int = 0,
        backoff: Backoff | None = None,
        should_retry: Callable[[Exception], bool] | None = None,
        timeout: float | None = None,
    ) -> Callable[[Callable[P, R]], Step[P, R]]:
        """Make a function, sync or async, a step: in a workflow its result is recorded and replayed.

        Args:
            name: The name in the record; the function's `__qualname__` unless given.
            retries: Tries after the first; 0 is none.
            backoff: The pauses between tries.
            should_retry: Tells whether an error is worth another try; every Exception is unless given.
            timeout: Seconds for one try; async steps only.

        Raises:
            ConfigurationError: a value is not allowed.
        """
        policy = RetryPolicy(
            retries=retries,
            backoff=backoff or Backoff(),
            should_retry=should_retry,
            timeout=None if timeout is None else timedelta(seconds=timeout),
        )

        def decorate(function: Callable[P, R]) -> Step[P, R]:
            is_async = is_async_function(function)
            if timeout is not None and not is_async:
                raise ConfigurationError(
                    f"step {function.__qualname__!r} is sync, and code that blocks cannot be timed "
                    "out. Make it async, or use its own library's timeout."
                )
            chosen = check_name(name if name is not None else function.__qualname__, kind="step")
            return Step(self, StepDefinition(chosen, function, is_async, policy))

        return decorate

    def transaction(
        self,
        *,
        isolation: Isolation = "READ COMMITTED",
        name: str | None = None,
        database_url: str | None = None,
    ) -> TransactionDecorator:
        """Make a function a transactional step: what it writes and its record commit together, once.

        Its first parameter receives a psycopg.Connection, or an AsyncConnection where it is async;
        callers omit it. It must not commit or roll back. Conflicts with other transactions are retried.

        Args:
            isolation: "READ COMMITTED", "REPEATABLE READ" or "SERIALIZABLE".
            name: The name in the record; the function's `__qualname__` unless given.
            database_url: Another login to the App's own database, checked at launch.

        Raises:
            ConfigurationError: a value is not allowed.
        """
        return TransactionDecorator(self, isolation=isolation, name=name, database_url=database_url)

    def queue(self, name: str, **options: Unpack[QueueOptions]) -> Queue:
        """Return a `Queue` of this App; the options are those of `Queue`, which also says what it raises."""
        return Queue(name, **options, app=self)

    # -- starting

    def start(self, start: Start) -> WorkflowHandle[Any]:
        """Start a workflow and return its handle; in a workflow it is a child, started once."""
        ((handle, _),) = self.start_many(start)
        return handle

    def start_many(self, start: Start) -> list[tuple[WorkflowHandle[Any], bool]]:
        """Start workflows, all or none, and return their handles and which of them are new."""
        refuse_blocking("enqueue", "queue.enqueue_async(...)")
        import_guard.check()
        engine = self.engine
        prepared = prepare(engine, start)
        started: Sequence[Started | Enqueued]
        try:
            execution = running_in_workflow()
            if execution is not None:
                started = run_blocking(start_children(execution, prepared, Blocking()))
            elif prepared.connection is not None:
                started = write_on_connection(engine, prepared)
            else:
                started = engine.run(lambda session: write_root(session, engine, prepared))
        except BaseException:
            prepared.failed()
            raise
        if prepared.connection is None:
            self._call_own_worker(start.queue)
        return [
            (WorkflowHandle(lambda: self.engine, s.workflow_id, s.seq), s.created) for s in started
        ]

    async def start_async(self, start: Start) -> WorkflowHandleAsync[Any]:
        """As `start`, awaited from any loop."""
        ((handle, _),) = await self.start_many_async(start)
        return handle

    async def start_many_async(self, start: Start) -> list[tuple[WorkflowHandleAsync[Any], bool]]:
        """As `start_many`, awaited from any loop."""
        import_guard.check()
        engine = self.engine
        prepared = prepare(engine, start)
        started: Sequence[Started | Enqueued]
        try:
            execution = running_in_workflow()
            if execution is not None:
                started = await start_children(execution, prepared, Suspending())
            elif prepared.connection is not None:
                started = await write_on_connection_async(engine, prepared)
            else:
                started = await engine.run_async(lambda own: write_root(own, engine, prepared))
        except BaseException:
            prepared.failed()
            raise
        if prepared.connection is None:
            self._call_own_worker(start.queue)
        return [
            (WorkflowHandleAsync(lambda: self.engine, s.workflow_id, s.seq), s.created)
            for s in started
        ]

    @overload
    def start_workflow(
        self, function: Workflow[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> WorkflowHandle[T]: ...
    @overload
    def start_workflow(
        self, function: Workflow[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> WorkflowHandle[T]: ...
    def start_workflow(
        self, function: Workflow[..., Any], *args: Any, **kwargs: Any
    ) -> WorkflowHandle[Any]:
        """Start a workflow outside of every declared queue; any worker may run it, this one first."""
        return self.start(_direct(function, args, kwargs))

    @overload
    async def start_workflow_async(
        self, function: Workflow[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> WorkflowHandleAsync[T]: ...
    @overload
    async def start_workflow_async(
        self, function: Workflow[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> WorkflowHandleAsync[T]: ...
    async def start_workflow_async(
        self, function: Workflow[..., Any], *args: Any, **kwargs: Any
    ) -> WorkflowHandleAsync[Any]:
        """As `start_workflow`, awaited from any loop."""
        return await self.start_async(_direct(function, args, kwargs))

    # -- the worker of this process

    def launch(
        self,
        database_url: str | None = None,
        *,
        schema: str | None = None,
        queues: Sequence[str | Queue] | None = None,
        slots: int | None = None,
    ) -> Worker:
        """Make this process a worker, in the background, and return at once.

        Args:
            database_url: A Postgres URI; found as for every other call unless given.
            schema: The schema.
            queues: The queues to serve; every one declared in the process unless given (or
                TOWPATH_QUEUES); an empty list serves none.
            slots: How many workflows run at once.

        Raises:
            AlreadyLaunchedError: it is launched already.
            NotConfiguredError: no database is named anywhere.
        """
        with self._lock:
            if self._worker is not None and self._worker_pid == os.getpid():
                raise AlreadyLaunchedError
            if database_url is not None or schema is not None:
                self._database_url = database_url or self._database_url
                self._schema = schema or self._schema
                self._close_engine()
            settings = read_worker_settings(os.environ)
            changes: dict[str, Any] = {}
            if queues is not None:
                changes["queues"] = [
                    q.name if isinstance(q, Queue) else check_queue_name(q) for q in queues
                ]
            if slots is not None:
                changes["slots"] = slots
            self.engine.may_migrate = settings.migrate
            worker = Worker(
                self.engine, settings.changed(**changes), library=metadata.version("towpath")
            )
            self._worker, self._worker_pid = worker, os.getpid()
            if worker.queues:
                worker.start()
            atexit.register(self._at_exit)
            return worker

    def shutdown(self, drain: float | None = None) -> None:
        """Stop the worker of this process, if there is one, and close the connections.

        Args:
            drain: Seconds for running workflows to end; after that they are handed back at their next
                step boundary. TOWPATH_DRAIN_SECONDS (30) unless given.
        """
        self._shutdown(None if drain is None else timedelta(seconds=drain))

    def _shutdown(self, drain: timedelta | None, patience: float | None = None) -> None:
        worker = self._worker
        if worker is not None and self._worker_pid == os.getpid():
            # a second caller, also a signal's handler in the midst of the first, waits here as well
            worker.stop(drain, patience=patience)
        with self._lock:
            if self._worker is worker:
                self._worker = None
                self._close_engine()
        atexit.unregister(self._at_exit)

    def _at_exit(self) -> None:
        """The interpreter ends: it waits a moment for step boundaries, others take over the rest."""
        if self._worker is not None and self._worker_pid == os.getpid():
            self._shutdown(timedelta(0), EXIT_SECONDS)

    @property
    def engine(self) -> Engine:
        """The connections and loops of this process; the first use finds the database.

        Raises:
            NotConfiguredError: no database is named anywhere.
        """
        engine = self._engine
        if engine is not None and engine.pid == os.getpid():
            return engine
        with self._lock:
            if self._engine is None or self._engine.pid != os.getpid():
                settings = find_engine_settings(self._database_url, self._schema)
                self._engine = Engine(settings, self._codec, self.registry)
            return self._engine

    def _close_engine(self) -> None:
        if self._engine is not None:
            self._engine.close()
        self._engine = None

    def _call_own_worker(self, queue: QueueName) -> None:
        worker = self._worker
        if worker is not None and self._worker_pid == os.getpid():
            worker.call(queue)


def _direct(function: Workflow[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Start:
    return Start(
        queue=INTERNAL_QUEUE,
        name=function.definition.name,
        items=[function.complete(EnqueueItem(args, kwargs))],
        declaration=_INTERNAL,
    )
