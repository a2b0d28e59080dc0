"""Running a step: replayed where it is recorded, else run, recorded, and only then returned.

One coroutine serves both kinds: an async step awaits it on the workflows' loop, a sync step runs it in
its thread, where nothing of it suspends (docs/decisions/0003-one-core-two-faces.md).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from towpath.codec import decode_failure, encode_failure
from towpath.domain.errors import (
    NonDeterminismError,
    StepRetriesExhaustedError,
    StepTimeoutError,
)
from towpath.domain.retry import RetryPolicy
from towpath.executor.boundaries import Moment
from towpath.executor.context import Execution
from towpath.executor.engine import Engine
from towpath.executor.positions import current_branch, in_step
from towpath.store.lending import Verb
from towpath.store.steps import NewStep, RecordedStep

T = TypeVar("T")

LEASE_LOOK = timedelta(seconds=0.05)

_random = random.SystemRandom()  # of our own: an application may have seeded the global one


@dataclass(frozen=True, slots=True)
class StepDefinition:
    """A step function."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    policy: RetryPolicy


class Pace(Protocol):
    """How the caller waits: by suspending, or by blocking its thread."""

    async def until(self, future: concurrent.futures.Future[T]) -> T:
        """Return the future's result."""
        ...

    async def verb(self, engine: Engine, verb: Verb[T]) -> T:
        """Run a verb of the store until it is done, whatever becomes of the connection."""
        ...

    async def record(self, engine: Engine, step: NewStep) -> bool | None:
        """Write a step in the next group commit; None where its attempt has lost its place."""
        ...

    async def pause(self, execution: Execution, length: timedelta) -> None:
        """Let time pass; an interruption of the attempt ends it early."""
        ...


class Suspending:
    """Waits of async code."""

    async def until(self, future: concurrent.futures.Future[T]) -> T:
        """Await the future on the running loop."""
        return await asyncio.wrap_future(future)

    async def verb(self, engine: Engine, verb: Verb[T]) -> T:
        """Await the verb, which runs on the library's loop."""
        return await asyncio.wrap_future(engine.io.submit(engine.persist(verb)))

    async def record(self, engine: Engine, step: NewStep) -> bool | None:
        """Await the commit on the running loop."""
        return await engine.recorder.write(step)

    async def pause(self, execution: Execution, length: timedelta) -> None:
        """Sleep on the running loop."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(over.set)

        execution.begin_wait(wake)
        try:
            async with asyncio.timeout(length.total_seconds()):
                await over.wait()
        except TimeoutError:
            pass
        finally:
            execution.end_wait(wake)


class Blocking:
    """Waits of sync code; they never suspend."""

    async def until(self, future: concurrent.futures.Future[T]) -> T:
        """Block until the future is done."""
        return future.result()

    async def verb(self, engine: Engine, verb: Verb[T]) -> T:
        """Block until the verb, which runs on the library's loop, is done."""
        return engine.io.submit(engine.persist(verb)).result()

    async def record(self, engine: Engine, step: NewStep) -> bool | None:
        """Block until the commit."""
        return engine.recorder.write_blocking(step)

    async def pause(self, execution: Execution, length: timedelta) -> None:
        """Block for a time."""
        over = threading.Event()
        execution.begin_wait(over.set)
        try:
            over.wait(length.total_seconds())
        finally:
            execution.end_wait(over.set)


async def perform(
    execution: Execution,
    position: str,
    definition: StepDefinition,
    invoke: Callable[[], Awaitable[Any]],
    pace: Pace,
) -> Any:
    """Return what the step returned when it was recorded, now or in an earlier attempt.

    Raises:
        NonDeterminismError: another step is recorded at this position.
        WorkflowInterrupted: the attempt must end here.
        Exception: what the step raised, in the form in which it was recorded.
    """
    recorded = replay(execution, position, definition.name)
    if recorded is None:
        execution.check()
        branch = current_branch()
        branch.steps += 1
        try:
            began = time.monotonic()
            output, failure = await _try(execution, definition, invoke, pace)
            took = timedelta(seconds=time.monotonic() - began)
            step = NewStep(
                execution.seq, execution.attempt, position, definition.name, output, failure, took
            )
            await keep(execution, step, pace)
        finally:
            branch.steps -= 1
        recorded = RecordedStep(position, definition.name, output, failure, None)
    return value_of(execution, recorded)


def replay(execution: Execution, position: str, name: str) -> RecordedStep | None:
    """Return what is recorded at a position, None where nothing is.

    Raises:
        NonDeterminismError: something of another name is recorded there.
    """
    recorded = execution.recorded.get(position)
    if recorded is not None and recorded.name != name:
        raise NonDeterminismError(
            workflow_id=execution.workflow_id,
            position=position,
            recorded=recorded.name,
            reached=name,
        )
    return recorded


def value_of(execution: Execution, recorded: RecordedStep) -> Any:
    """Return or raise what a step's record holds."""
    if recorded.failure is not None:
        raise decode_failure(recorded.failure)
    return execution.engine.codec.decode(recorded.output or "null")


async def keep(execution: Execution, step: NewStep, pace: Pace) -> None:
    """Write a step's record and return once it is durable.

    Raises:
        WorkflowInterrupted: the attempt no longer holds its place; nothing was written.
    """
    execution.reach(step.position, step.name, Moment.BEFORE)
    if not await pace.record(execution.engine, step):
        raise execution.fenced()
    execution.reach(step.position, step.name, Moment.AFTER)


async def _try(
    execution: Execution,
    definition: StepDefinition,
    invoke: Callable[[], Awaitable[Any]],
    pace: Pace,
) -> tuple[str | None, str | None]:
    """Run the step's function until it returns or may not be tried again: (output, failure)."""
    tries: list[str] = []
    while True:
        while execution.lease.lapsed:  # until it is renewed, or the attempt interrupted
            await pace.pause(execution, LEASE_LOOK)
            execution.check()
        try:
            with in_step(definition.name):
                value = await _bounded(definition, invoke)
            return execution.engine.codec.encode(value, "result"), None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the step raised is its outcome
            tries.append(f"{type(error).__name__}: {error}")
            if not definition.policy.allows(len(tries), error):
                return None, encode_failure(_final(definition, tries, error))
        length = definition.policy.backoff.pause(len(tries), _random.random())
        length *= execution.engine.length_of_pauses
        await pace.pause(execution, length)
        execution.check()


async def _bounded(definition: StepDefinition, invoke: Callable[[], Awaitable[Any]]) -> Any:
    """Run one try, inside the step's timeout where it has one."""
    limit = definition.policy.timeout
    if limit is None:
        return await invoke()
    timer = asyncio.timeout(limit.total_seconds())
    try:
        async with timer:
            return await invoke()
    except TimeoutError:
        if timer.expired():
            raise StepTimeoutError(
                step_name=definition.name, timeout_seconds=limit.total_seconds()
            ) from None
        raise


def _final(definition: StepDefinition, tries: list[str], error: BaseException) -> BaseException:
    """Return what the step fails with: its own error, or all of them where retries are exhausted."""
    if len(tries) > 1 and len(tries) > definition.policy.retries:
        exhausted = StepRetriesExhaustedError(step_name=definition.name, tries=tries)
        exhausted.__cause__ = error
        return exhausted
    return error
