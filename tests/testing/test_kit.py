"""What a test of an application has in hand: its own database, draining, crashes, assertions."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

import towpath
from towpath import App, SetEnqueueOptions, SetWorkflowID, WorkflowStatus
from towpath.errors import (
    AlreadyLaunchedError,
    ConfigurationError,
    UsageError,
    WorkflowNotFoundError,
)
from towpath.testing import (
    Boundary,
    CrashPlan,
    DatabaseServer,
    Kit,
    Moment,
    NotCrashedError,
    NotDrainedError,
    NotEnqueuedError,
    StillBusyError,
    assert_enqueued,
    crash_after,
    crash_before,
    drain,
    enqueued,
    under_test,
)


def test_an_app_is_put_on_a_fresh_database_and_back(towpath_server: DatabaseServer) -> None:
    """What one test has left the next one does not find; after it the App is where it was."""
    app = App(database_url="postgresql://nowhere.invalid/db")

    @app.workflow(name="one")
    def one() -> int:
        return 1

    for _ in range(2):
        with under_test(app, towpath_server):
            assert app.list_workflows() == []
            assert one() == 1
            assert len(app.list_workflows()) == 1
    assert app._database_url == "postgresql://nowhere.invalid/db"


def test_the_default_app_may_be_under_test(towpath_server: DatabaseServer) -> None:
    """Module-level names work there, in a schema of the App's own name."""
    from towpath.api.default import default_app  # noqa: PLC0415 - the test is about it

    with under_test(default_app, towpath_server, launch=False):
        assert towpath.list_workflows() == []


