"""Concurrent branches of workflows: whatever their timing, each finds its own records again."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from towpath import App, SetWorkflowID, Workflow, WorkflowHandle, WorkflowStatus
from towpath.errors import UsageError
from towpath.testing.crashes import Arrival, CrashPlan

Launch = Callable[..., towpath.Worker]
Sql = psycopg.Connection[Any]
Branch = Coroutine[Any, Any, Any]

SECONDS = 60
LONGEST_PAUSE = 0.006


async def gathered(branches: list[Branch]) -> list[Any]:
    """Await them by gather."""
    return list(await asyncio.gather(*branches))


async def grouped(branches: list[Branch]) -> list[Any]:
    """Await them by a task group."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(branch) for branch in branches]
    return [task.result() for task in tasks]


async def backwards(branches: list[Branch]) -> list[Any]:
    """Make tasks, and await the last one first."""
    tasks = [asyncio.create_task(branch) for branch in branches]
    return [await task for task in reversed(tasks)]


async def completed(branches: list[Branch]) -> list[Any]:
    """Await them as they end, which is another order each time."""
    tasks = [asyncio.create_task(branch) for branch in branches]
    return sorted([await ended for ended in asyncio.as_completed(tasks)], key=str)


WAYS = {"gather": gathered, "group": grouped, "backwards": backwards, "completed": completed}


class Tangle:
    """A workflow of many branches, whose timing is shuffled anew in each attempt.

    Attributes:
        ran: For each workflow's id and step's label, the attempts that ran the step's function.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        self.queue = app.queue("tangles")
        self.ran: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        self._pauses: dict[tuple[str, int], random.Random] = {}
        self.act = app.step(name="act")(self._act)
        self.tangled: Workflow[[list[str]], Any] = app.workflow(name="tangled")(self._tangled)
        self.child = app.workflow(name="child")(self._child)

    async def pause(self) -> None:
        """Wait for a random time, which no other attempt waits for."""
        current = towpath.current()
        assert current is not None
        this = current.workflow_id, current.attempt
        pauses = self._pauses.setdefault(this, random.Random(str(this)))  # noqa: S311 - no secret
        await asyncio.sleep(pauses.random() * LONGEST_PAUSE)

    async def _act(self, label: str) -> str:
        current = towpath.current()
        assert current is not None
        await self.pause()
        self.ran[current.workflow_id, label].append(current.attempt)
        return label

    async def _child(self, label: str) -> str:
        return await self.act(label) + " by a child"

    async def _tangled(self, ways: list[str]) -> list[Any]:
        found: list[Any] = []
        for way in ways:
            found.append(await WAYS[way](self._branches(way)))
            found.append(await self.act(f"after {way}"))
        return found

    def _branches(self, way: str) -> list[Branch]:
        return [
            self._steps(f"{way} steps"),
            self._children(f"{way} children"),
            self._messages(f"{way} messages"),
            self._sleeps(f"{way} sleeps"),
            self._bounded(f"{way} bounded"),
            self._nested(way, f"{way} nested"),
        ]

    async def _steps(self, label: str) -> list[str]:
        found = []
        for number in range(3):
            await self.pause()
            found.append(await self.act(f"{label} {number}"))
        return found

    async def _children(self, label: str) -> list[str]:
        await self.pause()
        handle = await self.queue.enqueue_async(self.child, f"{label} 0")
        own = await self.act(f"{label} 1")
        await self.pause()
        return [own, await handle.get_result(), await self.child(f"{label} 2")]

    async def _messages(self, label: str) -> list[str]:
        current = towpath.current()
        assert current is not None
        found = []
        for number in range(2):
            await self.app.send_async(current.workflow_id, f"{label} {number}", label)
            await self.pause()
            found.append(await self.app.recv_async(label, timeout_seconds=SECONDS))
        return found

    async def _sleeps(self, label: str) -> list[str]:
        found = [await self.act(f"{label} 0")]
        await self.app.sleep_async(0.01)
        return [*found, await self.act(f"{label} 1")]

    async def _bounded(self, label: str) -> list[str]:
        handle = await self.queue.enqueue_async(self.child, f"{label} 0")
        found = [await asyncio.wait_for(self.act(f"{label} 1"), SECONDS)]
        async with asyncio.timeout(SECONDS):
            found.append(await self.act(f"{label} 2"))
        return [*found, await asyncio.wait_for(handle.get_result(), SECONDS)]

    async def _nested(self, way: str, label: str) -> list[Any]:
        first = await self.act(f"{label} 0")
        inner = [self._steps(f"{label} inner {number}") for number in range(2)]
        return [first, *(await WAYS[way](inner)), await self.act(f"{label} 1")]


@pytest.fixture
def sql(database_url: str) -> Any:
    """Return a connection to the database of the test."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def start(tangle: Tangle, workflow_id: str, ways: list[str]) -> WorkflowHandle[Any]:
    """Start a tangle of a chosen id."""
    with SetWorkflowID(workflow_id):
        return tangle.app.start_workflow(tangle.tangled, ways)


