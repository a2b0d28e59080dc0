"""The clock of a test: what is due happens at once, in order, and only when it may."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

import towpath
from tests.fixtures.apps import wait_until
from towpath import App, Backoff, Client, SetWorkflowTimeout, WorkflowStatus
from towpath.errors import WorkflowCancelledError
from towpath.testing import Clock, Kit, StillBusyError

DAY = timedelta(days=1)
WEEK = timedelta(weeks=1)

manual = pytest.mark.towpath(clock="manual")


def test_a_workflow_that_sleeps_a_week_returns_at_once(
    towpath_app: App, towpath_clock: Clock
) -> None:
    """While the test waits for a result, time goes to what is due next."""

    @towpath_app.workflow(name="patient")
    def patient() -> str:
        towpath_app.sleep(WEEK.total_seconds())
        return "awake"

    began, real = towpath_clock.now, time.monotonic()
    assert patient() == "awake"
    assert towpath_clock.now == began + WEEK
    assert time.monotonic() - real < 5


def test_time_stands_still_while_the_test_waits_for_nothing(
    towpath_app: App, towpath_clock: Clock
) -> None:
    """A message that the test sends comes before the timeout of who waits for it, however late it is."""

    @towpath_app.workflow(name="listener")
    def listener() -> str | None:
        return towpath_app.recv(timeout_seconds=1)  # type: ignore[no-any-return]

    began = towpath_clock.now
    handle = towpath_app.start_workflow(listener)
    towpath_clock.run_until_idle()
    towpath_app.send(handle.workflow_id, "hello")
    assert handle.get_result() == "hello"
    assert towpath_clock.now == began
    assert listener() is None
    assert towpath_clock.now == began + timedelta(seconds=1)


def test_time_goes_on_for_whoever_waits(towpath_kit: Kit, towpath_clock: Clock) -> None:
    """For an event, for a stream's values, and for a client with connections of its own."""
    app = towpath_kit.app

    @app.workflow(name="teller")
    def teller() -> str:
        app.sleep(DAY.total_seconds())
        app.set_event("stage", "first")
        app.sleep(DAY.total_seconds())
        app.write_stream("lines", "second")
        app.sleep(DAY.total_seconds())
        return "third"

    began = towpath_clock.now
    workflow_id = app.start_workflow(teller).workflow_id
    assert app.get_event(workflow_id, "stage", timeout_seconds=10) == "first"
    assert towpath_clock.now == began + DAY
    assert next(iter(app.read_stream(workflow_id, "lines"))) == "second"
    assert towpath_clock.now in {began + 2 * DAY, began + 3 * DAY}  # who reads a stream waits on
    client = Client(towpath_kit.database_url)
    assert client.retrieve_workflow(workflow_id).get_result(timeout=10) == "third"
    assert towpath_clock.now == began + 3 * DAY
    client.close()


def test_everything_happens_in_its_order(towpath_app: App, towpath_clock: Clock) -> None:
    """Each sleep begins at the moment at which the one before it was over."""
    seen: list[tuple[str, timedelta]] = []
    began = towpath_clock.now

    @towpath_app.step(name="note")
    def note(name: str) -> None:
        seen.append((name, towpath_clock.now - began))

    @towpath_app.workflow(name="walker")
    def walker(name: str, days: int) -> None:
        for _ in range(3):
            towpath_app.sleep(days * DAY.total_seconds())
            note(name)

    handles = [
        towpath_app.start_workflow(walker, name, days) for name, days in [("a", 2), ("b", 5)]
    ]
    for handle in handles:
        handle.get_result()
    assert seen == [
        (name, day * DAY)
        for name, day in [("a", 2), ("a", 4), ("b", 5), ("a", 6), ("b", 10), ("b", 15)]
    ]


@manual
def test_a_manual_clock_moves_when_the_test_moves_it(
    towpath_app: App, towpath_clock: Clock
) -> None:
    """Nothing is due before; what becomes due has run when `advance` returns, step by step."""

    @towpath_app.workflow(name="patient")
    def patient() -> int:
        for _ in range(3):
            towpath_app.sleep(DAY.total_seconds())
        return 3

    handle = towpath_app.start_workflow(patient)
    towpath_clock.advance(2 * DAY)
    assert handle.get_status().status == WorkflowStatus.PENDING
    assert len(towpath_app.list_workflow_steps(handle.workflow_id)) == 2
    towpath_clock.advance(DAY.total_seconds())
    assert handle.get_status().status == WorkflowStatus.SUCCESS


