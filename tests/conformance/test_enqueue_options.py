"""What an enqueue may ask for: priority, partition key, deduplication, delay, bulk, the caller's transaction."""

from __future__ import annotations

import concurrent.futures
import math
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from towpath import App, SetEnqueueOptions, SetWorkflowID
from towpath.errors import (
    EnqueueOptionError,
    QueueClosedError,
    QueueDeduplicatedError,
    QueueNotFoundError,
    QueueSettingsError,
    ValueTooLargeError,
    WorkflowIdConflictError,
)

Launch = Callable[..., towpath.Worker]


def test_the_more_urgent_goes_first_and_ties_in_order(app: App, launched: Launch) -> None:
    """100, 50, 10, none; two of one priority in the order of their enqueue; changed while it waits."""
    tasks = app.queue("priority-tasks", priority_enabled=True, concurrency=1)
    begun: list[str] = []

    @app.workflow(name="task")
    def task(name: str) -> None:
        begun.append(name)

    late = tasks.options(priority=1).enqueue(task, "changed")
    tasks.enqueue(task, "none")
    for name, priority in (("low", 10), ("urgent", 100), ("normal", 50), ("normal too", 50)):
        with SetEnqueueOptions(priority=priority):
            tasks.enqueue(task, name)
    app.set_priority(late.workflow_id, 200)
    launched()
    wait_until(lambda: len(begun) == 6)
    assert begun == ["changed", "urgent", "normal", "normal too", "low", "none"]


@pytest.mark.parametrize("priority", [0, -1, 2_147_483_648, True, 1.0, "1"])
def test_a_priority_out_of_range_is_refused_before_anything_is_written(
    app: App, priority: Any
) -> None:
    """The error names the option, its value and what is allowed."""
    with pytest.raises(EnqueueOptionError, match=r"priority is .*; allowed is an int from 1 to"):
        SetEnqueueOptions(priority=priority)
    with pytest.raises(EnqueueOptionError):
        app.queue("tasks", priority_enabled=True).options(priority=priority)


def test_what_the_queue_does_not_take_is_refused_and_nothing_is_written(app: App) -> None:
    """Priority without priority_enabled, a key without partitioning, no key with it."""
    plain, parted = app.queue("plain"), app.queue("parted", partition_queue=True)

    @app.workflow(name="task")
    def task() -> None: ...

    app.engine.may_migrate = True
    refusals: list[tuple[Callable[[], object], str]] = [
        (lambda: plain.options(priority=5).enqueue(task), "'plain': priority is 5"),
        (
            lambda: plain.options(queue_partition_key="k").enqueue(task),
            "queue_partition_key is 'k'",
        ),
        (lambda: parted.enqueue(task), "'parted': queue_partition_key is None"),
        (lambda: parted.enqueue_many(task, [()]), "'parted': queue_partition_key is None"),
    ]
    for call, words in refusals:
        with pytest.raises(EnqueueOptionError, match=words):
            call()
    assert app.list_workflows() == []


@pytest.mark.parametrize(
    "options",
    [
        {"delay_seconds": -1},
        {"delay_seconds": math.nan},
        {"delay_seconds": math.inf},
        {"delay_seconds": True},
        {"start_at": datetime(2030, 1, 1)},  # noqa: DTZ001 - naive on purpose
        {"start_at": "tomorrow"},
        {"delay_seconds": 1, "start_at": datetime(2030, 1, 1, tzinfo=UTC)},
        {"deduplication_id": ""},
        {"deduplication_id": "x" * 256},
        {"queue_partition_key": "nul\x00"},
        {"queue_partition_key": "\ud800"},
        {"on_duplicate": "ignore"},
    ],
)
def test_options_that_no_queue_takes_are_refused_when_they_are_given(
    options: dict[str, Any],
) -> None:
    """Each error names its option."""
    with pytest.raises(EnqueueOptionError) as caught:
        SetEnqueueOptions(**options)
    assert caught.value.field in options


