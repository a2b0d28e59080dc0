"""Durable waits with real workers: slots given back, time kept across a kill, results found again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from tests.fixtures.workers import WorkerProcess, worker_processes
from towpath import App
from towpath.errors import (
    NonDeterminismError,
    ResultTimeoutError,
    SyncCallInAsyncError,
    WaitOptionError,
    WorkflowNotFoundError,
)

Launch = Callable[..., towpath.Worker]

APPLICATION = """
import os, time
import towpath
from towpath import Queue

queue = Queue("orders")
children = Queue("child-queue", concurrency=3)


def note(what):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(f"{what} {time.time()}\\n")


@towpath.step(name="deed")
def deed(what):
    note(what)


@towpath.workflow(name="sleeper")
def sleeper(seconds):
    deed("begun")
    towpath.sleep(seconds)
    deed("ended")


@towpath.workflow(name="receiver")
def receiver(seconds):
    deed("begun")
    return [towpath.recv("in", timeout_seconds=seconds), towpath.recv("in", timeout_seconds=0)]


@towpath.workflow(name="child")
def child(item):
    deed(f"child-{item}")
    towpath.recv("release", timeout_seconds=60)
    return f"Processed {item}"


@towpath.workflow(name="parent")
def parent(items):
    handles = [children.enqueue(child, item) for item in items]
    deed("enqueued")
    towpath.sleep(1)
    for handle in handles:
        towpath.send(handle.get_workflow_id(), "go", "release")
    deed("sent")
    return [handle.get_result() for handle in handles]
"""


class Fleet:
    """Worker processes of one application that are killed and started again."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self._folder = folder
        self._notes = folder / "notes"
        self._environ = {
            "TOWPATH_DATABASE_URL": database_url,
            "TOWPATH_LEASE_SECONDS": "1",
            "NOTES": str(self._notes),
        }
        self._stack = contextlib.ExitStack()
        (folder / "waiting.py").write_text(APPLICATION)
        (self.worker,) = self._stack.enter_context(
            worker_processes(1, "waiting", folder, self._environ, folder)
        )

    def replace(self) -> None:
        """Kill the worker and start another."""
        self.worker.kill()
        self.worker.wait()
        self.worker = WorkerProcess("waiting", self._folder, self._environ, self.worker.log)

    def notes(self) -> list[str]:
        """Return what was noted."""
        if not self._notes.exists():
            return []
        return [line.split()[0] for line in self._notes.read_text().splitlines()]

    def noted_at(self, what: str) -> float:
        """Return when something was noted, once it is."""
        wait_until(lambda: what in self.notes(), what=f"{what} is noted")
        line = next(x for x in self._notes.read_text().splitlines() if x.split()[0] == what)
        return float(line.split()[1])

    def close(self) -> None:
        """Kill the worker."""
        self.worker.kill()
        self.worker.wait()
        self._stack.close()


@pytest.fixture
def fleet(tmp_path: Path, database_url: str) -> Fleet:  # type: ignore[misc]
    """Return a worker process with the application."""
    fleet = Fleet(tmp_path, database_url)
    yield fleet
    fleet.close()


@pytest.fixture
def client(database_url: str, fleet: Fleet) -> towpath.Client:  # type: ignore[misc]
    """Return a client, once the worker is there."""
    assert fleet.worker.process.poll() is None
    with towpath.Client(database_url) as client:
        wait_until(lambda: bool(client.list_versions()), seconds=60, what="the worker is there")
        yield client


@pytest.mark.parametrize("slots", [1, 10])
def test_children_that_wait_and_their_parent_share_few_slots(
    app: App, launched: Launch, slots: int
) -> None:
    """The example of the specification: five children, three places, and as little as one slot."""
    children = app.queue("child-queue", concurrency=3)
    statuses: list[str] = []

    @app.workflow(name="child")
    def child(item: str) -> str:
        app.recv("release", timeout_seconds=30)
        return f"Processed {item}"

    @app.workflow(name="parent")
    def parent(items: list[str]) -> list[str]:
        handles = [children.enqueue(child, item) for item in items]
        app.sleep(1)
        statuses.extend(str(handle.get_status().status) for handle in handles)
        for handle in handles:
            app.send(handle.get_workflow_id(), "go", "release")
        return [handle.get_result() for handle in handles]

    launched(slots=slots)
    items = ["a", "b", "c", "d", "e"]
    assert parent(items) == [f"Processed {item}" for item in items]
    assert statuses == ["PENDING"] * 3 + ["ENQUEUED"] * 2


