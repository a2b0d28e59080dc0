"""Limits as functions and people meet them: starts in a window, places, partitions, cancelled code."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from towpath import App
from towpath.errors import WorkflowCancelledError, WorkflowNotFoundError, WorkflowStatusError

Launch = Callable[..., towpath.Worker]


class Gauge:
    """How many are inside now, and the most that ever were, by a key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def enter(self, key: str) -> None:
        """Somebody comes in."""
        with self._lock:
            self.inside[key] += 1
            self.most[key] = max(self.most[key], self.inside[key])

    def leave(self, key: str) -> None:
        """Somebody goes."""
        with self._lock:
            self.inside[key] -= 1


def most_in_a_window(moments: list[float], period: float) -> int:
    """Return the most moments in any half-open window of a length."""
    ordered, most, first = sorted(moments), 0, 0
    for last, moment in enumerate(ordered):
        while moment - ordered[first] >= period:
            first += 1
        most = max(most, last - first + 1)
    return most


def test_no_window_sees_more_function_starts_than_the_limiter_allows(
    app: App, launched: Launch
) -> None:
    """20 in 0.3 s, 100 workflows, by the functions' own clock; ideal throughput but for the margin."""
    queue = app.queue("limited", limiter={"limit": 20, "period": 0.3})
    moments: list[float] = []

    @app.workflow(name="stamp")
    def stamp() -> None:
        moments.append(time.monotonic())

    launched(slots=100)
    for handle, _ in queue.enqueue_many(stamp, [()] * 100):
        handle.get_result(timeout=30)
    assert len(moments) == 100
    assert most_in_a_window(moments, 0.3) <= 20


def test_a_limiter_forgets_no_start_by_cancel_resume_or_delete(app: App, launched: Launch) -> None:
    """Two of two are spent: whatever becomes of them, the third waits for the window."""
    queue = app.queue("limited", limiter={"limit": 2, "period": 3600})

    @app.workflow(name="task")
    def task() -> int:
        return 1

    launched()
    first = queue.enqueue(task)
    assert first.get_result(timeout=10) == 1
    second = queue.enqueue(task)
    assert second.get_result(timeout=10) == 1
    app.delete_workflow(first.workflow_id)
    third = queue.enqueue(task)
    app.cancel_workflow(third.workflow_id)
    app.resume_workflow(third.workflow_id)
    rows = app.engine.run(lambda session: session.run((b"SELECT max(n) FROM towpath.start", {})))
    assert rows[0] == [(2,)]
    assert third.get_status().status == "ENQUEUED"


def test_partitions_run_in_order_one_at_a_time_and_side_by_side(app: App, launched: Launch) -> None:
    """8 keys of 12 workflows: in order and never two of a key; several keys at once."""
    queue = app.queue("user-updates", partition_queue=True)
    order: dict[str, list[int]] = defaultdict(list)
    gauge = Gauge()

    @app.workflow(name="update")
    def update(key: str, number: int) -> None:
        gauge.enter(key)
        gauge.enter("all")
        order[key].append(number)
        time.sleep(0.002)
        gauge.leave("all")
        gauge.leave(key)

    app.engine.may_migrate = True
    handles = [
        queue.options(queue_partition_key=f"user-{key}").enqueue(update, f"user-{key}", number)
        for number in range(12)
        for key in range(8)
    ]
    launched()
    for handle in handles:
        handle.get_result(timeout=30)
    assert all(numbers == list(range(12)) for numbers in order.values())
    assert all(most == 1 for key, most in gauge.most.items() if key != "all")
    assert gauge.most["all"] > 1


def test_a_key_with_many_waiting_starves_no_other(app: App, launched: Launch) -> None:
    """A key of 300 and one that comes later with one: the one does not wait for the 300."""
    queue = app.queue("fair", partition_queue=True, concurrency=1)
    begun: list[str] = []

    @app.workflow(name="task")
    def task(key: str) -> None:
        begun.append(key)

    app.engine.may_migrate = True
    queue.options(queue_partition_key="big").enqueue_many(task, [("big",)] * 300)
    last = queue.options(queue_partition_key="small").enqueue(task, "small")
    launched()
    last.get_result(timeout=20)
    assert begun.index("small") < 10


def test_partition_and_queue_limits_hold_together(app: App, launched: Launch) -> None:
    """Two of a key, three of the queue: whenever three run, two of them are of one of the two keys."""
    queue = app.queue("both", partition_queue=True, partition_concurrency=2, concurrency=3)
    gauge = Gauge()

    @app.workflow(name="task")
    def task(key: str) -> None:
        gauge.enter(key)
        gauge.enter("all")
        time.sleep(0.005)
        gauge.leave("all")
        gauge.leave(key)

    app.engine.may_migrate = True
    handles = []
    for key in "ab":
        options = queue.options(queue_partition_key=key)
        handles += options.enqueue_many(task, [(key,)] * 15)
    launched()
    for handle, _ in handles:
        handle.get_result(timeout=30)
    assert gauge.most["all"] == 3
    assert max(gauge.most[key] for key in "ab") == 2


