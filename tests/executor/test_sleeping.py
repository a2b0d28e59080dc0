"""Workflows that wait out of memory: their places, what wakes them, and what they cost."""

from __future__ import annotations

import asyncio
import logging
import resource
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from towpath import App, EnqueueItem, EnqueueOptions, Queue, WorkflowHandle
from towpath.executor import sleeping

Launch = Callable[..., towpath.Worker]
Watch = psycopg.Connection[Any]
logger = logging.getLogger(__name__)

LONG_ENOUGH = 3.0
"""Seconds. The workflow is asleep well before they are over, on a busy machine too."""


@pytest.fixture
def watch(database_url: str) -> Iterator[Watch]:
    """Return a connection that looks at the store."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def sleepy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workflows go to sleep as soon as they wait."""
    monkeypatch.setattr(sleeping, "LOADED_SECONDS", 0.0)
    monkeypatch.setattr(sleeping, "LOOK_SECONDS", 0.02)


def asleep(watch: Watch) -> int:
    """Count the places of workflows that nobody runs."""
    return count(watch, "SELECT count(*) FROM towpath.running WHERE worker = 0")


def count(watch: Watch, query: str) -> int:
    """Return a query's count."""
    row = watch.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def active(app: App) -> int:
    """Count the attempts in this process's worker."""
    worker = app._worker
    assert worker is not None
    return len(worker._dispatcher.active)


@pytest.mark.usefixtures("sleepy")
def test_a_sleeping_workflow_keeps_its_place(app: App, launched: Launch, watch: Watch) -> None:
    """PENDING without a worker; the queue's concurrency counts it, and this process does not."""
    queue = app.queue("orders", concurrency=2)

    @app.workflow(name="order")
    def order() -> str:
        return str(app.recv("go", timeout_seconds=None))

    launched()
    handles = [queue.enqueue(order) for _ in range(3)]
    wait_until(lambda: asleep(watch) == 2)
    assert [str(h.get_status().status) for h in handles] == ["PENDING", "PENDING", "ENQUEUED"]
    assert handles[0].get_status().worker is None
    assert active(app) == 0
    app.send(handles[0].workflow_id, "went", "go")
    assert handles[0].get_result(timeout=20) == "went"
    wait_until(lambda: asleep(watch) == 2, what="the third has the place")
    for handle in handles[1:]:
        app.send(handle.workflow_id, "went", "go")
        assert handle.get_result(timeout=20) == "went"


@pytest.mark.usefixtures("sleepy")
@pytest.mark.parametrize("waited_for", ["message", "event", "end", "time", "timeout"])
def test_what_is_waited_for_wakes_a_sleeping_workflow(
    app: App, launched: Launch, watch: Watch, waited_for: str
) -> None:
    """It goes on as a new attempt, without a recovery and without a start of the limiter."""
    queue = app.queue("orders", limiter={"limit": 100, "period": 3600})
    others = app.queue("others")

    @app.workflow(name="other")
    def other() -> str:
        app.recv("go", timeout_seconds=None)
        app.set_event("state", "come")
        return "come"

    @app.workflow(name="order")
    async def order(workflow_id: str) -> str | None:
        if waited_for == "message":
            await app.recv_async("in", timeout_seconds=None)
        elif waited_for == "event":
            return str(await app.get_event_async(workflow_id, "state", None))
        elif waited_for == "end":
            found = await app.retrieve_workflow_async(workflow_id)
            return str(await found.get_result())
        elif waited_for == "time":
            await app.sleep_async(LONG_ENOUGH)
        else:
            assert await app.recv_async("in", timeout_seconds=LONG_ENOUGH) is None
        return "come"

    launched()
    awaited = others.enqueue(other)
    wait_until(lambda: asleep(watch) == 1)
    handle = queue.enqueue(order, awaited.workflow_id)
    wait_until(lambda: asleep(watch) == 2)
    if waited_for == "message":
        app.send(handle.workflow_id, None, "in")
    if waited_for in ("event", "end"):
        app.send(awaited.workflow_id, None, "go")
    assert handle.get_result(timeout=20) == "come"
    assert handle.get_status().attempt == 2
    assert count(watch, "SELECT max(n) FROM towpath.start") == 1
    assert count(watch, "SELECT count(*) FROM towpath.wait WHERE seq > 1") == 0


