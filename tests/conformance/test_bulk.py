"""enqueue_many: one report of what was new, all or none."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

import towpath
from towpath import App, EnqueueItem, EnqueueOptions, SetEnqueueOptions, SetWorkflowID, Workflow
from towpath.errors import (
    EnqueueOptionError,
    QueueDeduplicatedError,
    TowpathError,
    UsageError,
    ValueNotEncodableError,
    WorkflowIdConflictError,
)

Launch = Callable[..., towpath.Worker]


@pytest.fixture
def task(app: App) -> Workflow[[int], int]:
    """Return a workflow of the App."""

    @app.workflow(name="task")
    def task(number: int) -> int:
        return number

    return task


def test_enqueue_many_reports_what_was_a_duplicate(app: App, launched: Launch) -> None:
    """Items of their own ids, priorities and deduplication ids, in one transaction."""
    queue = app.queue("bulk", priority_enabled=True)

    @app.workflow(name="double")
    def double(number: int, *, plus: int = 0) -> int:
        return number * 2 + plus

    items: list[EnqueueItem | tuple[int, ...]] = [
        (1,),
        EnqueueItem((2,), {"plus": 1}, workflow_id="two"),
        EnqueueItem((2,), {"plus": 1}, workflow_id="two"),
        EnqueueItem((3,), options=SetEnqueueOptions(deduplication_id="d", priority=9)),
        EnqueueItem((4,), options=SetEnqueueOptions(deduplication_id="d")),
    ]
    app.engine.may_migrate = True
    report = queue.enqueue_many(double, items)
    assert [created for _, created in report] == [True, True, False, True, False]
    assert report[2][0].workflow_id == "two"
    assert report[4][0].workflow_id == report[3][0].workflow_id
    assert report[3][0].get_status().priority == 9
    launched()
    assert [handle.get_result(timeout=10) for handle, _ in report] == [2, 5, 5, 6, 6]
    assert queue.enqueue_many(double, []) == []
    with pytest.raises(QueueDeduplicatedError):
        queue.options(deduplication_id="e", on_duplicate="raise").enqueue_many(double, [(5,), (6,)])
    assert len(app.list_workflows()) == 3
    with pytest.raises(UsageError, match="tuple of arguments"):
        queue.enqueue_many(double, [7])  # type: ignore[arg-type, list-item]


def test_enqueue_many_is_one_step_of_a_workflow(app: App, launched: Launch) -> None:
    """Children of a bulk call are recorded together, and replayed."""
    queue = app.queue("bulk")

    @app.workflow(name="child")
    def child(number: int) -> int:
        return number

    @app.workflow(name="parent")
    async def parent() -> list[int]:
        started = await queue.enqueue_many_async(child, [(n,) for n in range(3)])
        assert all(created for _, created in started)
        return [await handle.get_result() for handle, _ in started]

    launched()
    handle = app.start_workflow(parent)
    assert handle.get_result(timeout=10) == [0, 1, 2]


def test_items_may_be_delayed_and_partitioned_each_on_its_own(
    app: App, task: Workflow[[int], int]
) -> None:
    """Whole and broken seconds, dates, keys and priorities in one call, from a generator."""
    queue = app.queue("bulk", partition_queue=True, priority_enabled=True)
    date = datetime.now(UTC) + timedelta(days=1)
    own = [
        EnqueueOptions(delay_seconds=60),
        EnqueueOptions(delay_seconds=0.25, queue_partition_key="b"),
        EnqueueOptions(start_at=date, priority=2_147_483_647),
        EnqueueOptions(priority=1),
        None,
    ]
    with SetEnqueueOptions(queue_partition_key="a"):
        report = queue.enqueue_many(task, (EnqueueItem((n,), options=o) for n, o in enumerate(own)))
    infos = [handle.get_status() for handle, _ in report]
    assert [i.status for i in infos] == ["DELAYED"] * 3 + ["ENQUEUED"] * 2
    assert [i.queue_partition_key for i in infos] == ["a", "b", "a", "a", "a"]
    assert [i.priority for i in infos] == [None, None, 2_147_483_647, 1, None]
    assert infos[2].due_at == date


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        (EnqueueItem((object(),)), ValueNotEncodableError),
        (EnqueueItem((1,), options=EnqueueOptions(priority=0)), EnqueueOptionError),
        (EnqueueItem((1,), options=EnqueueOptions(priority=5)), EnqueueOptionError),
        (EnqueueItem((1,), options=EnqueueOptions(app_version="v2")), EnqueueOptionError),
        (EnqueueItem((1,), options=EnqueueOptions(connection=object())), EnqueueOptionError),
        (EnqueueItem((1,), options={"priority": 5}), UsageError),  # type: ignore[arg-type]
        (EnqueueItem((1,), workflow_id="x" * 256), towpath.errors.InvalidWorkflowIdError),
        (EnqueueItem((1,), workflow_id="taken"), WorkflowIdConflictError),
        (
            EnqueueItem((1,), options=EnqueueOptions(deduplication_id="d", on_duplicate="raise")),
            QueueDeduplicatedError,
        ),
    ],
)
def test_one_bad_item_is_named_and_nothing_is_written(
    app: App, task: Workflow[[int], int], item: EnqueueItem, kind: type[TowpathError]
) -> None:
    """The error's note says which; the others are not in line either."""
    queue = app.queue("bulk")
    queue.options(deduplication_id="d").enqueue(task, 0)
    with towpath.Client(app._database_url or "") as client, SetWorkflowID("taken"):
        client.enqueue("bulk", "other")
    with pytest.raises(kind) as caught:
        queue.enqueue_many(task, [(1,), (2,), item, (3,)])
    assert caught.value.__notes__ == ["in item 2 of enqueue_many, counted from 0"]
    assert len(app.list_workflows()) == 2