def test_async_workflows_wait_without_a_slot_as_well(app: App, launched: Launch) -> None:
    """Branches that wait at once, children of children, all with one slot."""
    queue = app.queue("orders")

    @app.workflow(name="leaf")
    async def leaf(number: int) -> int:
        await app.sleep_async(0.05)
        return number

    @app.workflow(name="node")
    async def node(number: int) -> int:
        handles = [await queue.enqueue_async(leaf, number * 10 + n) for n in range(3)]
        return sum(await asyncio.gather(*(h.get_result() for h in handles)))

    @app.workflow(name="root")
    async def root() -> int:
        handles = [await queue.enqueue_async(node, n) for n in range(3)]
        return sum(await asyncio.gather(*(h.get_result() for h in handles)))

    launched(slots=1)
    assert queue.enqueue(root).get_result(timeout=30) == sum(
        n * 10 + m for n in range(3) for m in range(3)
    )


def test_a_sleep_ends_when_it_would_have_ended_without_the_kill(
    fleet: Fleet, client: towpath.Client
) -> None:
    """The remainder only: the time that was slept before the kill counts."""
    handle = client.enqueue("orders", "sleeper", 5)
    begun = fleet.noted_at("begun")
    wait_until(lambda: waits(client), what="the sleep is written")
    time.sleep(1.5)  # some of it passes before the kill
    fleet.replace()
    handle.get_result(timeout=30)
    assert 5 <= fleet.noted_at("ended") - begun < 6.2
    assert fleet.notes() == ["begun", "ended"]


def waits(client: towpath.Client) -> bool:
    """Tell whether some workflow waits."""
    engine = client.engine
    statement = b"SELECT 1 FROM towpath.wait WHERE seq <> 0"

    async def look(session: towpath.store.session.Session) -> bool:
        (rows,) = await session.run((statement, {}))
        return bool(rows)

    return engine.run(look)


def test_the_timeout_of_a_receive_is_kept_across_a_kill(
    fleet: Fleet, client: towpath.Client
) -> None:
    """None comes when the first attempt would have had it, and a message that came late is for the next."""
    handle = client.enqueue("orders", "receiver", 4)
    begun = fleet.noted_at("begun")
    wait_until(lambda: waits(client), what="the wait is written")
    time.sleep(1)  # some of it passes before the kill
    fleet.replace()
    assert handle.get_result(timeout=30) == [None, None]
    ended = handle.get_status().completed_at
    assert ended is not None
    assert 4 <= ended.timestamp() - begun < 5.5


def test_a_message_that_comes_while_no_worker_lives_is_received(
    fleet: Fleet, client: towpath.Client
) -> None:
    """It waits for the next attempt."""
    handle = client.enqueue("orders", "receiver", 60)
    wait_until(lambda: waits(client), what="the wait is written")
    fleet.worker.kill()
    fleet.worker.wait()
    client.send(handle.workflow_id, 1, "in")
    client.send(handle.workflow_id, 2, "in")
    fleet.replace()
    assert handle.get_result(timeout=30) == [1, 2]


@pytest.mark.parametrize("line", ["enqueued", "child-b", "sent"])
def test_a_parent_that_is_killed_goes_on_with_the_same_children(
    fleet: Fleet, client: towpath.Client, line: str
) -> None:
    """Whichever line it was at: each child is started once, each message sent once, the result the same."""
    handle = client.enqueue("orders", "parent", ["a", "b", "c", "d", "e"])
    fleet.noted_at(line)
    fleet.replace()
    assert handle.get_result(timeout=60) == [f"Processed {item}" for item in "abcde"]
    assert len(client.list_workflows(name="child")) == 5
    sent = [s for s in client.list_workflow_steps(handle.workflow_id) if s.name == "towpath.send"]
    assert len(sent) == 5