@pytest.mark.usefixtures("sleepy")
def test_waiting_again_and_again_counts_no_recovery(
    app: App, launched: Launch, watch: Watch
) -> None:
    """A workflow that may not be recovered at all sleeps as often as it likes."""
    queue = app.queue("orders")

    @app.workflow(name="order", max_recovery_attempts=0)
    def order() -> int:
        return sum(app.recv("in", timeout_seconds=None) for _ in range(5))

    launched()
    handle = queue.enqueue(order)
    for number in range(5):
        wait_until(lambda: asleep(watch) == 1)
        assert count(watch, "SELECT sum(recoveries) FROM towpath.running") == 0
        app.send(handle.workflow_id, number, "in")
        wait_until(
            lambda n=number: len(app.list_workflow_steps(handle.workflow_id)) == n + 1  # type: ignore[misc]
        )
    assert handle.get_result(timeout=20) == 10


@pytest.mark.usefixtures("sleepy")
def test_all_branches_sleep_and_one_that_computes_keeps_the_workflow_in_memory(
    app: App, launched: Launch, watch: Watch
) -> None:
    """A workflow goes when all of it waits; the first branch whose wait is over wakes it."""
    queue = app.queue("orders")
    computing = threading.Event()

    @app.step(name="compute")
    def compute() -> None:
        assert computing.wait(20)

    @app.workflow(name="order")
    async def order() -> list[Any]:
        done = await asyncio.gather(
            app.recv_async("a", timeout_seconds=None),
            app.recv_async("b", timeout_seconds=None),
            asyncio.to_thread(compute),
        )
        return list(done)

    launched()
    handle = queue.enqueue(order)
    wait_until(lambda: count(watch, "SELECT count(*) FROM towpath.wait") == 2)
    worker = app._worker
    assert worker is not None
    (execution,) = worker._dispatcher.active.values()
    assert execution.sleeps_since is None
    computing.set()
    wait_until(lambda: asleep(watch) == 1)
    app.send(handle.workflow_id, 2, "b")
    wait_until(lambda: len(app.list_workflow_steps(handle.workflow_id)) == 2)
    wait_until(lambda: asleep(watch) == 1, what="it sleeps for the other branch")
    app.send(handle.workflow_id, 1, "a")
    assert handle.get_result(timeout=20) == [1, 2, None]


@pytest.mark.usefixtures("sleepy")
def test_cancelling_a_sleeping_workflow_frees_its_place_at_once(
    app: App, launched: Launch, watch: Watch
) -> None:
    """No code has to end first; the next one of its partition begins."""
    queue = app.queue("orders", concurrency=1)
    keyed = app.queue("keyed", partition_queue=True)

    @app.workflow(name="order")
    def order() -> None:
        app.recv("go", timeout_seconds=None)

    launched()
    for line in (queue, keyed.options(queue_partition_key="k")):
        first, second = line.enqueue(order), line.enqueue(order)
        wait_until(lambda f=first: is_asleep(f))  # type: ignore[misc]
        app.cancel_workflow(first.workflow_id)
        assert str(first.get_status().status) == "CANCELLED"
        wait_until(lambda s=second: is_asleep(s), seconds=10)  # type: ignore[misc]
        app.cancel_workflow(second.workflow_id)
    assert count(watch, "SELECT count(*) FROM towpath.running") == 0
    assert count(watch, "SELECT count(*) FROM towpath.wait") == 0


def is_asleep(handle: WorkflowHandle[Any]) -> bool:
    """Tell whether a workflow has its place and no worker."""
    status = handle.get_status()
    return (str(status.status), status.worker) == ("PENDING", None)


