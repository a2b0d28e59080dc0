"""What type checkers must make of the public surface; checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import assert_type

import towpath
from towpath import Queue, WorkflowHandle, WorkflowHandleAsync

queue = Queue("email")


@towpath.step(retries=3)
def charge(order: int, *, currency: str = "EUR") -> str:
    """A sync step."""
    return f"{order} {currency}"


@towpath.step(timeout=5)
async def acharge(order: int) -> bytes:
    """An async step."""
    return bytes(order)


@towpath.workflow()
def fulfil(order: int, *, fast: bool = False) -> str:
    """A sync workflow."""
    assert_type(charge(order, currency="USD"), str)
    return charge(order) if fast else ""


@towpath.workflow()
async def afulfil(order: int) -> bytes:
    """An async workflow."""
    assert_type(await acharge(order), bytes)
    handle = await queue.enqueue_async(fulfil, order, fast=True)
    assert_type(handle, WorkflowHandleAsync[str])
    assert_type(await handle.get_result(timeout=1), str)
    return await acharge(order)


assert_type(queue.enqueue(fulfil, 1, fast=True), WorkflowHandle[str])
assert_type(queue.enqueue(fulfil, 1).get_result(), str)
assert_type(queue.enqueue(afulfil, 1), WorkflowHandle[bytes])
assert_type(queue.options(workflow_id="a").enqueue(afulfil, 1).get_result(timeout=2), bytes)
assert_type(towpath.start_workflow(fulfil, 1), WorkflowHandle[str])
assert_type(towpath.start_workflow(afulfil, 1), WorkflowHandle[bytes])
assert_type(fulfil(1), str)

queue.enqueue(fulfil, "no")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
queue.enqueue(fulfil)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
queue.enqueue(fulfil, 1, slow=True)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
queue.enqueue(afulfil, None)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
towpath.start_workflow(fulfil, b"")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
charge("no")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
