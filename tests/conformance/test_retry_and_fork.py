"""Failed workflows go on from their failed step, and any goes another way from a step of its past."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import towpath
from towpath import App, Queue, Step, Workflow
from towpath.errors import (
    ConfigurationError,
    EnqueueOptionError,
    QueueClosedError,
    QueueNotFoundError,
    StepNotFoundError,
    WorkflowFilterError,
    WorkflowIdConflictError,
    WorkflowNotFoundError,
    WorkflowStatusError,
)

Launch = Callable[..., towpath.Worker]


class Shop:
    """A workflow of three steps, and what it has called.

    Attributes:
        calls: How often each step has run.
        broken: The step that fails, if one does.
    """

    def __init__(self, app: App) -> None:
        self.calls: Counter[str] = Counter()
        self.broken: str | None = None
        self.queue: Queue = app.queue("orders")

        @app.step(name="call")
        def call(what: str) -> str:
            self.calls[what] += 1
            if self.broken == what:
                raise OSError(f"{what} is out", len(what))
            return f"{what} {self.calls[what]}"

        @app.workflow(name="order")
        def order(customer: str) -> list[str]:
            return [customer, call("stock"), call("charge"), call("ship")]

        @app.workflow(name="careful")
        def careful() -> str:
            try:
                call("charge")
            except OSError:
                call("stock")
            return call("charge")

        @app.workflow(name="stubborn")
        def stubborn() -> str:
            for _ in range(2):
                try:
                    return call("charge")
                except OSError:
                    pass
            return call("charge")

        self.order: Workflow[[str], list[str]] = order
        self.careful: Workflow[[], str] = careful
        self.stubborn: Workflow[[], str] = stubborn
        self.branches = self._add_branches(app, call)

    def _add_branches(self, app: App, call: Step[[str], str]) -> Workflow[[], Any]:
        @app.workflow(name="branches")
        async def branches() -> list[str]:
            return list(await asyncio.gather(*(branch(n) for n in ("charge", "ship"))))

        async def branch(what: str) -> str:
            first = await app.queue("orders").enqueue_async(one, what)
            return await first.get_result()

        @app.workflow(name="one")
        def one(what: str) -> str:
            return call(what)

        return branches


@pytest.fixture
def shop(app: App) -> Shop:
    """Return the workflows of the App."""
    return Shop(app)


def test_a_retry_goes_on_from_the_failed_step(app: App, shop: Shop, launched: Launch) -> None:
    """Same id; what has succeeded is not run again, and attempts go on counting."""
    launched()
    shop.broken = "charge"
    handle = shop.queue.options(workflow_id="o1").enqueue(shop.order, "me")
    with pytest.raises(OSError, match="charge is out"):
        handle.get_result(timeout=10)
    shop.broken = None
    again = app.retry_workflow("o1")
    assert again.workflow_id == "o1"
    assert again.get_result(timeout=10) == ["me", "stock 1", "charge 2", "ship 1"]
    steps = [(s.position, s.attempt, s.error) for s in app.list_workflow_steps("o1")]
    assert steps == [("1", 1, None), ("2", 2, None), ("3", 2, None)]
    assert again.get_status().attempt == 2


def test_a_retry_that_fails_again_may_be_retried_again(
    app: App, shop: Shop, launched: Launch
) -> None:
    """Also where the code itself fails, outside of any step; everything recorded stays then."""
    launched()
    shop.broken = "ship"
    handle = shop.queue.options(workflow_id="o1").enqueue(shop.order, "me")
    for _ in range(3):
        with pytest.raises(OSError, match="ship is out"):
            handle.get_result(timeout=10)
        app.retry_workflow("o1")
    with pytest.raises(OSError, match="ship is out"):
        handle.get_result(timeout=10)
    assert shop.calls == {"stock": 1, "charge": 1, "ship": 4}
    assert handle.get_status().attempt == 4


def test_a_failure_that_was_caught_stays_recorded(app: App, shop: Shop, launched: Launch) -> None:
    """Though it is the same as the one that ended the workflow: the replay takes the same path."""
    launched()
    shop.broken = "charge"
    handle = shop.queue.options(workflow_id="c").enqueue(shop.careful)
    with pytest.raises(OSError, match="charge is out"):
        handle.get_result(timeout=10)
    shop.broken = None
    assert app.retry_workflow("c").get_result(timeout=10) == "charge 3"
    assert [s.error is None for s in app.list_workflow_steps("c")] == [False, True, True]


def test_a_loop_of_the_workflows_own_begins_its_tries_anew(
    app: App, shop: Shop, launched: Launch
) -> None:
    """All of its failures are the one that ended it, and nothing came after them."""
    launched()
    shop.broken = "charge"
    handle = shop.queue.options(workflow_id="s").enqueue(shop.stubborn)
    with pytest.raises(OSError, match="charge is out"):
        handle.get_result(timeout=10)
    shop.broken = None
    assert app.retry_workflow("s").get_result(timeout=10) == "charge 4"


def test_a_parent_is_retried_after_its_child(app: App, shop: Shop, launched: Launch) -> None:
    """Its wait for the child's result failed with the child's error: the child itself goes first."""
    launched()
    shop.broken = "charge"
    handle = shop.queue.options(workflow_id="p").enqueue(shop.branches)
    with pytest.raises(OSError, match="charge is out"):
        handle.get_result(timeout=10)
    shop.broken = None
    (child,) = app.list_workflows(parent_workflow_id="p", status="ERROR")
    assert app.retry_workflow(child.workflow_id).get_result(timeout=10) == "charge 2"
    assert app.retry_workflow("p").get_result(timeout=10) == ["charge 2", "ship 1"]


def test_errors_of_classes_that_cannot_be_raised_again(app: App, launched: Launch) -> None:
    """A step's failure is raised as StepFailedError, and is the step's all the same."""
    broken = [True]

    @app.step(name="step")
    def step() -> str:
        class LocalError(Exception):
            pass

        if broken:
            raise LocalError("local")
        return "done"

    @app.workflow(name="local")
    def local() -> str:
        return step()

    launched()
    handle = app.queue("q").enqueue(local)
    with pytest.raises(towpath.errors.StepFailedError, match="local"):
        handle.get_result(timeout=10)
    broken.clear()
    assert app.retry_workflow(handle.workflow_id).get_result(timeout=10) == "done"


def test_what_a_retry_refuses_and_reports(
    app: App, shop: Shop, launched: Launch, caplog: pytest.LogCaptureFixture
) -> None:
    """ERROR alone is retried; what has not ended is said to be left as it is."""
    waits = shop.queue.options(delay_seconds=3600).enqueue(shop.order, "a")
    caplog.set_level(logging.INFO, "towpath.api")
    assert app.retry_workflow(waits.workflow_id).get_status().status == "DELAYED"
    assert [r.message for r in caplog.records] == ["workflow has not ended; it is not retried"]
    app.cancel_workflow(waits.workflow_id)
    with pytest.raises(WorkflowStatusError, match="is CANCELLED: retry is only for ERROR"):
        app.retry_workflow(waits.workflow_id)
    launched()
    done = shop.queue.enqueue(shop.order, "b")
    done.get_result(timeout=10)
    with pytest.raises(WorkflowStatusError, match="is SUCCESS: retry is only for ERROR"):
        app.retry_workflow(done.workflow_id)
    with pytest.raises(WorkflowNotFoundError):
        app.retry_workflow("nobody")
    with pytest.raises(WorkflowFilterError, match="status is 'CANCELLED'; allowed is ERROR"):
        app.retry_workflows(status="CANCELLED")
    with pytest.raises(WorkflowFilterError, match="limit is 0"):
        app.retry_workflows(limit=0)


def test_many_are_retried_by_filter(
    app: App, shop: Shop, launched: Launch, database_url: str
) -> None:
    """Each once, oldest first, however many batches; the count is told."""
    launched(slots=50)
    shop.broken = "charge"
    other = app.queue("other")
    handles = [h for h, _ in shop.queue.enqueue_many(shop.order, [(f"{n}",) for n in range(230)])]
    aside = other.enqueue(shop.order, "aside")
    for handle in [*handles, aside]:
        with pytest.raises(OSError, match="charge is out"):
            handle.get_result(timeout=30)
    shop.broken = None
    app.shutdown()
    with towpath.Client(database_url) as client:
        assert client.retry_workflows(queue_name="orders", limit=5) == 5
        first = client.list_workflows(status="ENQUEUED", order="oldest")
        assert [i.workflow_id for i in first] == [h.workflow_id for h in handles[:5]]
        assert asyncio.run(client.retry_workflows_async(queue_name=["orders"])) == 225
        assert client.retry_workflows(queue_name="orders") == 0
        assert client.retrieve_workflow(aside.workflow_id).get_status().status == "ERROR"
    launched(slots=50)
    assert {h.get_result(timeout=30)[0] for h in handles} == {f"{n}" for n in range(230)}
    assert shop.calls["stock"] == 231


@pytest.mark.parametrize(
    ("from_step", "copied", "result"),
    [
        ("start", 0, ["me", "stock 2", "charge 2", "ship 2"]),
        (1, 0, ["me", "stock 2", "charge 2", "ship 2"]),
        (2, 1, ["me", "stock 1", "charge 2", "ship 2"]),
        ("3", 2, ["me", "stock 1", "charge 1", "ship 2"]),
    ],
)
def test_a_fork_runs_anew_from_a_step(
    app: App, shop: Shop, launched: Launch, from_step: str | int, copied: int, result: list[str]
) -> None:
    """With the input and what was recorded before; the source stays as it is."""
    launched()
    source = shop.queue.options(workflow_id="o1").enqueue(shop.order, "me")
    assert source.get_result(timeout=10) == ["me", "stock 1", "charge 1", "ship 1"]
    before = (source.get_status(), app.list_workflow_steps("o1"))
    fork = app.fork_workflow("o1", from_step)
    assert fork.get_result(timeout=10) == result
    assert (source.get_status(), app.list_workflow_steps("o1")) == before
    (info,) = app.list_workflows(forked_from="o1")
    assert (info.workflow_id, info.forked_from) == (fork.workflow_id, "o1")
    assert info.attempt == (2 if copied else 1)
    steps = app.list_workflow_steps(fork.workflow_id)
    assert steps[:copied] == before[1][:copied]
    assert [s.position for s in steps] == ["1", "2", "3"]


def test_a_fork_keeps_what_its_queue_knows(app: App, launched: Launch, shop: Shop) -> None:
    """Partition key and priority; another queue is asked whether it takes them."""
    del shop
    keyed = app.queue("keyed", partition_queue=True, priority_enabled=True)
    app.queue("plain")

    @app.workflow(name="short")
    def short() -> int:
        return 1

    source = keyed.options(queue_partition_key="k", priority=7).enqueue(short)
    launched()
    assert source.get_result(timeout=10) == 1
    app.shutdown()
    fork = app.fork_workflow(source.workflow_id, "start", app_version="v2", new_workflow_id="again")
    info = fork.get_status()
    assert (info.queue_name, info.queue_partition_key, info.priority) == ("keyed", "k", 7)
    assert (info.workflow_id, info.app_version, info.status) == ("again", "v2", "ENQUEUED")
    assert app.fork_workflow(source.workflow_id, 1, new_workflow_id="again").workflow_id == "again"
    assert len(app.list_workflows(forked_from=source.workflow_id)) == 1
    with pytest.raises(EnqueueOptionError, match="allowed is none on a queue without"):
        app.fork_workflow(source.workflow_id, 1, queue_name="plain")


def test_a_fork_takes_the_children_that_came_before(app: App, shop: Shop, launched: Launch) -> None:
    """A child of the past is not started again; one that comes after the step is started anew."""
    launched()
    parent = shop.queue.options(workflow_id="p").enqueue(shop.branches)
    parent.get_result(timeout=10)
    with pytest.raises(ConfigurationError, match=r"from_step is '2\.1', a position in a concurr"):
        app.fork_workflow("p", "2.1")
    fork = app.fork_workflow("p", "2")
    assert fork.get_result(timeout=10) == ["charge 1", "ship 2"]
    steps = app.list_workflow_steps(fork.workflow_id)
    old = {i.workflow_id for i in app.list_workflows(parent_workflow_id="p")}
    children = [s.child_workflow_id in old for s in steps if s.child_workflow_id]
    assert children == [True, False]


def test_what_a_fork_refuses(app: App, shop: Shop, launched: Launch) -> None:
    """A step that is not there is told with those that are; nothing is written."""
    launched()
    shop.queue.options(workflow_id="o1").enqueue(shop.order, "me").get_result(timeout=10)
    shop.queue.options(workflow_id="other").enqueue(shop.order, "me").get_result(timeout=10)
    for wrong in (4, "4", 0, "-1", "9.1", "ship", "", True):
        with pytest.raises(StepNotFoundError) as caught:
            app.fork_workflow("o1", wrong)
        assert caught.value.steps == ["1 call", "2 call", "3 call"]
    assert "has no step True to fork from. It has recorded: 1 call, 2 call" in str(caught.value)
    with pytest.raises(WorkflowNotFoundError):
        app.fork_workflow("nobody", 1)
    with pytest.raises(QueueNotFoundError, match=r"'order' was not found. Did you mean 'orders'"):
        app.fork_workflow("o1", 1, queue_name="order")
    with pytest.raises(WorkflowIdConflictError, match="'other' is in use"):
        app.fork_workflow("o1", 1, new_workflow_id="other")
    with pytest.raises(EnqueueOptionError, match="app_version is ''"):
        app.fork_workflow("o1", 1, app_version="")
    app.engine.run(lambda s: s.run((b"UPDATE towpath.queue SET closed = true", {})))
    with pytest.raises(QueueClosedError):
        app.fork_workflow("o1", 1)
    assert len(app.list_workflows()) == 2


def test_a_fork_of_what_still_runs_or_waits(app: App, shop: Shop) -> None:
    """It is another workflow, and either goes its way."""
    source = shop.queue.enqueue(shop.order, "me")
    fork = asyncio.run(app.fork_workflow_async(source.workflow_id, "start"))
    assert [i.status for i in app.list_workflows()] == ["ENQUEUED", "ENQUEUED"]
    app.delete_workflow(source.workflow_id)
    assert asyncio.run(fork.get_status()).forked_from is None


def test_a_fork_has_the_events_and_streams_of_its_past(app: App, launched: Launch) -> None:
    """Those of the positions before, and what steps before wrote; the rest it writes anew."""
    runs = [0]

    @app.step(name="log")
    def log(what: str) -> None:
        app.write_stream("log", f"in {what} {runs[0]}")

    @app.workflow(name="writes")
    def writes() -> int:
        runs[0] += 1
        app.set_event("state", f"a {runs[0]}")  # 1
        app.write_stream("log", f"x {runs[0]}")  # 2
        log("first")  # 3
        app.set_event("state", f"b {runs[0]}")  # 4
        log("second")  # 5
        app.close_stream("log")  # 6
        return runs[0]

    launched()
    queue = app.queue("q")
    source = queue.options(workflow_id="w").enqueue(writes)
    assert source.get_result(timeout=10) == 1
    fork = app.fork_workflow("w", 4)
    assert fork.get_result(timeout=10) == 2
    assert list(app.read_stream(fork.workflow_id, "log")) == ["x 1", "in first 1", "in second 2"]
    assert app.get_event(fork.workflow_id, "state") == "b 2"
    early = app.fork_workflow("w", 2)
    assert early.get_result(timeout=10) == 3
    assert list(app.read_stream(early.workflow_id, "log")) == ["x 3", "in first 3", "in second 3"]
    assert list(app.read_stream("w", "log")) == ["x 1", "in first 1", "in second 1"]
    assert app.get_event("w", "state") == "b 1"