def test_inner_options_override_field_by_field_and_are_not_inherited(
    app: App, launched: Launch
) -> None:
    """An inner block changes its own field; the started workflow starts with none of them."""
    queue = app.queue("tasks", priority_enabled=True)

    @app.workflow(name="inner")
    def inner() -> None: ...

    @app.workflow(name="outer")
    def outer() -> int | None:
        return queue.enqueue(inner).get_status().priority

    launched()
    with SetEnqueueOptions(priority=7, deduplication_id="a"):
        with SetEnqueueOptions(priority=9):
            handle = queue.enqueue(outer)
        status = handle.get_status()
    assert (status.priority, status.deduplication_id) == (9, "a")
    assert handle.get_result(timeout=10) is None


def test_a_deduplication_id_is_held_until_the_end(app: App, launched: Launch) -> None:
    """The error carries the holder's id; `return` hands back its handle; free after the end."""
    queue = app.queue("deduplicated-tasks")
    go_on = threading.Event()

    @app.workflow(name="pay")
    def pay() -> int:
        go_on.wait(10)
        return 99

    launched()
    with SetEnqueueOptions(deduplication_id="txn"):
        first = queue.enqueue(pay)
        with pytest.raises(QueueDeduplicatedError) as caught:
            queue.enqueue(pay)
    error = caught.value
    assert (error.workflow_id, error.queue_name, error.deduplication_id) == (
        first.workflow_id, "deduplicated-tasks", "txn",
    )  # fmt: skip
    same = queue.options(deduplication_id="txn", on_duplicate="return").enqueue(pay)
    assert same.workflow_id == first.workflow_id
    go_on.set()
    assert app.retrieve_workflow(error.workflow_id).get_result(timeout=10) == 99
    again = queue.options(deduplication_id="txn").enqueue(pay)
    assert again.workflow_id != first.workflow_id


def test_racing_enqueuers_of_one_deduplication_id_create_one(app: App) -> None:
    """Sixteen threads: one creates, the others learn its id."""
    queue = app.queue("races")
    app.engine.may_migrate = True

    @app.workflow(name="task")
    def task() -> None: ...

    def one(_: int) -> tuple[str, bool]:
        try:
            return queue.options(deduplication_id="d").enqueue(task).workflow_id, True
        except QueueDeduplicatedError as error:
            return error.workflow_id, False

    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        done = list(threads.map(one, range(64)))
    assert sum(created for _, created in done) == 1
    assert len({found for found, _ in done}) == 1


def test_a_delayed_workflow_waits_and_starts_when_it_is_due(app: App, launched: Launch) -> None:
    """DELAYED until then; a date, a change, and a cancel while it waits."""
    queue = app.queue("later", polling_interval_sec=3600)
    begun = threading.Event()

    @app.workflow(name="note")
    def note() -> float:
        begun.set()
        return datetime.now(UTC).timestamp()

    launched()
    enqueued = datetime.now(UTC).timestamp()
    handle = queue.options(delay_seconds=0.4).enqueue(note)
    assert handle.get_status().status == "DELAYED"
    assert 0.4 <= handle.get_result(timeout=10) - enqueued < 2
    moved = queue.options(start_at=datetime.now(UTC) + timedelta(hours=1)).enqueue(note)
    app.set_delay(moved.workflow_id, delay_seconds=0)
    assert moved.get_result(timeout=10)
    never = queue.options(delay_seconds=0.2).enqueue(note)
    app.cancel_workflow(never.workflow_id)
    begun.clear()
    after = queue.options(delay_seconds=0.4).enqueue(note)
    assert after.get_result(timeout=10)
    assert never.get_status().status == "CANCELLED"