def test_a_result_that_does_not_come_in_time_is_an_error_that_is_recorded(
    app: App, launched: Launch
) -> None:
    """The workflow that was waited for goes on; a later wait has its result."""
    queue = app.queue("orders")

    @app.workflow(name="slow")
    def slow() -> str:
        return str(app.recv("go", timeout_seconds=None))

    @app.workflow(name="waiter")
    def waiter(workflow_id: str) -> str:
        handle = app.retrieve_workflow(workflow_id)
        with pytest.raises(ResultTimeoutError, match=r"has not ended within 0\.1 s; it goes on"):
            handle.get_result(timeout=0.1)
        app.send(workflow_id, "went", "go")
        return str(handle.get_result())

    launched(slots=1)
    slow_handle = queue.enqueue(slow)
    with pytest.raises(ResultTimeoutError):
        slow_handle.get_result(timeout=0.05)
    handle = queue.enqueue(waiter, slow_handle.workflow_id)
    assert handle.get_result(timeout=30) == "went"
    first, *_ = app.list_workflow_steps(handle.workflow_id)
    assert (first.name, "ResultTimeoutError" in str(first.error)) == ("towpath.get_result", True)


def test_another_verb_at_the_position_of_a_wait_is_no_determinism(
    app: App, launched: Launch
) -> None:
    """Also while the wait has not ended: what is recorded and what was reached are both told."""
    queue = app.queue("orders")
    attempts: list[int] = []

    @app.workflow(name="order")
    async def order() -> None:
        current = towpath.current()
        assert current is not None
        attempts.append(current.attempt)
        if current.attempt == 1:
            await app.sleep_async(600)
        else:
            await app.recv_async("in")

    launched()
    handle = queue.enqueue(order)
    wait_until(lambda: bool(app.engine.hub.waits))
    wait_until(lambda: written(app), what="the sleep is written")
    app.shutdown(drain=0)
    again = App(database_url=str(app._database_url))
    again.queue("orders")
    again.registry.add_workflow(order.definition)
    try:
        assert again.launch().wait_until_ready(20)
        with psycopg.connect(str(app._database_url)) as connection:
            connection.execute("UPDATE towpath.wait SET due = clock_timestamp()")
        with pytest.raises(NonDeterminismError) as caught:
            again.retrieve_workflow(handle.workflow_id).get_result(timeout=20)
    finally:
        again.shutdown(drain=0)
    assert (caught.value.recorded, caught.value.reached) == ("towpath.sleep", "towpath.recv")


def written(app: App) -> bool:
    """Tell whether all that waits in an App's worker is written."""
    worker = app._worker
    assert worker is not None
    active = list(worker._dispatcher.active.values())
    return bool(active) and all(e.sleeps_since is not None for e in active)


def test_waits_that_cannot_be_are_refused(app: App, launched: Launch) -> None:
    """A time that is none, a blocking verb in async code, a workflow that is not there."""
    queue = app.queue("orders")

    @app.workflow(name="order")
    async def order() -> list[str]:
        said = []
        for seconds in (-1, None, float("nan"), "5", True):
            with pytest.raises(WaitOptionError, match="seconds"):
                await app.sleep_async(seconds)  # type: ignore[arg-type]
            said.append("refused")
        for blocking in (lambda: app.sleep(1), app.recv, lambda: app.send("x", 1)):
            with pytest.raises(SyncCallInAsyncError, match="_async"):
                blocking()
        await app.sleep_async(0)
        return said

    launched()
    assert queue.enqueue(order).get_result(timeout=20) == ["refused"] * 5
    with pytest.raises(WorkflowNotFoundError):
        app.retrieve_workflow("nobody").get_result(timeout=1)


def test_waits_that_their_code_gave_up_leave_nothing(
    app: App, launched: Launch, database_url: str
) -> None:
    """Whenever it does: before they are written, while, long after, or with the end of the workflow."""
    queue = app.queue("orders")

    @app.workflow(name="impatient")
    async def impatient(seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(app.recv_async("in", timeout_seconds=None), seconds)

    @app.workflow(name="first of two")
    async def first_of_two() -> None:
        receiving = asyncio.create_task(app.recv_async("in", timeout_seconds=None))
        sleeping = asyncio.create_task(app.sleep_async(0.02))
        await asyncio.wait({receiving, sleeping}, return_when=asyncio.FIRST_COMPLETED)

    launched(slots=50)
    handles = [queue.enqueue(impatient, 0.0005 * (n % 40)) for n in range(200)]
    handles += [queue.enqueue(first_of_two) for _ in range(50)]
    for handle in handles:
        handle.get_result(timeout=30)
    with psycopg.connect(database_url, autocommit=True) as watch:
        left = b"SELECT count(*) FROM towpath.wait WHERE seq > 0"
        wait_until(lambda: watch.execute(left).fetchone() == (0,), seconds=5)