def records_of(sql: Sql, workflow_id: str) -> dict[str, tuple[str, int, Any]]:
    """Return the name, attempt and output that are recorded at each position."""
    rows = sql.execute(
        "SELECT s.position, s.name, s.attempt, s.output::json FROM towpath.step s "
        "JOIN towpath.workflow w USING (seq) WHERE w.id = %s",
        (workflow_id,),
    ).fetchall()
    return {position: (name, attempt, output) for position, name, attempt, output in rows}


def shape_of(records: dict[str, tuple[str, int, Any]]) -> dict[str, tuple[str, Any]]:
    """Return what every run records alike: all but the attempts, and the generated ids of children."""
    return {
        position: (name, None if name == "child" else output)
        for position, (name, _, output) in records.items()
    }


def check_runs(tangle: Tangle, workflow_id: str, records: dict[str, tuple[str, int, Any]]) -> None:
    """The last run of each step is the one that is recorded: none ran again once it was."""
    for name, attempt, label in records.values():
        if name == "act":
            attempts = tangle.ran[workflow_id, label]
            assert attempts.count(attempt) == 1, (workflow_id, label, attempts, attempt)
            assert max(attempts) == attempt, (workflow_id, label, attempts, attempt)


def test_crashes_under_shuffled_timings_change_nothing(
    app: App, launched: Launch, sql: Sql
) -> None:
    """Crashed three times at random, each attempt in another order: the same result and records."""
    tangle = Tangle(app)
    launched(slots=20)
    ways = list(WAYS)
    expected = start(tangle, "whole", ways).get_result(timeout=SECONDS)
    shape = shape_of(records_of(sql, "whole"))
    numbers = random.Random(7)  # noqa: S311 - no secret
    ids = [f"crashed {number}" for number in range(12)]
    at = {(i, attempt): numbers.randrange(45) for i in ids for attempt in (1, 2, 3)}

    def rule(arrival: Arrival) -> bool:
        return at.get((arrival.workflow_id, arrival.attempt)) == arrival.number

    with CrashPlan(app) as plan, plan.crashing(rule):
        handles = [start(tangle, workflow_id, ways) for workflow_id in ids]
        for handle in handles:
            assert handle.get_result(timeout=SECONDS) == expected
        assert len(plan.crashed) == len(at)
    for workflow_id in ids:
        records = records_of(sql, workflow_id)
        assert shape_of(records) == shape
        check_runs(tangle, workflow_id, records)
    assert sql.execute("SELECT count(*) FROM towpath.wait WHERE seq <> 0").fetchall() == [(0,)]
    children = sql.execute("SELECT count(*) FROM towpath.workflow WHERE name = 'child'").fetchall()
    assert children == [((1 + len(ids)) * len(WAYS) * 3,)]