@pytest.mark.parametrize(
    "items",
    ["ab", [7], [None], [EnqueueItem("ab")], [EnqueueItem((1,), [2])]],  # type: ignore[arg-type]
)
def test_what_is_no_item_is_refused(app: App, task: Workflow[[int], int], items: Any) -> None:
    """Above all text, which is a sequence too."""
    with pytest.raises(UsageError, match="no item of enqueue_many"):
        app.queue("bulk").enqueue_many(task, items)


def test_nothing_is_no_round_trip(task: Workflow[[int], int]) -> None:
    """It does not even need a database."""
    assert App(database_url="postgresql://127.0.0.1:1/no").queue("q").enqueue_many(task, []) == []


def test_one_id_for_many_is_refused(app: App, task: Workflow[[int], int]) -> None:
    """From a block as from options."""
    queue = app.queue("bulk")
    with pytest.raises(UsageError, match="give each EnqueueItem its own"):
        queue.options(workflow_id="one").enqueue_many(task, [(1,), (2,)])
    with SetWorkflowID("one"), pytest.raises(UsageError, match="give each EnqueueItem its own"):
        queue.enqueue_many(task, [(1,), (2,)])


def test_a_large_call_is_one_transaction(
    app: App, task: Workflow[[int], int], database_url: str
) -> None:
    """10,000 workflows, the last of them refused: none is there; without it all are, in order."""
    queue = app.queue("bulk")
    last = EnqueueItem((0,), options=EnqueueOptions(priority=1))
    with pytest.raises(EnqueueOptionError):
        queue.enqueue_many(task, [*((n,) for n in range(9_999)), last])
    assert app.list_workflows() == []
    assert len(queue.enqueue_many(task, [(n,) for n in range(10_000)])) == 10_000
    with psycopg.connect(database_url) as sql:
        read = "SELECT input::json -> 'args' ->> 0 FROM towpath.workflow ORDER BY seq"
        assert [int(row[0]) for row in sql.execute(read)] == list(range(10_000))


def test_racing_bulk_enqueuers_create_each_id_once(app: App, task: Workflow[[int], int]) -> None:
    """Eight threads name the same 20 ids and deduplication ids, in opposite orders."""
    queue = app.queue("bulk")
    queue.enqueue(task, 0)

    def one(thread: int) -> list[bool]:
        numbers = range(20) if thread % 2 else range(19, -1, -1)
        items = [
            EnqueueItem((n,), workflow_id=f"id-{n}")
            if n % 2
            else EnqueueItem((n,), options=EnqueueOptions(deduplication_id=f"d-{n}"))
            for n in numbers
        ]
        return [created for _, created in queue.enqueue_many(task, items)]

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        created = [flag for flags in threads.map(one, range(8)) for flag in flags]
    assert sum(created) == 20
    assert len(app.list_workflows()) == 21


def test_racing_enqueuers_of_one_id_create_one(app: App, task: Workflow[[int], int]) -> None:
    """Eight threads: all have the same workflow's handle, one row is there."""
    queue = app.queue("races")

    def one(_: int) -> str:
        with SetWorkflowID("the one"):
            return queue.enqueue(task, 1).workflow_id

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        assert set(threads.map(one, range(32))) == {"the one"}
    assert len(app.list_workflows()) == 1


def test_a_deduplication_id_costs_the_same_however_many_are_held(
    app: App, task: Workflow[[int], int], database_url: str
) -> None:
    """Also while the planner knows nothing of the tables yet: each is looked up by its key."""
    queue = app.queue("bulk")
    held = [
        EnqueueItem((n,), options=EnqueueOptions(deduplication_id=str(n))) for n in range(3_000)
    ]
    queue.enqueue(task, 0)
    queue.enqueue_many(task, held)
    before = _fetched(app, database_url)
    for n in range(10):
        queue.options(deduplication_id=f"new {n}").enqueue(task, n)
    assert _fetched(app, database_url) - before < 100


def _fetched(app: App, database_url: str) -> int:
    """Return how many rows of held ids the App's connection has read by an index."""
    app.engine.run(lambda session: session.run((b"SELECT pg_stat_force_next_flush()", {})))
    read = "SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'deduplication'"
    with psycopg.connect(database_url) as connection:
        return int(connection.execute(read).fetchall()[0][0])