@manual
def test_delays_and_start_times_follow(towpath_app: App, towpath_clock: Clock) -> None:
    """A DELAYED workflow joins the line when its time has come."""
    queue = towpath_app.queue("later")

    @towpath_app.workflow(name="work")
    def work() -> str:
        return "done"

    delayed = queue.options(delay_seconds=3600).enqueue(work)
    dated = queue.options(start_at=towpath_clock.now + DAY).enqueue(work)
    towpath_clock.advance(3599)
    assert delayed.get_status().status == WorkflowStatus.DELAYED
    towpath_clock.advance(1)
    assert delayed.get_status().status == WorkflowStatus.SUCCESS
    assert dated.get_status().status == WorkflowStatus.DELAYED
    towpath_clock.advance(DAY)
    assert dated.get_result(timeout=10) == "done"


def test_deadlines_pass(towpath_app: App, towpath_clock: Clock) -> None:
    """A workflow's timeout cancels it, and the test sees it at once."""

    @towpath_app.workflow(name="late")
    def late() -> None:
        towpath_app.sleep(WEEK.total_seconds())

    began = towpath_clock.now
    with SetWorkflowTimeout(DAY.total_seconds()):
        handle = towpath_app.start_workflow(late)
    with pytest.raises(WorkflowCancelledError):
        handle.get_result()
    assert towpath_clock.now == began + DAY


def test_a_limiter_opens_without_waiting(towpath_app: App, towpath_clock: Clock) -> None:
    """Ten starts at two an hour take four hours and a bit, and no time."""
    queue = towpath_app.queue("slow", limiter={"limit": 2, "period": 3600})
    starts: list[datetime] = []

    @towpath_app.step(name="note")
    def note() -> None:
        starts.append(towpath_clock.now)

    @towpath_app.workflow(name="work")
    def work() -> None:
        note()

    began = towpath_clock.now
    for handle in [queue.enqueue(work) for _ in range(10)]:
        handle.get_result()
    hours = [round((start - began) / timedelta(hours=1)) for start in starts]
    assert hours == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_a_partition_goes_on_without_waiting(towpath_app: App, towpath_clock: Clock) -> None:
    """One at a time of a key, and its limiter."""
    queue = towpath_app.queue(
        "by key", partition_queue=True, partition_limiter={"limit": 1, "period": 60}
    )

    @towpath_app.workflow(name="work")
    def work(number: int) -> int:
        towpath_app.sleep(1)
        return number

    began = towpath_clock.now
    handles = [
        queue.options(queue_partition_key=key).enqueue(work, n) for n in range(3) for key in "ab"
    ]
    assert [h.get_result() for h in handles] == [0, 0, 1, 1, 2, 2]
    assert timedelta(seconds=121) <= towpath_clock.now - began < timedelta(seconds=125)


@manual
def test_schedules_fire_at_each_tick(towpath_app: App, towpath_clock: Clock) -> None:
    """Every tick on the way of the clock fires, once, at its time."""
    fired: list[tuple[datetime, datetime]] = []

    @towpath_app.schedule("0 6 * * *", timezone="UTC")
    @towpath_app.workflow(name="report")
    def report(tick: datetime) -> None:
        fired.append((tick, towpath_clock.now))

    began = towpath_clock.now.astimezone(UTC)
    noon = towpath_clock.advance_to(began.replace(hour=12, minute=0) + DAY)
    fired.clear()
    towpath_clock.advance(3 * DAY)
    mornings = [(noon + n * DAY).replace(hour=6, second=0, microsecond=0) for n in (1, 2, 3)]
    assert fired == [(morning, morning) for morning in mornings]


def test_pauses_between_tries_take_no_time(towpath_app: App) -> None:
    """A step that is tried again after hours is tried again at once."""
    tries = []

    @towpath_app.step(
        name="flaky", retries=3, backoff=Backoff(initial=timedelta(hours=1), maximum=DAY)
    )
    def flaky() -> str:
        tries.append(time.monotonic())
        if len(tries) < 4:
            raise ConnectionError
        return "at last"

    @towpath_app.workflow(name="tries")
    def work() -> str:
        return flaky()

    assert work() == "at last"
    assert tries[-1] - tries[0] < 5