def test_handed_back_in_the_middle_no_step_runs_twice(
    app: App, launched: Launch, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that ends lets every branch come to the record of the step in which it is."""
    tangle = Tangle(app)
    ways = [
        "gather",
        "backwards",
        "completed",
    ]  # a task group cancels what is beside, also in a step
    ids = [f"moved {number}" for number in range(6)]
    launched(slots=20)
    handles = [start(tangle, workflow_id, ways) for workflow_id in ids]
    for share in (15, 45):
        wait_until(lambda least=share: min(len(records_of(sql, i)) for i in ids) >= least)  # type: ignore[misc]
        app.shutdown(drain=0)
        launched(slots=20)
    results = [handle.get_result(timeout=SECONDS) for handle in handles]
    assert all(result == results[0] for result in results)
    for workflow_id in ids:
        records = records_of(sql, workflow_id)
        assert shape_of(records) == shape_of(records_of(sql, ids[0]))
        assert {attempt for _, attempt, _ in records.values()} >= {1, 2}
        labels = [label for name, _, label in records.values() if name == "act"]
        assert {len(tangle.ran[workflow_id, label]) for label in labels} == {1}
    gc.collect()
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []


# -- branches that end with others

LEFT = b"""
    SELECT count(*) FROM towpath.wait w JOIN towpath.workflow f USING (seq) WHERE f.name = 'fails'"""
BRANCHES, WAITS = 7, 5


async def leave(branches: list[Branch]) -> None:
    """Make tasks, await none of them, and fail once they have begun."""
    for branch in branches[1:]:
        asyncio.create_task(branch)  # noqa: RUF006 - it is left behind
    await branches[0]


@pytest.mark.parametrize("way", [gathered, grouped, leave])
def test_nothing_is_left_of_a_workflow_whose_branch_fails(
    app: App, launched: Launch, sql: Sql, way: Callable[[list[Branch]], Awaitable[Any]]
) -> None:
    """Waits of every kind, steps and tasks' own tasks: cancelled, and over before its end is told."""
    begun: list[str] = []
    ended: list[str] = []

    async def noting(what: str, awaited: Awaitable[Any]) -> None:
        begun.append(what)
        try:
            await awaited
        finally:
            await asyncio.sleep(0.01)
            ended.append(what)

    @app.step(name="endless")
    async def endless() -> None:
        await asyncio.sleep(3600)

    @app.workflow(name="never")
    async def never() -> None:
        await app.recv_async("never", timeout_seconds=None)

    async def nested() -> None:
        asyncio.create_task(noting("inner", asyncio.sleep(3600)))  # noqa: RUF006 - as above
        await app.recv_async("inner", timeout_seconds=None)

    async def fails(child: str) -> None:
        while len(begun) < BRANCHES or sql.execute(LEFT).fetchall() != [(WAITS,)]:  # noqa: ASYNC110 - rows tell nobody
            await asyncio.sleep(0.005)
        raise LookupError(child)

    @app.workflow(name="fails")
    async def workflow(child: str) -> None:
        handle = await app.retrieve_workflow_async(child)
        await way([
            fails(child),
            noting("recv", app.recv_async("topic", timeout_seconds=None)),
            noting("sleep", app.sleep_async(3600)),
            noting("event", app.get_event_async(child, "key", 3600)),
            noting("end", handle.get_result()),
            noting("step", endless()),
            noting("nested", nested()),
        ])  # fmt: skip

    launched()
    child = app.start_workflow(never)
    handle = app.start_workflow(workflow, child.workflow_id)
    with pytest.raises((LookupError, towpath.errors.StepFailedError, ExceptionGroup)):
        handle.get_result(timeout=SECONDS)
    assert sorted(ended) == sorted(begun)
    assert tasks_of(app) == 1  # that of the child
    assert sql.execute(LEFT).fetchall() == [(0,)]
    app.cancel_workflow(child.workflow_id)


def tasks_of(app: App) -> int:
    """Return how many tasks there are on the loop of the App's workflows."""

    async def count() -> int:
        return len(asyncio.all_tasks()) - 1

    return app.engine.workflow_loop.submit(count()).result(10)


def test_a_workflow_that_returns_leaves_no_task_behind(app: App, launched: Launch) -> None:
    """What it has not awaited is cancelled, and its result is what it returned."""
    ended: list[str] = []

    async def ticks() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.01)
            ended.append("ticks")

    @app.workflow(name="returns")
    async def returns() -> int:
        asyncio.create_task(ticks())  # noqa: RUF006 - it is left behind
        await asyncio.sleep(0.01)
        return 7

    launched()
    assert app.start_workflow(returns).get_result(timeout=SECONDS) == 7
    assert ended == ["ticks"]
    assert tasks_of(app) == 0


