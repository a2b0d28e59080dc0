"""What type checkers must make of the durable verbs; checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any, assert_type

import towpath
from towpath import (
    App,
    Cancelled,
    Client,
    Current,
    Queue,
    ScheduleInfo,
    SetWorkflowTimeout,
    StepInfo,
    VersionInfo,
    WorkflowHandle,
    WorkflowHandleAsync,
    WorkflowInfo,
    WorkflowStatus,
)

queue = Queue("orders", release_while_waiting=True, retention={"succeeded": 60})
app = App()
client = Client("postgresql://db/towpath")
NOW = datetime.now(UTC)


@towpath.schedule("0 9 * * 1-5", timezone="Europe/Berlin", queue=queue, args=["daily"])
@towpath.workflow()
def report(tick: datetime, kind: str) -> int:
    """A schedule keeps its workflow's types."""
    return len(kind) + tick.hour


@app.schedule("* * * * *", queue="orders", backfill=True, name="beat")
@app.workflow()
async def beat(tick: datetime) -> str:
    """An async one."""
    return tick.isoformat()


@towpath.workflow()
def wait(order: int) -> str:
    """Every verb of a sync workflow's own code."""
    towpath.sleep(0.5)
    towpath.send("other", {"order": order}, "topic", idempotency_key="k")
    assert_type(towpath.recv("topic", timeout_seconds=None), Any)
    towpath.set_event("stage", [order])
    assert_type(towpath.get_event("other", "stage", 5), Any)
    towpath.write_stream("progress", 1)
    towpath.close_stream("progress")
    assert_type(towpath.patch("new-way"), bool)
    towpath.deprecate_patch("old-way")
    assert_type(towpath.current(), Current | None)
    return ""


@towpath.workflow()
async def await_all(order: int) -> bytes:
    """Every verb of an async workflow's own code."""
    await towpath.sleep_async(1)
    await towpath.send_async("other", order)
    assert_type(await towpath.recv_async(), Any)
    await towpath.set_event_async("stage", order)
    assert_type(await towpath.get_event_async("other", "stage"), Any)
    await towpath.write_stream_async("progress", order)
    await towpath.close_stream_async("progress")
    assert_type(await towpath.patch_async("new-way"), bool)
    await towpath.deprecate_patch_async("old-way")
    with SetWorkflowTimeout(None):
        child = await towpath.start_workflow_async(wait, order)
    assert_type(child, WorkflowHandleAsync[str])
    return b""


assert_type(report(NOW, "weekly"), int)
assert_type(queue.enqueue(report, NOW, "weekly"), WorkflowHandle[int])
assert_type(app.queue("q").enqueue(beat, NOW).get_result(), str)
assert_type(towpath.read_stream("id", "progress"), Iterator[Any])
assert_type(towpath.read_stream_async("id", "progress"), AsyncIterator[Any])

towpath.sleep("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
towpath.sleep(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
towpath.recv(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
towpath.recv(timeout="5")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
towpath.send("other")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
towpath.send("other", 1, "topic", "key")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
towpath.set_event(1, 2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
towpath.patch()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
SetWorkflowTimeout("1h")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
report(NOW)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
towpath.schedule("* * * * *")(len)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
towpath.schedule("* * * * *", zone="UTC")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Queue("q", retention=60)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
client.recv("topic")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
client.sleep(1)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]

# debouncing keeps the function's arguments and result
saving = queue.debounce("document-7", delay_seconds=1, at_most_seconds=10)
assert_type(saving.enqueue(wait, 7), WorkflowHandle[str])
assert_type(saving.enqueue(await_all, 7).get_result(), bytes)
assert_type(queue.options(priority=5).debounce("k").enqueue(wait, 7), WorkflowHandle[str])
saving.enqueue(wait, "no")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
saving.enqueue(wait)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
queue.debounce(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
queue.debounce("k", seconds=7)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

# managing: the same on the module, an App and a Client
for manager in (app, client):
    assert_type(manager.cancel_workflow("id", cascade=True), Cancelled)
    assert_type(manager.retry_workflow("id"), WorkflowHandle[Any])
    assert_type(manager.retry_workflows(queue_name="orders", limit=10), int)
    assert_type(manager.fork_workflow("id", 3, app_version="v2"), WorkflowHandle[Any])
    assert_type(manager.list_schedules(), list[ScheduleInfo])
    assert_type(manager.trigger_schedule("report"), WorkflowHandle[Any])
    assert_type(manager.promote_version("v2"), bool)
    assert_type(manager.list_versions(), list[VersionInfo])
assert_type(towpath.cancel_workflow("id").was, WorkflowStatus)
assert_type(
    towpath.fork_workflow("id", "start", queue_name="other", new_workflow_id="again"),
    WorkflowHandle[Any],
)
assert_type(towpath.backfill_schedule("report", NOW, NOW), list[tuple[WorkflowHandle[Any], bool]])
page = towpath.list_workflows(
    status=WorkflowStatus.ERROR, name=["a", "b"], completed_after=NOW, has_parent=False, limit=10,
    order="oldest", after="id", load_output=False,
)  # fmt: skip
assert_type(page, list[WorkflowInfo])
assert_type(page[0].forked_from, str | None)
assert_type(towpath.list_workflow_steps("id"), list[StepInfo])
towpath.list_workflows(state="ERROR")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
towpath.list_workflows(order="up")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
towpath.list_workflows(created_after="today")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
towpath.retry_workflows("id")  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
towpath.retry_workflows(queue="orders")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
towpath.fork_workflow("id")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
towpath.fork_workflow("id", 1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def manage() -> None:
    """The async twins, awaited from any loop."""
    assert_type(await client.enqueue_async("orders", "wait", 7), WorkflowHandleAsync[Any])
    assert_type(await saving.enqueue_async(await_all, 7), WorkflowHandleAsync[bytes])
    assert_type(await towpath.cancel_workflow_async("id"), Cancelled)
    assert_type(await towpath.retry_workflow_async("id"), WorkflowHandleAsync[Any])
    assert_type(await towpath.retry_workflows_async(completed_after=NOW), int)
    assert_type(await towpath.fork_workflow_async("id", "3"), WorkflowHandleAsync[Any])
    assert_type(await towpath.list_workflows_async(parent_workflow_id="id"), list[WorkflowInfo])
    assert_type(await towpath.trigger_schedule_async("report"), WorkflowHandleAsync[Any])
    async for value in towpath.read_stream_async("id", "progress"):
        assert_type(value, Any)
    await towpath.read_stream_async("id", "progress")  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    await saving.enqueue_async(wait, b"")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