def test_time_does_not_pass_a_step_that_computes(towpath_app: App, towpath_clock: Clock) -> None:
    """A message that comes late in real time is not overtaken by its timeout."""
    go = threading.Event()

    @towpath_app.step(name="slow")
    def slow(to: str) -> None:
        assert go.wait(10)
        towpath_app.send(to, "just in time")

    @towpath_app.workflow(name="sender")
    def sender(to: str) -> None:
        slow(to)

    @towpath_app.workflow(name="listener")
    def listener() -> str | None:
        return towpath_app.recv(timeout_seconds=1)  # type: ignore[no-any-return]

    began = towpath_clock.now
    listening = towpath_app.start_workflow(listener)
    towpath_app.start_workflow(sender, listening.workflow_id)
    threading.Timer(0.3, go.set).start()
    assert listening.get_result() == "just in time"
    assert towpath_clock.now == began


def test_async_workflows_and_branches_share_the_clock(
    towpath_app: App, towpath_clock: Clock
) -> None:
    """Branches that sleep at once take as long as the longest of them."""

    @towpath_app.workflow(name="branches")
    async def branches() -> list[int]:
        async def branch(days: int) -> int:
            await towpath_app.sleep_async(days * DAY.total_seconds())
            return days

        return list(await asyncio.gather(branch(1), branch(3), branch(2)))

    began = towpath_clock.now
    assert asyncio.run(_result(towpath_app, branches)) == [1, 3, 2]
    assert towpath_clock.now == began + 3 * DAY


async def _result(app: App, workflow: towpath.Workflow[[], object]) -> object:
    return await (await app.start_workflow_async(workflow)).get_result()


@manual
def test_a_test_is_told_what_does_not_come_to_rest(towpath_app: App, towpath_clock: Clock) -> None:
    """The error names the workflow that computes."""
    go, begun = threading.Event(), threading.Event()

    @towpath_app.workflow(name="busy")
    def busy(number: int) -> int:
        begun.set()
        go.wait(20)
        return number

    handle = towpath_app.start_workflow(busy, 7)
    assert begun.wait(10)
    try:
        with pytest.raises(StillBusyError, match=r"PENDING busy\(7\)"):
            towpath_clock.run_until_idle(patience=0.3)
    finally:
        go.set()
    handle.get_result(timeout=10)


@pytest.mark.towpath(clock="real")
def test_real_time_is_real(towpath_app: App) -> None:
    """Without the clock a sleep takes as long as it says."""

    @towpath_app.workflow(name="short")
    def short() -> None:
        towpath_app.sleep(0.2)

    began = time.monotonic()
    short()
    assert time.monotonic() - began >= 0.2


@manual
def test_the_clock_is_never_set_back(towpath_clock: Clock) -> None:
    """Whoever tries is told, or nothing changes."""
    now = towpath_clock.now
    with pytest.raises(ValueError, match="never set back"):
        towpath_clock.advance(-1)
    with pytest.raises(ValueError, match="time zone"):
        towpath_clock.advance_to(now.replace(tzinfo=None))
    assert towpath_clock.advance_to(now - DAY) == now


def test_an_unloaded_workflow_is_woken(towpath_app: App, towpath_clock: Clock) -> None:
    """A queue that gives places back puts its waiting workflows to sleep, and they wake in order."""
    queue = towpath_app.queue("few", concurrency=1, release_while_waiting=True)

    @towpath_app.workflow(name="sleeper")
    def sleeper(days: int) -> int:
        towpath_app.sleep(days * DAY.total_seconds())
        return days

    began = towpath_clock.now
    handles = [queue.enqueue(sleeper, days) for days in (3, 1, 2)]
    assert [h.get_result() for h in handles] == [3, 1, 2]
    assert towpath_clock.now == began + 3 * DAY
    wait_until(lambda: handles[0].get_status().attempt >= 1)


@pytest.mark.towpath(clock="manual", launch=False)
def test_without_a_worker_time_passes_too(towpath_app: App, towpath_clock: Clock) -> None:
    """What is enqueued stays where it is."""

    @towpath_app.workflow(name="late")
    def late() -> None:
        towpath_app.sleep(1)

    began = towpath_clock.now
    handle = towpath_app.start_workflow(late)
    assert towpath_clock.advance(DAY) == began + DAY
    assert handle.get_status().status == WorkflowStatus.ENQUEUED
    assert handle.get_status().created_at == began
