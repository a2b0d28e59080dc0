"""Timeouts of workflows: when they begin, who has them, and who enforces them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from tests.fixtures.workers import worker_processes
from towpath import App, EnqueueItem, EnqueueOptions, SetEnqueueOptions, SetWorkflowTimeout
from towpath.api.chosen_ids import chosen_timeout
from towpath.errors import EnqueueOptionError, WorkflowCancelledError
from towpath.store import workers

Launch = Callable[..., towpath.Worker]
REASON = "its deadline has passed"


@pytest.fixture
def watch(database_url: str) -> Any:
    """Return a connection that looks at the store."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def deadlines(watch: psycopg.Connection[Any]) -> list[float]:
    """Return the seconds that are left of every deadline, by seq."""
    rows = watch.execute(
        "SELECT extract(epoch FROM due - clock_timestamp())::float8 FROM towpath.deadline ORDER BY seq"
    ).fetchall()
    return [row[0] for row in rows]


def test_code_past_its_deadline_ends_at_its_next_step_boundary(app: App, launched: Launch) -> None:
    """The result tells why; the step that was under way is not cut short, the next never begins."""
    queue = app.queue("orders")
    ran: list[str] = []
    over = threading.Event()

    @app.step()
    def long() -> None:
        ran.append("begun")
        over.wait(20)
        ran.append("ended")

    @app.step()
    def following() -> None:
        ran.append("following")

    @app.workflow(name="order")
    def order() -> None:
        long()
        following()

    launched()
    handle = queue.options(timeout_seconds=0.2).enqueue(order)
    with pytest.raises(WorkflowCancelledError, match=REASON) as caught:
        handle.get_result(timeout=20)
    assert (caught.value.workflow_id, caught.value.reason) == (handle.workflow_id, REASON)
    status = handle.get_status()
    assert (status.status, status.error) == ("CANCELLED", REASON)
    wait_until(lambda: current_place(app) == 1, what="its code has its place still")
    over.set()
    wait_until(lambda: current_place(app) == 0, what="its code has ended")
    assert ran == ["begun", "ended"]


def current_place(app: App) -> int:
    """Count the attempts in this process's worker."""
    worker = app._worker
    assert worker is not None
    return len(worker._dispatcher.active)


def test_a_wait_past_the_deadline_ends_at_once(app: App, launched: Launch) -> None:
    """A workflow that only waits, sync or async, does not wait for its own time."""
    queue = app.queue("orders")

    @app.workflow(name="sleeper")
    def sleeper() -> None:
        app.sleep(600)

    @app.workflow(name="receiver")
    async def receiver() -> None:
        await app.recv_async(timeout_seconds=None)

    launched()
    for handle in (
        queue.options(timeout_seconds=0.2).enqueue(sleeper),
        queue.options(timeout_seconds=0.2).enqueue(receiver),
    ):
        with pytest.raises(WorkflowCancelledError, match=REASON):
            handle.get_result(timeout=20)
    wait_until(lambda: current_place(app) == 0)


def test_the_time_begins_with_the_first_start(
    app: App, launched: Launch, watch: psycopg.Connection[Any]
) -> None:
    """What waits in line, or for its delay, has no deadline yet."""
    queue = app.queue("orders")

    @app.workflow(name="order")
    def order() -> None:
        app.sleep(600)

    queue.options(timeout_seconds=100).enqueue(order)
    queue.options(timeout_seconds=200, delay_seconds=0.1).enqueue(order)
    assert deadlines(watch) == []
    launched()
    wait_until(lambda: len(deadlines(watch)) == 2)
    first, second = deadlines(watch)
    assert 95 < first <= 100
    assert 195 < second <= 200