def test_a_workflow_keeps_its_place_while_a_branch_is_in_a_step(
    app: App, launched: Launch, sql: Sql
) -> None:
    """Handed back, it goes once the step is recorded, and the next attempt does not run it again."""
    begun, release = threading.Event(), threading.Event()
    runs: list[int] = []

    @app.step(name="slow")
    async def slow() -> str:
        runs.append(1)
        begun.set()
        while not release.is_set():  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(0.002)
        return "done"

    async def ticks() -> None:
        await asyncio.sleep(3600)

    @app.workflow(name="both")
    async def both() -> list[Any]:
        ticking = asyncio.create_task(ticks())
        found = await asyncio.gather(app.recv_async("go", timeout_seconds=None), slow())
        ticking.cancel()
        return list(found)

    worker = launched()
    handle = app.start_workflow(both)
    assert begun.wait(10)
    (execution,) = worker._dispatcher.active.values()
    wait_until(lambda: any(wait.written for wait in list(execution.open_waits.values())))
    stopping = threading.Thread(target=app.shutdown, kwargs={"drain": 0})
    stopping.start()
    wait_until(lambda: execution.raised, what="the branch that waits is interrupted")
    assert sql.execute("SELECT attempt FROM towpath.running").fetchall() == [(1,)]
    assert not execution.seat.ended
    release.set()
    stopping.join(20)
    assert not stopping.is_alive()
    launched()
    app.send(handle.workflow_id, "went", "go")
    assert handle.get_result(timeout=SECONDS) == ["went", "done"]
    assert len(runs) == 1


# -- bounds of time


def test_wait_for_takes_no_position_of_its_own(app: App, launched: Launch, sql: Sql) -> None:
    """As in the Pythons where it makes no task: an upgrade in flight finds the records."""

    @app.step(name="act")
    async def act(number: int) -> int:
        return number

    @app.workflow(name="child")
    async def child() -> int:
        return 7

    async def two() -> int:
        return await act(1) + await act(2)

    @app.workflow(name="bounded")
    async def bounded() -> list[int]:
        handle = await app.start_workflow_async(child)
        found = [await asyncio.wait_for(handle.get_result(), SECONDS)]
        found.append(await asyncio.wait_for(two(), SECONDS))
        found += await asyncio.gather(asyncio.wait_for(act(3), SECONDS), act(4))
        return [*found, await act(5)]

    launched()
    with SetWorkflowID("bounded"):
        handle = app.start_workflow(bounded)
    assert handle.get_result(timeout=SECONDS) == [7, 3, 3, 4, 5]
    assert {position: name for position, (name, *_) in records_of(sql, "bounded").items()} == {
        "1": "child", "2": "towpath.get_result", "3": "act", "4": "act",
        "5.1": "act", "6.1": "act", "7": "act",
    }  # fmt: skip