def test_a_worker_that_stops_puts_to_sleep_what_waits(
    app: App, launched: Launch, watch: Watch, database_url: str
) -> None:
    """Sync and async; another worker goes on with them, and no start is spent."""
    queue = app.queue("orders", concurrency=2, limiter={"limit": 100, "period": 3600})
    declare_receivers(app)
    launched()
    with towpath.Client(database_url) as client:
        handles = [client.enqueue("orders", name) for name in ("receiver", "async receiver")]
        wait_until(lambda: count(watch, "SELECT count(*) FROM towpath.wait WHERE seq > 0") == 2)
        app.shutdown(drain=20)  # it does not wait for them
        assert asleep(watch) == 2
        other = App(database_url=database_url)
        other.queue(queue.name)
        declare_receivers(other)
        try:
            assert other.launch().wait_until_ready(20)
            for handle in handles:
                client.send(handle.workflow_id, "went", "go")
                assert handle.get_result(timeout=20) == "went"
                assert handle.get_status().attempt == 2
            assert count(watch, "SELECT max(n) FROM towpath.start") == 2
        finally:
            other.shutdown(drain=0)


def declare_receivers(app: App) -> None:
    """Declare a sync and an async workflow that wait for a message."""

    @app.workflow(name="receiver")
    def receiver() -> str:
        return str(app.recv("go", timeout_seconds=None))

    @app.workflow(name="async receiver")
    async def async_receiver() -> str:
        return str(await app.recv_async("go", timeout_seconds=None))


@pytest.mark.usefixtures("sleepy")
@pytest.mark.parametrize("partitioned", [False, True], ids=["plain", "partitioned"])
def test_a_place_that_is_released_is_taken_again_within_the_limit(
    app: App, launched: Launch, watch: Watch, *, partitioned: bool
) -> None:
    """Concurrency 2, twelve workflows that compute, wait and compute: never three at once; all wait."""
    queue = app.queue(
        "orders", concurrency=2, release_while_waiting=True, partition_queue=partitioned
    )
    computing = Computing()

    @app.workflow(name="order")
    def order() -> None:
        with computing:
            time.sleep(0.01)
        app.recv("go", timeout_seconds=None)
        with computing:
            time.sleep(0.01)

    launched()
    keys = [f"k{n}" if partitioned else None for n in range(12)]
    options = [EnqueueOptions(queue_partition_key=key) for key in keys]
    started = queue.enqueue_many(order, [EnqueueItem(options=o) for o in options])
    wait_until(lambda: asleep(watch) == 12, seconds=30, what="all have begun, and wait")
    for handle, _ in started:
        app.send(handle.workflow_id, None, "go")
    for handle, _ in started:
        handle.get_result(timeout=30)
    assert computing.most <= 2


class Computing:
    """Counts who computes at once."""

    def __init__(self) -> None:
        self.most = self._now = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._now -= 1


@pytest.mark.usefixtures("sleepy")
@pytest.mark.parametrize(
    "options",
    [{"worker_concurrency": 1}, {"concurrency": 1, "release_while_waiting": True}],
    ids=["a worker's", "released"],
)
def test_what_wakes_up_goes_before_what_waits_in_line(
    app: App, launched: Launch, watch: Watch, options: dict[str, Any]
) -> None:
    """A queue that is never empty gives the next place that comes free to whoever goes on."""
    queue = app.queue("orders", polling_interval_sec=60, **options)
    ended: list[int] = []

    @app.workflow(name="nap")
    def nap() -> int:
        app.recv("go", timeout_seconds=None)
        return len(ended)

    @app.workflow(name="order")
    def order(number: int) -> None:
        time.sleep(0.01)
        ended.append(number)

    launched()
    napping = queue.enqueue(nap)
    wait_until(lambda: asleep(watch) == 1)
    queue.enqueue_many(order, [(n,) for n in range(500)])
    wait_until(lambda: len(ended) > 10)
    app.send(napping.workflow_id, None, "go")
    told_at = len(ended)
    assert napping.get_result(timeout=30) - told_at < 10