def test_the_client_and_sql_refuse_with_the_same_words(app: App, database_url: str) -> None:
    """Unknown queue with the nearest names, closed queue, options, a taken id."""
    app.engine.may_migrate = True
    app.queue("payments", priority_enabled=True)
    queue = app.queue("emails")

    @app.workflow(name="task")
    def task() -> None: ...

    with SetWorkflowID("one"):
        queue.enqueue(task)
    queue.options(deduplication_id="d").enqueue(task)
    with (
        towpath.Client(database_url) as client,
        psycopg.connect(database_url, autocommit=True) as sql,
    ):
        with pytest.raises(QueueNotFoundError) as unknown:
            client.enqueue("emial", "task")
        assert unknown.value.nearest == ["emails"]
        cases: list[tuple[type[Exception], dict[str, Any], str]] = [
            (EnqueueOptionError, {"priority": 3}, "queue 'emails': priority is 3; allowed is none"),
            (WorkflowIdConflictError, {"workflow_id": "one"}, "workflow id 'one' is in use by"),
            (QueueDeduplicatedError, {"deduplication_id": "d"}, "deduplication id 'd' on queue"),
        ]
        for kind, options, words in cases:
            arguments = ", ".join(f"{name} => %({name})s" for name in options)
            statement = f"SELECT towpath.enqueue('emails', 'other', {arguments})"
            with pytest.raises(psycopg.DatabaseError, match=words) as refused:
                sql.execute(statement.encode(), options)
            assert str(refused.value.sqlstate).startswith("TP")
            with pytest.raises(kind, match=words):
                _enqueue_by_client(client, options)
        sql.execute("UPDATE towpath.queue SET closed = true WHERE name = 'emails'")
        with pytest.raises(QueueClosedError, match="queue 'emails' is closed: it takes no new"):
            client.enqueue("emails", "task")
        with pytest.raises(
            psycopg.DatabaseError, match="queue 'emails' is closed: it takes no new"
        ):
            sql.execute("SELECT towpath.enqueue('emails', 'task')")


def _enqueue_by_client(client: towpath.Client, options: dict[str, Any]) -> None:
    """Enqueue `other` with the options, of which one may be the workflow's id."""
    rest = {k: v for k, v in options.items() if k != "workflow_id"}
    with SetEnqueueOptions(**rest), SetWorkflowID(options.get("workflow_id", "free")):
        client.enqueue("emails", "other")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"limiter": {"limit": 0, "period": 1}}, "limiter.limit"),
        ({"limiter": {"limit": True, "period": 1}}, "limiter.limit"),
        ({"limiter": {"limit": 1, "period": 0}}, "limiter.period"),
        ({"limiter": {"limit": 1, "period": math.nan}}, "limiter.period"),
        ({"limiter": {"limit": 1}}, "limiter"),
        ({"limiter": {"limit": 1, "period": 1, "burst": 2}}, "limiter"),
        ({"limiter": 5}, "limiter"),
        ({"partition_limiter": {"limit": 1, "period": 1}}, "partition_limiter"),
        ({"partition_concurrency": 2}, "partition_concurrency"),
        ({"partition_concurrency": 0, "partition_queue": True}, "partition_concurrency"),
        ({"concurrency": 2, "worker_concurrency": 3}, "worker_concurrency"),
        ({"priority_enabled": 1}, "priority_enabled"),
        ({"polling_interval_sec": 0}, "polling_interval_sec"),
        ({"polling_interval_sec": -1}, "polling_interval_sec"),
    ],
)
def test_settings_out_of_bounds_name_the_field(
    app: App, options: dict[str, Any], field: str
) -> None:
    """The value and what is allowed are in the error, and nothing is declared."""
    with pytest.raises(QueueSettingsError) as caught:
        app.queue("bad", **options)
    assert caught.value.field == field
    assert "allowed is" in str(caught.value)


def test_arguments_beyond_the_bound_are_refused(app: App) -> None:
    """17 MiB: the error names the size, the bound and how to raise it."""
    app.engine.may_migrate = True

    @app.workflow(name="take")
    def take(text: str) -> int:
        return len(text)

    queue = app.queue("large")
    with pytest.raises(ValueTooLargeError, match="TOWPATH_MAX_VALUE_BYTES") as caught:
        queue.enqueue(take, "x" * (17 << 20))
    assert caught.value.bound == 16 << 20
    assert queue.enqueue(take, "x" * (1 << 20)).get_status().status == "ENQUEUED"