@pytest.mark.parametrize("bound", ["wait_for", "timeout"])
def test_a_wait_that_is_given_up_is_gone_and_the_next_one_receives(
    app: App, launched: Launch, sql: Sql, bound: str
) -> None:
    """A bound of asyncio's around recv: its row goes, its branch counts on, no message is lost."""
    given_up = threading.Event()

    async def receive() -> Any:
        if bound == "wait_for":
            return await asyncio.wait_for(app.recv_async("in", timeout_seconds=None), 0.1)
        async with asyncio.timeout(0.1):
            return await app.recv_async("in", timeout_seconds=None)

    @app.step(name="note")
    async def note() -> None:
        given_up.set()

    @app.workflow(name="impatient")
    async def impatient() -> Any:
        try:
            return ["too early", await receive()]
        except TimeoutError:
            await note()
        return await app.recv_async("in", timeout_seconds=None)

    launched()
    with SetWorkflowID("impatient"):
        handle = app.start_workflow(impatient)
    assert given_up.wait(20)
    rows = "SELECT position FROM towpath.wait WHERE seq <> 0"
    wait_until(
        lambda: sql.execute(rows.encode()).fetchall() == [("3",)], what="the second wait alone"
    )
    app.send(handle.workflow_id, "kept", "in")
    assert handle.get_result(timeout=SECONDS) == "kept"
    assert sorted(records_of(sql, "impatient")) == ["2", "3"]


def test_as_completed_makes_no_tasks_of_a_workflow(app: App, launched: Launch) -> None:
    """It would make them in the order of a set, which is another one in each process."""

    async def branch(number: int) -> int:
        return number

    @app.workflow(name="completes")
    async def completes() -> None:
        branches = [branch(1), branch(2)]
        try:
            for ended in asyncio.as_completed(branches):
                await ended
        finally:
            for each in branches:
                each.close()

    launched()
    with pytest.raises(UsageError, match=r"Pass it tasks: as_completed\("):
        app.start_workflow(completes).get_result(timeout=SECONDS)


# -- threads


def test_threads_of_asyncio_go_on_in_the_branch_that_awaits_them(
    app: App, launched: Launch, sql: Sql
) -> None:
    """Sync steps, waits and children in to_thread take the positions of their task."""

    @app.step(name="act")
    def act(number: int) -> int:
        return number

    @app.workflow(name="child")
    def child(number: int) -> int:
        return act(number)

    def work(number: int) -> list[Any]:
        app.sleep(0.01)
        return [act(number), child(number + 1)]

    @app.workflow(name="threads")
    async def threads() -> list[Any]:
        first = await asyncio.to_thread(act, 1)
        both = await asyncio.gather(*(asyncio.to_thread(work, n) for n in (10, 20)))
        return [first, *both, await asyncio.to_thread(act, 2)]

    launched()
    with SetWorkflowID("threads"):
        handle = app.start_workflow(threads)
    assert handle.get_result(timeout=SECONDS) == [1, [10, 11], [20, 21], 2]
    assert set(records_of(sql, "threads")) == {
        "1", *(f"{branch}.{number}" for branch in (2, 3) for number in range(1, 5)), "4",
    }  # fmt: skip


def test_a_bare_thread_of_a_workflow_acts_as_outside(app: App, launched: Launch, sql: Sql) -> None:
    """Its steps are plain calls, what it starts has no parent, and it takes no position."""
    queue = app.queue("orders")
    seen: list[Any] = []

    @app.step(name="act")
    def act(number: int) -> int:
        return number

    @app.workflow(name="child")
    def child() -> int:
        return 7

    def beside() -> None:
        started = queue.enqueue(child)
        seen.extend([towpath.current(), act(1), started.get_result(timeout=SECONDS)])
        seen.append(started.get_status().parent_workflow_id)

    @app.workflow(name="threads")
    def threads() -> int:
        first = act(1)
        thread = threading.Thread(target=beside)
        thread.start()
        thread.join()
        return first + act(2)

    launched()
    with SetWorkflowID("threads"):
        handle = app.start_workflow(threads)
    assert handle.get_result(timeout=SECONDS) == 3
    assert seen == [None, 1, 7, None]
    assert set(records_of(sql, "threads")) == {"1", "2"}
    assert handle.get_status().status is WorkflowStatus.SUCCESS
