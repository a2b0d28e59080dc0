"""Running one attempt of a workflow, in a thread or on the workflows' loop, to its outcome."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Sequence

from towpath.codec import encode_failure, read_call
from towpath.domain.errors import WorkflowInterrupted
from towpath.domain.status import WorkflowStatus
from towpath.executor.boundaries import Moment
from towpath.executor.context import Execution, enter
from towpath.executor.engine import Engine
from towpath.executor.registry import WorkflowDefinition
from towpath.executor.threads import WorkerThreads
from towpath.store.claims import Outcome

Finished = Callable[[Execution, Outcome | None], None]
"""Takes an attempt that has ended, from any thread; None where it was interrupted."""

# A task that comes out of a step tells nobody.
LOOK_SECONDS = 0.05

logger = logging.getLogger("towpath.workflow")


class WorkflowRunner:
    """Starts attempts; called on the library's loop."""

    def __init__(self, engine: Engine, finished: Finished) -> None:
        self._engine = engine
        self._finished = finished
        self._threads = WorkerThreads(asyncio.get_running_loop())
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, attempts: Sequence[tuple[Execution, WorkflowDefinition]]) -> None:
        """Begin to run attempts whose recorded steps are loaded."""
        jobs = []
        coroutines = []
        for execution, definition in attempts:
            if definition.is_async:
                coroutines.append((execution, definition))
            else:
                jobs.append(_Job(self, execution, definition))
        if jobs:
            # where a limiter dates the starts, none may wait for a thread
            at_once = sum(execution.begin_by is not None for execution, _ in attempts)
            self._threads.submit(jobs, at_once=at_once)
        if coroutines:
            self._engine.workflow_loop.loop.call_soon_threadsafe(self._start_tasks, coroutines)

    def _start_tasks(self, attempts: Sequence[tuple[Execution, WorkflowDefinition]]) -> None:
        loop = asyncio.get_running_loop()
        for execution, definition in attempts:
            context = contextvars.Context()
            context.run(enter, execution)
            task = asyncio.Task(self._run_async(execution, definition), loop=loop, context=context)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run_async(self, execution: Execution, definition: WorkflowDefinition) -> None:
        outcome: Outcome | None = None
        try:
            args, kwargs = read_call(
                self._engine.codec, execution.codec, execution.input, definition.function
            )
            execution.check_start()
            value = await definition.function(*args, **kwargs)
            outcome = self._success(execution, value)
        except BaseException as error:  # noqa: BLE001 - every end of user code is an outcome
            outcome = self._failure(execution, error)
        finally:
            try:
                await _end_tasks(execution)
            finally:
                self._hand_in(execution, outcome)

    def run_sync(self, execution: Execution, definition: WorkflowDefinition) -> None:
        """Run an attempt of a sync workflow in the caller's thread and context."""
        outcome: Outcome | None = None
        try:
            enter(execution)
            args, kwargs = read_call(
                self._engine.codec, execution.codec, execution.input, definition.function
            )
            execution.check_start()
            value = definition.function(*args, **kwargs)
            outcome = self._success(execution, value)
        except BaseException as error:  # noqa: BLE001 - as above
            outcome = self._failure(execution, error)
        finally:
            self._hand_in(execution, outcome)

    def _hand_in(self, execution: Execution, outcome: Outcome | None) -> None:
        """The attempt has ended; where it crashes before this is written, nobody hears of the outcome."""
        try:
            if outcome is not None:
                execution.reach("", execution.name, Moment.BEFORE)
        except WorkflowInterrupted:
            outcome = None
        self._finished(execution, outcome)

    def _success(self, execution: Execution, value: object) -> Outcome | None:
        if execution.raised:
            # the code swallowed the interruption: what it returned was not computed to its end
            return None
        output = self._engine.codec.encode(value, "result")
        return Outcome(
            execution.seq, execution.attempt, execution.queue, WorkflowStatus.SUCCESS, output
        )

    def _failure(self, execution: Execution, error: BaseException) -> Outcome | None:
        if isinstance(error, WorkflowInterrupted) or execution.raised:
            return None
        logger.info(
            "workflow failed",
            extra={
                "workflow_id": execution.workflow_id,
                "queue": execution.queue,
                "workflow": execution.name,
                "attempt": execution.attempt,
                "error_type": type(error).__name__,
            },
        )
        return Outcome(
            execution.seq,
            execution.attempt,
            execution.queue,
            WorkflowStatus.ERROR,
            encode_failure(error),
        )

    def close(self) -> None:
        """Let idle threads end."""
        self._threads.close()


async def _end_tasks(execution: Execution) -> None:
    """End the tasks that outlive the code that made them: only then has the attempt ended.

    They are cancelled. But an attempt that was interrupted lets a step come to its record first, so that
    the next attempt need not run it again.
    """
    asked: set[asyncio.Task[None]] = set()
    while execution.branch is not None and (left := execution.branch.tasks):
        for branch, task in left:
            spared = execution.interruption is not None and branch.in_step
            if task not in asked and not spared:
                asked.add(task)
                task.cancel()
        await asyncio.wait(
            [task for _, task in left], timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )


class _Job:
    """One attempt of a sync workflow, in a context of its own."""

    __slots__ = ("_definition", "_execution", "_runner")

    def __init__(
        self, runner: WorkflowRunner, execution: Execution, definition: WorkflowDefinition
    ) -> None:
        self._runner = runner
        self._execution = execution
        self._definition = definition

    def __call__(self) -> None:
        contextvars.Context().run(self._runner.run_sync, self._execution, self._definition)
