"""Durable waits: the worker's slot is given back, the queue's place is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from towpath.domain.errors import ResultTimeoutError
from towpath.domain.ids import Seq, WorkflowId
from towpath.executor.context import Execution
from towpath.executor.engine import Engine
from towpath.store.workflows import EndedWorkflow

T = TypeVar("T")


async def wait_without_slot(execution: Execution, waited: Coroutine[Any, Any, T]) -> T:
    """Await something in a workflow's name, on the library's loop, while others use its slot.

    Raises:
        WorkflowInterrupted: the attempt was interrupted while it waited.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(waited)
    execution.seat.begin_wait()

    def wake() -> None:
        loop.call_soon_threadsafe(task.cancel)

    execution.begin_wait(wake)
    try:
        return await task
    except asyncio.CancelledError:
        execution.check()
        raise
    finally:
        execution.end_wait(wake)
        await execution.seat.end_wait(interrupted=execution.interruption is not None)


async def wait_for_end(
    engine: Engine, seq: Seq, workflow_id: WorkflowId, timeout_seconds: float | None
) -> EndedWorkflow:
    """Return how a workflow ended, on the library's loop.

    Raises:
        ResultTimeoutError: it did not end in time.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            return await engine.watcher.wait(seq)
    except TimeoutError:
        raise ResultTimeoutError(
            workflow_id=workflow_id, timeout_seconds=timeout_seconds or 0
        ) from None
