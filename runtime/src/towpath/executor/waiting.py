"""Durable waits of workflows: the worker's slot is given back, the queue's place is kept."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from towpath.domain.errors import ConcurrentReceiveError, NonDeterminismError
from towpath.executor.boundaries import Moment
from towpath.executor.context import Execution, OpenWait
from towpath.executor.engine import Engine
from towpath.executor.positions import current_branch
from towpath.executor.steps import Pace
from towpath.store.waits import STALE, Begun, Look, Wait, WaitKind

T = TypeVar("T")

# The end of a workflow that comes as soon needs no row in Postgres to be waited for.
UNWRITTEN_SECONDS = 0.02


async def wait_durably(execution: Execution, wait: Wait, pace: Pace) -> Look:
    """Return how a wait of a workflow has ended; what it is recorded as is the caller's to write.

    Raises:
        ConcurrentReceiveError: another branch receives from the same topic at this moment.
        NonDeterminismError: another kind of wait was begun at this position.
        WorkflowInterrupted: the attempt must end here, or no longer holds its place.
    """
    execution.check()
    execution.reach(wait.position, wait.verb, Moment.WAIT)
    opened = _open(execution, wait)
    branch = current_branch()
    branch.waits += 1
    try:
        look = await pace.until(execution.engine.io.submit(_wait(execution, opened)))
    finally:
        branch.waits -= 1
        execution.open_waits.pop(wait.position, None)
    if look.state == STALE:
        raise execution.fenced()
    return look


def _open(execution: Execution, wait: Wait) -> OpenWait:
    if wait.kind is WaitKind.MESSAGE and any(
        o.wait.kind is WaitKind.MESSAGE and o.wait.topic == wait.topic
        for o in list(execution.open_waits.values())
    ):
        raise ConcurrentReceiveError(workflow_id=execution.workflow_id, topic=wait.topic)
    opened = execution.open_waits[wait.position] = OpenWait(wait, time.monotonic())
    return opened


async def _wait(execution: Execution, opened: OpenWait) -> Look:
    """Look, and where it is not over yet, wait for it without the slot; on the library's loop."""
    engine, wait = execution.engine, opened.wait
    if wait.kind is not WaitKind.TIME:
        look = await engine.hub.look(wait)
        if look.state is not None:
            return look
    return await _without_slot(execution, _until_over(execution, opened))


async def _until_over(execution: Execution, opened: OpenWait) -> Look:
    engine, wait = execution.engine, opened.wait
    if wait.kind is WaitKind.END and wait.seconds is None:
        try:
            async with asyncio.timeout(UNWRITTEN_SECONDS):
                return await engine.hub.wait(wait, None)
        except TimeoutError:
            pass
    beginning = engine.beginner.add(wait)
    try:
        return await _write_and_wait(execution, opened, beginning)
    except asyncio.CancelledError:
        if execution.interruption is None:  # the code no longer wants it; nobody else will
            beginning.add_done_callback(
                lambda _: engine.dropper.add(wait)
            )  # not before it is there
        raise


async def _write_and_wait(
    execution: Execution, opened: OpenWait, beginning: concurrent.futures.Future[Begun | None]
) -> Look:
    engine, wait = execution.engine, opened.wait
    begun = await asyncio.wrap_future(beginning)
    if begun is None:
        return Look(STALE, None, None)
    if begun.verb != wait.verb:
        raise NonDeterminismError(
            workflow_id=execution.workflow_id,
            position=wait.position,
            recorded=begun.verb,
            reached=wait.verb,
        )
    opened.written = True
    execution.reach(wait.position, wait.verb, Moment.WAITS)
    return await engine.hub.wait(wait, begun.seconds)


async def wait_outside_for(
    execution: Execution, engine: Engine, waited: Coroutine[Any, Any, T]
) -> T:
    """Await something of another database in a workflow's name: without its slot, but in memory."""
    execution.check()

    async def abroad() -> T:
        return await asyncio.wrap_future(engine.io.submit(waited))

    return await _without_slot(execution, abroad())


async def _without_slot(execution: Execution, waited: Coroutine[Any, Any, T]) -> T:
    """Await something in a workflow's name, on the library's loop, while others use its slot.

    Raises:
        WorkflowInterrupted: the attempt was interrupted while it waited.
    """
    loop, waiting = asyncio.get_running_loop(), asyncio.current_task()
    task = loop.create_task(waited)
    execution.seat.begin_wait()

    def wake() -> None:
        loop.call_soon_threadsafe(task.cancel)

    execution.begin_wait(wake)
    try:
        return await task
    except asyncio.CancelledError:
        if waiting is None or not waiting.cancelling():  # else the code itself no longer wants it
            execution.check_wait()
        raise
    finally:
        execution.end_wait(wake)
        await execution.seat.end_wait(interrupted=execution.interruption is not None)