def test_a_cancelled_workflow_keeps_its_place_until_its_code_has_ended(
    app: App, launched: Launch
) -> None:
    """With one place the next begins only then; resumed meanwhile, it waits for its own code too."""
    queue = app.queue("one", concurrency=1)
    inside, go_on = threading.Event(), threading.Event()
    runs: list[int] = []

    @app.workflow(name="long")
    def long() -> str:
        runs.append(len(runs))
        inside.set()
        go_on.wait(20)
        return f"run {len(runs)}"

    @app.workflow(name="next")
    def next_one() -> bool:
        return go_on.is_set()

    launched()
    cancelled = queue.enqueue(long)
    assert inside.wait(10)
    follower = queue.enqueue(next_one)
    app.cancel_workflow(cancelled.workflow_id)
    assert cancelled.get_status().status == "CANCELLED"
    with pytest.raises(WorkflowCancelledError):
        cancelled.get_result(timeout=5)
    resumed = app.resume_workflow(cancelled.workflow_id)
    assert resumed.get_status().status == "ENQUEUED"
    assert follower.get_status().status == "ENQUEUED"
    go_on.set()
    assert follower.get_result(timeout=10) is True
    assert resumed.get_result(timeout=10) == "run 2"


def test_cancel_resume_and_delete_say_what_they_refuse(app: App, launched: Launch) -> None:
    """Ended ones are not cancelled or resumed, unknown ones are not found, a deleted id is free."""
    queue = app.queue("email")

    @app.workflow(name="task")
    def task() -> int:
        return 1

    launched()
    done = queue.options(workflow_id="chosen").enqueue(task)
    assert done.get_result(timeout=10) == 1
    with pytest.raises(WorkflowStatusError, match="is SUCCESS: cancel is only for"):
        app.cancel_workflow("chosen")
    with pytest.raises(WorkflowStatusError, match="is SUCCESS: resume is only for"):
        app.resume_workflow("chosen")
    with pytest.raises(WorkflowStatusError, match="a change of delay is only for DELAYED"):
        app.set_delay("chosen", delay_seconds=1)
    with pytest.raises(WorkflowNotFoundError):
        app.cancel_workflow("unknown")
    app.delete_workflow("chosen")
    with pytest.raises(WorkflowNotFoundError):
        app.retrieve_workflow("chosen")
    assert queue.options(workflow_id="chosen").enqueue(task).get_result(timeout=10) == 1


def test_settings_change_while_workers_run(app: App, launched: Launch, database_url: str) -> None:
    """A raised limit takes effect at once, a lowered one lets what runs end; partitions on and off."""
    queue = app.queue("live", concurrency=1, polling_interval_sec=3600)
    gauge, go_on = Gauge(), threading.Event()

    @app.workflow(name="hold")
    def hold() -> None:
        gauge.enter("all")
        go_on.wait(20)
        gauge.leave("all")

    launched()
    handles = [queue.enqueue(hold) for _ in range(8)]
    wait_until(lambda: gauge.inside["all"] == 1)
    other = App(database_url=database_url)
    try:
        declare(other, concurrency=4)
        wait_until(lambda: gauge.inside["all"] == 4)
        declare(other, concurrency=2)
        assert gauge.inside["all"] == 4
        declare(other, partition_queue=True)
        go_on.set()
        for handle in handles:
            handle.get_result(timeout=20)
        assert gauge.most["all"] == 4
    finally:
        other.shutdown()


def declare(app: App, **options: Any) -> None:
    """Declare the queue `live` anew, as another process would."""
    app.registry = type(app.registry)()
    app.queue("live", polling_interval_sec=3600, **options)
    from towpath.executor.declarations import declare_queues  # noqa: PLC0415 - the test's own way

    registry = app.registry
    engine = app.engine
    engine.registry = registry
    engine.run(lambda session: declare_queues(session, engine))


def test_workflows_that_were_left_behind_by_a_switch_of_partitioning_run(
    app: App, launched: Launch, database_url: str
) -> None:
    """An enqueue that read the settings of before commits after the switch: it is gathered, and runs."""
    queue = app.queue("switch", partition_queue=True)

    @app.workflow(name="task")
    def task() -> int:
        return 1

    launched()
    assert queue.options(queue_partition_key="k").enqueue(task).get_result(timeout=10) == 1
    with psycopg.connect(database_url, autocommit=True) as sql:
        handle = queue.options(queue_partition_key="k", delay_seconds=3600).enqueue(task)
        # as a row of an unpartitioned enqueue would stand there
        sql.execute(
            "WITH gone AS (DELETE FROM towpath.parked RETURNING seq) INSERT INTO towpath.ready "
            "(seq, rank, line, queue, name, version) SELECT seq, 0, seq, 'switch', 'task', '' FROM gone"
        )
    assert handle.get_result(timeout=20) == 1