def test_children_have_the_deadline_of_their_parent_or_their_own_or_none(
    app: App, launched: Launch, watch: psycopg.Connection[Any]
) -> None:
    """Absolute as it is: a child that starts later has no more time."""
    queue = app.queue("orders")
    started: dict[str, str] = {}

    @app.workflow(name="child")
    def child(_: str) -> None:
        app.sleep(600)

    @app.workflow(name="parent")
    def parent() -> None:
        started["inherits"] = queue.enqueue(child, "inherits").workflow_id
        ((many, _),) = queue.enqueue_many(child, [("many",)])
        started["many"] = many.workflow_id
        started["direct"] = app.start_workflow(child, "direct").workflow_id
        with SetWorkflowTimeout(50):
            started["own"] = queue.enqueue(child, "own").workflow_id
        with SetWorkflowTimeout(None):
            started["none"] = queue.enqueue(child, "none").workflow_id
            started["option"] = queue.options(timeout_seconds=60).enqueue(child, "o").workflow_id
        app.sleep(600)

    launched(slots=20)
    with SetWorkflowTimeout(300):
        handle = app.start_workflow(parent)
    wait_until(lambda: len(started) == 6)
    wait_until(lambda: len(deadlines(watch)) == 6)
    left = {
        row[0]: row[1]
        for row in watch.execute(
            "SELECT towpath.id_of(w), d.due FROM towpath.deadline d JOIN towpath.workflow w USING (seq)"
        )
    }
    own = left[handle.workflow_id]
    assert {left[started[n]] for n in ("inherits", "many", "direct")} == {own}
    assert {info.deadline for info in app.list_workflows() if info.name == "parent"} == {own}
    assert started["none"] not in left
    assert 240 < (own - left[started["own"]]).total_seconds() < 260
    assert 230 < (own - left[started["option"]]).total_seconds() < 250


def test_a_parents_deadline_cancels_its_children_too(app: App, launched: Launch) -> None:
    """Each by the deadline that it has inherited, also one that has not begun."""
    queue = app.queue("orders")
    slow = app.queue("slow", concurrency=1)
    started: list[str] = []

    @app.workflow(name="child")
    async def child() -> None:
        await app.sleep_async(600)

    @app.workflow(name="parent")
    async def parent() -> None:
        started.extend([(await slow.enqueue_async(child)).workflow_id for _ in range(2)])
        with SetWorkflowTimeout(None):
            started.append((await queue.enqueue_async(child)).workflow_id)
        await app.sleep_async(600)

    launched()
    with SetEnqueueOptions(timeout_seconds=0.5):
        handle = queue.enqueue(parent)
    with pytest.raises(WorkflowCancelledError, match=REASON):
        handle.get_result(timeout=20)
    for child_id in started[:2]:
        with pytest.raises(WorkflowCancelledError, match=REASON):
            app.retrieve_workflow(child_id).get_result(timeout=20)
    assert app.retrieve_workflow(started[2]).get_status().status == "PENDING"


def test_items_have_their_own_timeouts(
    app: App, launched: Launch, watch: psycopg.Connection[Any]
) -> None:
    """Over that of the call, which is over that of the block; one without any has none."""
    queue = app.queue("orders")

    @app.workflow(name="order")
    def order() -> None:
        app.sleep(600)

    own = EnqueueItem(options=EnqueueOptions(timeout_seconds=100))
    queue.enqueue_many(order, [own, ()])
    with SetWorkflowTimeout(200):
        queue.options(timeout_seconds=300).enqueue_many(order, [own, ()])
        queue.enqueue(order)
    launched()
    wait_until(lambda: len(deadlines(watch)) == 4)
    assert [round(left, -1) for left in deadlines(watch)] == [100, 100, 300, 200]


def test_a_deadline_in_the_callers_own_transaction(
    app: App, launched: Launch, watch: psycopg.Connection[Any], database_url: str
) -> None:
    """It comes with the workflow, when the caller commits; from SQL as well."""
    queue = app.queue("orders")

    @app.workflow(name="order")
    def order() -> None:
        app.sleep(600)

    launched()
    with psycopg.connect(database_url) as connection:
        queue.options(timeout_seconds=0.2, connection=connection).enqueue(order)
        connection.execute(
            "SELECT towpath.enqueue(workflow => 'order', queue => 'orders', timeout_seconds => 0.2)"
        )
    wait_until(
        lambda: [info.error for info in app.list_workflows()] == [REASON, REASON],
        what="both are cancelled",
    )
    with pytest.raises(psycopg.Error, match="above 0") as caught:
        watch.execute("SELECT towpath.enqueue('orders', 'order', timeout_seconds => 0)")
    assert caught.value.sqlstate == "TP003"