def test_the_environment_does_not_count(
    towpath_server: DatabaseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A developer's own variables neither name the database nor narrow the worker."""
    monkeypatch.setenv("TOWPATH_DATABASE_URL", "postgresql://nowhere.invalid/db")
    monkeypatch.setenv("TOWPATH_QUEUES", "")
    monkeypatch.setenv("TOWPATH_SCHEMA", "elsewhere")
    app = App()

    @app.workflow(name="one")
    def one() -> int:
        return 1

    with under_test(app, towpath_server):
        assert one() == 1


def test_a_schema_of_the_apps_own_is_there(towpath_server: DatabaseServer) -> None:
    """An App in another schema is tested in that."""
    app = App(schema="shop")

    @app.workflow(name="one")
    def one() -> str:
        app.sleep(3600)
        return "one"

    with under_test(app, towpath_server) as kit:
        assert one() == "one"
        with psycopg.connect(kit.database_url) as connection:
            asked = "SELECT count(*) FROM shop.result"
            assert connection.execute(asked).fetchone() == (1,)


def test_a_launched_app_is_not_taken_away(app: App, towpath_server: DatabaseServer) -> None:
    """Whoever has launched it stops it first."""
    app.launch(queues=[])
    with pytest.raises(AlreadyLaunchedError), under_test(app, towpath_server):
        pass


def test_an_unknown_clock_is_refused(app: App, towpath_server: DatabaseServer) -> None:
    """The message names the ones that there are."""
    with (
        pytest.raises(ConfigurationError, match="automatic, manual, real"),
        under_test(app, towpath_server, clock="fast"),  # type: ignore[arg-type]
    ):
        pass


def test_without_an_app_the_verbs_say_what_to_ask_for() -> None:
    """They name the fixture."""
    with pytest.raises(UsageError, match="towpath_app"):
        drain("any")


@pytest.mark.towpath(launch=False, slots=3)
def test_a_marker_has_the_options(towpath_kit: Kit) -> None:
    """The test launches itself where it says so."""
    towpath_kit.app.launch(slots=1)


def test_draining_returns_what_has_ended(towpath_app: App) -> None:
    """In order, with results and errors, over all of the time that it takes."""
    queue = towpath_app.queue("work")

    @towpath_app.workflow(name="work")
    def work(number: int) -> int:
        towpath_app.sleep(number * 3600)
        if number == 2:
            raise LookupError("two")
        return number

    queue.enqueue(work, 0)
    assert [i.result for i in drain(queue)] == [0]
    for number in (3, 2, 1):
        queue.enqueue(work, number)
    done = drain(queue)
    assert [(i.args[0], i.status.value, i.result) for i in done] == [
        (3, "SUCCESS", 3),
        (2, "ERROR", None),
        (1, "SUCCESS", 1),
    ]
    assert drain("work") == []


def test_what_cannot_be_drained_is_told_with_the_reason(towpath_app: App) -> None:
    """A message that nobody sends, and a queue that is paused."""
    queue = towpath_app.queue("work", concurrency=1)

    @towpath_app.workflow(name="listener")
    def listener(name: str) -> list[Any]:
        return [name, towpath_app.recv("topic", timeout_seconds=None)]

    first = queue.enqueue(listener, "a")
    queue.enqueue(listener, name="b")
    with pytest.raises(NotDrainedError) as caught:
        drain(queue)
    waiting, behind = caught.value.left
    assert waiting.startswith("PENDING listener('a'): ")
    assert behind.startswith("ENQUEUED listener(name='b'): ")
    assert "1 of 1" in behind or "place" in behind
    towpath_app.send(first.workflow_id, "hello", "topic")
    assert first.get_result() == ["a", "hello"]


@pytest.mark.towpath(clock="manual")
def test_a_manual_clock_is_not_moved_by_draining(towpath_app: App) -> None:
    """What sleeps is left, and the test is told until when."""
    queue = towpath_app.queue("work")

    @towpath_app.workflow(name="sleeper")
    def sleeper() -> None:
        towpath_app.sleep(60)

    queue.enqueue(sleeper)
    with pytest.raises(NotDrainedError, match=r"PENDING sleeper\(\)"):
        drain(queue)


@pytest.mark.towpath(clock="real")
def test_draining_on_real_time_has_an_end(towpath_app: App) -> None:
    """It waits for what ends, and is impatient with what does not."""
    queue, go = towpath_app.queue("work"), threading.Event()

    @towpath_app.workflow(name="work")
    def work(waits: int) -> int:
        if waits:
            go.wait(20)
        return waits

    queue.enqueue(work, 0)
    assert [i.args[0] for i in drain(queue)] == [0]
    queue.enqueue(work, 1)
    try:
        with pytest.raises(StillBusyError, match=r"work\(1\)"):
            drain(queue, patience=0.3)
    finally:
        go.set()


class Shop:
    """A workflow of two steps, which count how often they run."""

    def __init__(self, app: App) -> None:
        self.ran: list[str] = []

        @app.step(name="reserve")
        def reserve() -> None:
            self.ran.append("reserve")

        @app.step(name="charge")
        def charge() -> str:
            self.ran.append("charge")
            return "paid"

        @app.workflow(name="order")
        def order() -> str:
            reserve()
            return charge()

        self.reserve, self.charge, self.order = reserve, charge, order


def test_a_crash_after_a_step_does_not_run_it_again(towpath_app: App) -> None:
    """The workflow is recovered, and goes on behind it."""
    shop = Shop(towpath_app)
    with crash_after(shop.reserve):
        handle = towpath_app.start_workflow(shop.order)
        assert handle.get_result() == "paid"
    assert shop.ran == ["reserve", "charge"]
    assert handle.get_status().attempt == 2


def test_a_crash_before_its_record_runs_a_step_again(towpath_app: App) -> None:
    """As often as it is asked for; others are left alone."""
    shop = Shop(towpath_app)
    with crash_before("charge", times=2):
        handle = towpath_app.start_workflow(shop.order)
        assert handle.get_result() == "paid"
    assert shop.ran == ["reserve", "charge", "charge", "charge"]
    assert handle.get_status().attempt == 3
    assert shop.order() == "paid"


def test_a_poison_workflow_is_given_up(towpath_app: App) -> None:
    """Crashes are recoveries: one more than allowed is the end."""
    step = towpath_app.step(name="poison")(lambda: None)

    @towpath_app.workflow(name="poisoned", max_recovery_attempts=2)
    def poisoned() -> None:
        step()

    with crash_before("poison", times=3):
        handle = towpath_app.start_workflow(poisoned)
        with pytest.raises(towpath.errors.MaxRecoveryAttemptsExceededError):
            handle.get_result()
    assert handle.get_status().attempt == 3


def test_a_crash_that_does_not_come_fails_the_test(towpath_app: App) -> None:
    """The message has the steps that were reached."""
    shop = Shop(towpath_app)
    with pytest.raises(NotCrashedError, match="reserve, charge"), crash_after("chrage"):
        shop.order()


def test_a_plan_crashes_at_the_nth_write(towpath_app: App) -> None:
    """In whatever attempt; it tells what each attempt has reached, and leaves the App to the one around it."""
    shop = Shop(towpath_app)
    with CrashPlan(towpath_app) as plan:
        plan.crash("one", 2)
        plan.crash("one", Boundary("2", "charge", Moment.BEFORE), attempt=2)
        with SetWorkflowID("one"):
            assert shop.order() == "paid"
        assert [str(b) for b in plan.boundaries("one")] == [
            "order after", "1 reserve before", "1 reserve after",
        ]  # fmt: skip
        assert [(a.attempt, a.number, str(a.boundary)) for a in plan.crashed] == [
            (1, 2, "1 reserve after"),
            (2, 1, "2 charge before"),
        ]
        assert str(plan.boundaries("one", 3)[-1]) == "order before"
        assert plan.boundaries("two") == []
    assert shop.ran == ["reserve", "charge", "charge"]
    with crash_after(shop.charge):
        shop.order()


def test_a_failure_inside_the_block_is_the_tests(towpath_app: App) -> None:
    """It is not hidden by the crash that did not come."""
    shop = Shop(towpath_app)
    with pytest.raises(WorkflowNotFoundError), crash_after(shop.charge):
        towpath_app.retrieve_workflow("nobody")


@pytest.mark.towpath(launch=False)
def test_what_was_enqueued_can_be_asserted(towpath_app: App) -> None:
    """By workflow, arguments and options, and how often."""
    queue = towpath_app.queue("mail", priority_enabled=True)

    @towpath_app.workflow(name="send")
    def send(to: str, *, copy: bool = False) -> None:
        assert to != str(copy)

    with SetEnqueueOptions(priority=3, deduplication_id="a"):
        queue.enqueue(send, "ada", copy=True)
    queue.enqueue(send, "bob")
    assert [(i.name, i.args, i.kwargs, i.priority) for i in enqueued(queue)] == [
        ("send", ["ada"], {"copy": True}, 3),
        ("send", ["bob"], {}, None),
    ]
    assert_enqueued(queue, send, times=2)
    (found,) = assert_enqueued("mail", "send", args=("ada",), kwargs={"copy": True}, priority=3)
    assert found.status == WorkflowStatus.ENQUEUED
    assert_enqueued(queue, send, args=["eve"], times=0)


@pytest.mark.towpath(launch=False)
def test_what_was_not_enqueued_is_told_beside_what_was(towpath_app: App) -> None:
    """The failure lists the queue's calls."""
    queue = towpath_app.queue("mail", priority_enabled=True)

    @towpath_app.workflow(name="send")
    def send(to: str) -> None:
        assert to

    with pytest.raises(NotEnqueuedError, match="given:\n  nothing"):
        assert_enqueued(queue)
    queue.options(priority=1).enqueue(send, "ada")
    with pytest.raises(AssertionError) as caught:
        assert_enqueued(queue, send, args=["bob"], priority=2, times=2)
    assert str(caught.value) == (
        "queue 'mail': expected 2 of priority=2, name='send', args=['bob'], and 0 are there; "
        "it was given:\n  send('ada') priority=1"
    )
