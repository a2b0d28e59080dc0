"""What type checkers must make of the public surface; checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any, assert_type

import psycopg

import towpath
from towpath import (
    App,
    EnqueueItem,
    Queue,
    SetEnqueueOptions,
    WorkflowHandle,
    WorkflowHandleAsync,
)

queue = Queue("email")


@towpath.step(retries=3)
def charge(order: int, *, currency: str = "EUR") -> str:
    """A sync step."""
    return f"{order} {currency}"


@towpath.step(timeout=5)
async def acharge(order: int) -> bytes:
    """An async step."""
    return bytes(order)


@towpath.transaction(isolation="SERIALIZABLE")
def store(connection: psycopg.Connection, order: int, *, paid: bool = False) -> str:
    """A sync transaction: callers omit the connection."""
    connection.execute("SELECT 1")
    return f"{order} {paid}"


@towpath.transaction()
async def astore(connection: psycopg.AsyncConnection, order: int) -> bytes:
    """An async transaction."""
    await connection.execute("SELECT 1")
    return bytes(order)


assert_type(store(1, paid=True), str)
store("no")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
store(None, 1)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
towpath.transaction(isolation="CHAOS")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@towpath.transaction()  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue, reportUntypedFunctionDecorator]
def unlent(order: int) -> int:
    """No transaction: it takes no connection."""
    return order


@towpath.workflow()
def fulfil(order: int, *, fast: bool = False) -> str:
    """A sync workflow."""
    assert_type(charge(order, currency="USD"), str)
    return charge(order) if fast else ""


@towpath.workflow()
async def afulfil(order: int) -> bytes:
    """An async workflow."""
    assert_type(await acharge(order), bytes)
    assert_type(await astore(order), bytes)
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

# many at once: items are loosely typed, handles are not
many = queue.enqueue_many(fulfil, [(1,), EnqueueItem((2,), {"fast": True}, workflow_id="two")])
assert_type(many, list[tuple[WorkflowHandle[str], bool]])
assert_type(queue.enqueue_many(afulfil, ((n,) for n in range(3)))[0][0].get_result(), bytes)
bound = queue.options(priority=5, on_duplicate="return", delay_seconds=1)
assert_type(bound.enqueue_many(afulfil, [(1,)]), list[tuple[WorkflowHandle[bytes], bool]])
queue.enqueue_many(fulfil, [1])  # type: ignore[arg-type, list-item]  # pyright: ignore[reportArgumentType, reportCallIssue]
queue.enqueue_many(fulfil, ["ab"])  # type: ignore[arg-type, list-item]  # pyright: ignore[reportArgumentType, reportCallIssue]
bound.enqueue(fulfil, "no")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


async def bulk() -> None:
    """The async twins."""
    started = await queue.enqueue_many_async(afulfil, [(1,)])
    assert_type(started, list[tuple[WorkflowHandleAsync[bytes], bool]])
    assert_type(await started[0][0].get_result(), bytes)


# options are known by name and type
SetEnqueueOptions(priority=5, deduplication_id="d", queue_partition_key="k", app_version="v1")
SetEnqueueOptions(priority="high")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
SetEnqueueOptions(on_duplicate="ignore")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
queue.options(priorty=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
App().queue("q", concurrency=3, limiter={"limit": 5, "period": 10}, priority_enabled=True)
App().queue("q", concurency=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Queue("q", partition_queue=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
assert_type(towpath.resume_workflow("id"), WorkflowHandle[Any])