def test_a_recovery_keeps_the_deadline_and_any_worker_enforces_it(
    app: App, launched: Launch, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker that began it is killed; another, which serves another queue, cancels in time."""
    monkeypatch.setenv("TOWPATH_LEASE_SECONDS", "1")
    (tmp_path / "stuck.py").write_text(
        "import time, towpath\n"
        "queue = towpath.Queue('stuck')\n"
        "@towpath.workflow(name='order')\n"
        "def order() -> None:\n"
        "    time.sleep(600)\n"
    )
    environ = {"TOWPATH_DATABASE_URL": database_url, "TOWPATH_LEASE_SECONDS": "1"}
    app.queue("other")
    launched()
    with (
        worker_processes(1, "stuck", tmp_path, environ, tmp_path) as (process,),
        towpath.Client(database_url) as client,
        SetWorkflowTimeout(4),
    ):
        wait_until(lambda: queue_is_there(client))
        handle = client.enqueue("stuck", "order")
        wait_until(lambda: handle.get_status().status == "PENDING")
        began = time.monotonic()
        process.kill()
        wait_until(lambda: handle.get_status().status == "ENQUEUED", what="it is recovered")
        with pytest.raises(WorkflowCancelledError, match=REASON):
            handle.get_result(timeout=20)
        assert 2 < time.monotonic() - began < 15


def queue_is_there(client: towpath.Client) -> bool:
    """Tell whether the worker process has made its queue."""
    try:
        client.enqueue("stuck", "unknown")
    except towpath.errors.QueueNotFoundError:
        return False
    return True


def test_a_resume_clears_the_deadline(
    app: App, launched: Launch, watch: psycopg.Connection[Any]
) -> None:
    """Whoever resumes it wants it to end: it has all the time, and ends."""
    queue = app.queue("orders")

    @app.workflow(name="order")
    def order() -> str:
        return str(app.recv("go", timeout_seconds=600))

    launched()
    handle = queue.options(timeout_seconds=0.2).enqueue(order)
    with pytest.raises(WorkflowCancelledError):
        handle.get_result(timeout=20)
    wait_until(lambda: current_place(app) == 0)
    app.resume_workflow(handle.workflow_id)
    wait_until(lambda: handle.get_status().status == "PENDING")
    assert deadlines(watch) == []
    app.send(handle.workflow_id, "went", "go")
    assert handle.get_result(timeout=20) == "went"


def test_the_deadlines_of_what_has_ended_hold_up_nobody(
    app: App, launched: Launch, watch: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go in batches, one after the other, when their time has come."""
    monkeypatch.setattr(workers, "EXPIRED_AT_ONCE", 10)
    queue = app.queue("orders")

    @app.workflow(name="order")
    def order(*, waits: bool) -> None:
        if waits:
            app.sleep(600)

    launched()
    items = [EnqueueItem(kwargs={"waits": False}) for _ in range(100)]
    queue.options(timeout_seconds=1).enqueue_many(order, items)
    late = queue.options(timeout_seconds=1.5).enqueue(order, waits=True)
    began = time.monotonic()
    with pytest.raises(WorkflowCancelledError, match=REASON):
        late.get_result(timeout=20)
    assert time.monotonic() - began < 8
    assert deadlines(watch) == []
    statuses = [info.status for info in app.list_workflows(limit=200)]
    assert statuses.count(towpath.WorkflowStatus.SUCCESS) == 100


def test_an_async_block_holds_for_its_own_task() -> None:
    """Blocks nest, and a task beside them has none."""

    async def beside() -> float | None:
        return chosen_timeout()

    async def main() -> list[float | None]:
        task = asyncio.create_task(beside())
        seen = []
        with SetWorkflowTimeout(5):
            with SetWorkflowTimeout(None):
                seen.append(chosen_timeout())
            seen.append(chosen_timeout())
        return [*seen, chosen_timeout(), await task]

    assert asyncio.run(main()) == [0.0, 5.0, None, None]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e12, "5", True])
def test_what_is_no_timeout_is_refused_before_anything_is_written(app: App, seconds: Any) -> None:
    """By each of the ways to ask for one, with the same words."""
    queue = app.queue("orders")
    for ask in (
        lambda: SetWorkflowTimeout(seconds),
        lambda: SetEnqueueOptions(timeout_seconds=seconds),
        lambda: queue.options(timeout_seconds=seconds),
    ):
        with pytest.raises(EnqueueOptionError, match=r"timeout_seconds is .* seconds above 0"):
            ask()