@pytest.mark.usefixtures("sleepy")
def test_calls_for_others_delay_nobody_who_sleeps(app: App, launched: Launch, watch: Watch) -> None:
    """A transaction sends to hundreds that have not begun, and then to one that sleeps."""
    queue = app.queue("orders", polling_interval_sec=60)

    @app.workflow(name="nap")
    def nap() -> str:
        return str(app.recv("go", timeout_seconds=None))

    launched(slots=2)
    napping = queue.enqueue(nap)
    wait_until(lambda: asleep(watch) == 1)
    later = queue.enqueue_many(nap, [EnqueueItem(options=IN_AN_HOUR) for _ in range(300)])
    with watch.transaction():
        for handle in [*(h for h, _ in later), napping]:
            watch.execute("SELECT towpath.send(%s, '1', 'go')", [handle.workflow_id])
    assert napping.get_result(timeout=10) == "1"


IN_AN_HOUR = EnqueueOptions(delay_seconds=3600)


@pytest.mark.usefixtures("sleepy")
def test_the_place_in_a_partition_is_never_released(
    app: App, launched: Launch, watch: Watch
) -> None:
    """The second of a key begins when the first has ended, however long that waits."""
    queue = app.queue("orders", concurrency=5, release_while_waiting=True, partition_queue=True)
    begun: list[int] = []

    @app.workflow(name="order")
    def order(number: int) -> None:
        begun.append(number)
        app.recv("go", timeout_seconds=None)

    launched()
    key = queue.options(queue_partition_key="k")
    first, second = key.enqueue(order, 1), key.enqueue(order, 2)
    other = queue.options(queue_partition_key="other").enqueue(order, 3)
    wait_until(lambda: asleep(watch) == 2)
    assert sorted(begun) == [1, 3]
    assert str(second.get_status().status) == "ENQUEUED"
    for handle in (first, second, other):
        app.send(handle.workflow_id, None, "go")
        handle.get_result(timeout=20)
    assert set(begun[:2]) == {1, 3}


def threads_and_memory() -> tuple[int, int]:
    """Return this process's threads, and the most memory that it ever had, in MB."""
    return threading.active_count(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@pytest.mark.timeout(300)
def test_thousands_of_sleeping_workflows_cost_rows(
    app: App, launched: Launch, watch: Watch
) -> None:
    """In one process, sync ones: few threads and little memory while they sleep, and all wake."""
    many = 5_000
    queue = app.queue("orders")
    wakes_at = time.time() + 3600

    @app.workflow(name="order")
    def order(number: int) -> int:
        app.sleep(wakes_at - time.time())
        return number

    launched(slots=50)
    _, before = threads_and_memory()
    most_threads = 0
    enqueue_thousands(queue, order, many)
    deadline = time.monotonic() + 200
    while asleep(watch) < many:
        most_threads = max(most_threads, threading.active_count())
        assert time.monotonic() < deadline, f"{asleep(watch)} sleep"
        time.sleep(0.05)
    threads, memory = threads_and_memory()
    assert active(app) == 0
    logger.info(
        "%d asleep: %d threads at most, %d now, %d MB more",
        many, most_threads, threads, memory - before,
    )  # fmt: skip
    assert most_threads < 1000
    assert memory - before < 300
    watch.execute("UPDATE towpath.wait SET due = clock_timestamp()")
    wait_until(
        lambda: (
            count(watch, "SELECT count(*) FROM towpath.result WHERE status = 'SUCCESS'") == many
        ),
        seconds=200,
        what="all have woken and ended",
    )
    assert count(watch, "SELECT count(*) FROM towpath.wait") == 0
    assert count(watch, "SELECT count(*) FROM towpath.running") == 0


def enqueue_thousands(queue: Queue, order: towpath.Workflow[[int], int], many: int) -> None:
    """Enqueue in calls of a thousand."""
    for first in range(0, many, 1000):
        queue.enqueue_many(order, [(n,) for n in range(first, first + 1000)])
