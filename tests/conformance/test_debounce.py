"""Debouncing through the public API: one workflow waits under a key, with the last call's arguments."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from towpath import App, SetEnqueueOptions, SetWorkflowID, Workflow
from towpath.errors import EnqueueOptionError, QueueClosedError, StartInsideStepError
from towpath.store.statements import Statements

Launch = Callable[..., towpath.Worker]


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Return a connection to the App's database."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def index(app: App) -> Workflow[[str], str]:
    """Return a workflow that returns what it was given."""

    @app.workflow(name="index")
    def index(text: str) -> str:
        return text

    return index


def ripe(database: psycopg.Connection[Any]) -> None:
    """Let everything that is delayed be due now, and call the workers."""
    database.execute("UPDATE towpath.parked SET due = towpath.clock() - interval '1 second'")
    queues = database.execute("SELECT name FROM towpath.queue").fetchall()
    for (queue,) in queues:
        database.execute("SELECT pg_notify(%s, %s)", (Statements("towpath").channel, queue))


def test_calls_in_a_short_time_are_one_workflow_with_the_last_arguments(
    app: App, index: Workflow[[str], str], launched: Launch, database: psycopg.Connection[Any]
) -> None:
    """It ends once; after it has joined the line, the key makes another. In both faces."""
    queue = app.queue("documents")
    launched()
    held = queue.debounce("page-7", delay_seconds=3600, at_most_seconds=7200)

    async def call_again() -> str:
        return (await held.enqueue_async(index, "fourth")).workflow_id

    first = held.enqueue(index, "first")
    assert first.get_status().status == "DELAYED"
    again = [held.enqueue(index, text).workflow_id for text in ("second", "third")]
    assert {*again, asyncio.run(call_again())} == {first.workflow_id}
    other = queue.debounce("page-8", delay_seconds=3600, at_most_seconds=7200)
    assert other.enqueue(index, "eighth").workflow_id != first.workflow_id
    ripe(database)
    assert first.get_result(timeout=10) == "fourth"
    second = held.enqueue(index, "fifth")
    assert second.workflow_id != first.workflow_id
    ripe(database)
    assert second.get_result(timeout=10) == "fifth"
    assert first.get_result(timeout=10) == "fourth"
    assert len(app.list_workflows()) == 3


def test_the_start_is_put_off_by_each_call_and_no_later_than_the_cap(
    app: App, index: Workflow[[str], str], database: psycopg.Connection[Any]
) -> None:
    """By the database's clock, which this test moves; the first call sets the cap."""
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    database.execute("CREATE TABLE towpath.hand (now timestamptz)")
    database.execute("INSERT INTO towpath.hand VALUES (%s)", (noon,))
    database.execute(
        "CREATE OR REPLACE FUNCTION towpath.clock() RETURNS timestamptz LANGUAGE sql VOLATILE "
        "AS 'SELECT now FROM towpath.hand'"
    )
    queue, dues = app.queue("documents"), []
    for seconds, delay in ((0, 5), (4, 5), (8, 5), (9, 2), (10, 5), (11, 5), (13, 5)):
        database.execute("UPDATE towpath.hand SET now = %s", (noon + timedelta(seconds=seconds),))
        held = queue.debounce("page", delay_seconds=delay, at_most_seconds=12)
        status = held.enqueue(index, str(seconds)).get_status()
        assert status.due_at is not None
        dues.append((status.due_at - noon).total_seconds())
    # at the end no worker has taken it, though it was due: it is still the key's
    assert dues == [5, 9, 12, 11, 12, 12, 12]
    assert len(app.list_workflows()) == 1


def test_many_callers_at_once_make_one_workflow_and_the_last_arguments_win(
    app: App, index: Workflow[[str], str], launched: Launch, database: psycopg.Connection[Any]
) -> None:
    """Sixteen threads, several keys, workers that claim and take over meanwhile."""
    queue = app.queue("documents")
    launched()
    last, handles = dict[str, str](), dict[str, Any]()
    keys = [f"page-{n}" for n in range(4)]
    failures: list[BaseException] = []

    def call(caller: int) -> None:
        try:
            for n in range(20):
                key = keys[n % len(keys)]
                held = queue.debounce(key, delay_seconds=3600, at_most_seconds=7200)
                held.enqueue(index, f"{caller}-{n}")
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    threads = [threading.Thread(target=call, args=(c,)) for c in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert Counter(w.status for w in app.list_workflows()) == {"DELAYED": len(keys)}
    for key in keys:
        last[key] = f"last of {key}"
        held = queue.debounce(key, delay_seconds=3600, at_most_seconds=7200)
        handles[key] = held.enqueue(index, last[key])
    ripe(database)
    assert {key: handles[key].get_result(timeout=20) for key in keys} == last
    assert len(app.list_workflows()) == len(keys)


def test_calls_while_it_joins_the_line_lose_no_arguments(
    app: App, index: Workflow[[str], str], launched: Launch
) -> None:
    """With no delay to speak of: whatever a call returns runs, and the last call's arguments run."""
    queue = app.queue("documents")
    launched()
    results: dict[str, list[str]] = {}

    def call(caller: int) -> None:
        mine = results.setdefault(str(caller), [])
        for n in range(25):
            held = queue.debounce(f"page-{n % 3}", delay_seconds=0.002, at_most_seconds=0.01)
            mine.append(held.enqueue(index, f"{caller}-{n}").workflow_id)

    threads = [threading.Thread(target=call, args=(c,)) for c in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = {workflow_id for mine in results.values() for workflow_id in mine}
    for workflow_id in ids:
        assert app.retrieve_workflow(workflow_id).get_result(timeout=20)
    final = queue.debounce("page-0", delay_seconds=0.002, at_most_seconds=0.01)
    assert final.enqueue(index, "the end").get_result(timeout=20) == "the end"
    assert len(app.list_workflows(limit=1000)) in (len(ids), len(ids) + 1)


def test_a_cancelled_or_deleted_workflow_leaves_its_key_to_the_next(
    app: App, index: Workflow[[str], str], database: psycopg.Connection[Any]
) -> None:
    """And what is of no use any more goes with later calls."""
    queue = app.queue("documents")
    held = queue.debounce("page", delay_seconds=3600, at_most_seconds=7200)
    first = held.enqueue(index, "first")
    app.cancel_workflow(first.workflow_id)
    second = held.enqueue(index, "second")
    app.delete_workflow(second.workflow_id)
    third = held.enqueue(index, "third")
    assert len({h.workflow_id for h in (first, second, third)}) == 3
    assert first.get_status().status == "CANCELLED"
    for n in range(30):
        queue.debounce(f"short-{n}", delay_seconds=0, at_most_seconds=0).enqueue(index, "now")
    kept = database.execute("SELECT key FROM towpath.debounce ORDER BY latest DESC").fetchall()
    assert kept[0] == ("page",)
    assert len(kept) <= 2, "rows of keys that nobody waits under"


def test_a_claim_waits_for_no_call_and_a_call_for_a_claim_alone(
    app: App, index: Workflow[[str], str], launched: Launch, database: psycopg.Connection[Any]
) -> None:
    """A call that is held up in its transaction is passed over by the claim of what is due."""
    queue = app.queue("documents")
    held = queue.debounce("page", delay_seconds=3600, at_most_seconds=7200)
    slow = held.enqueue(index, "slow")
    quick = queue.options(delay_seconds=3600).enqueue(index, "quick")
    statement = Statements("towpath")["bounce"]
    values: dict[str, Any] = dict.fromkeys(
        ("version", "priority", "key", "parent", "attempt", "position", "timeout")
    )
    values |= {
        "queue": "documents", "name": "index", "codec": "json", "version": "", "secret": 1,
        "input": '{"args":["held up"],"kwargs":{}}', "bounce_key": "page", "delay": 0, "at_most": 9,
    }  # fmt: skip
    ripe(database)
    with psycopg.connect(database.info.dsn, password=database.info.password) as other:
        # due already, and locked by the call that is not committed
        assert other.execute(statement, values).fetchall()[0][1] == "exists"
        launched()
        assert quick.get_result(timeout=10) == "quick"
        assert slow.get_status().status == "DELAYED"
    ripe(database)
    assert slow.get_result(timeout=10) == "held up"


def test_what_does_not_go_with_debouncing_is_refused(
    app: App, index: Workflow[[str], str], database: psycopg.Connection[Any]
) -> None:
    """With the option's name, and nothing is written; priority and partition key are taken."""
    plain = app.queue("plain")
    urgent = app.queue("urgent", priority_enabled=True, partition_queue=True)
    for field, options in (
        ("deduplication_id", {"deduplication_id": "x"}),
        ("delay_seconds", {"delay_seconds": 1}),
        ("start_at", {"start_at": datetime.now(UTC)}),
        ("workflow_id", {"workflow_id": "mine"}),
        ("connection", {"connection": database}),
    ):
        given: dict[str, Any] = dict(options)
        with pytest.raises(EnqueueOptionError, match="none beside debounce") as caught:
            plain.options(**given).debounce("k").enqueue(index, "x")
        assert caught.value.field == field
    with SetWorkflowID("mine"), pytest.raises(EnqueueOptionError, match="workflow_id is 'mine'"):
        plain.debounce("k").enqueue(index, "x")
    with SetEnqueueOptions(delay_seconds=1), pytest.raises(EnqueueOptionError, match="delay_sec"):
        plain.debounce("k").enqueue(index, "x")
    wrong: Any = None
    refusals: list[tuple[Callable[[], object], str]] = [
        (lambda: plain.debounce(""), "key is ''"),
        (lambda: plain.debounce(wrong), "key is None"),
        (lambda: plain.debounce("k", delay_seconds=-1), "delay_seconds is -1"),
        (lambda: plain.debounce("k", at_most_seconds=float("nan")), "at_most_seconds is nan"),
        (
            lambda: plain.debounce("k", delay_seconds=9, at_most_seconds=5),
            "no less than delay_seco",
        ),
    ]
    for make, words in refusals:
        with pytest.raises(EnqueueOptionError, match=words):
            make()
    with pytest.raises(EnqueueOptionError, match="queue_partition_key is None"):
        urgent.debounce("k").enqueue(index, "x")
    assert app.list_workflows() == []
    assert database.execute("SELECT count(*) FROM towpath.debounce").fetchone() == (0,)
    made = urgent.options(priority=1, queue_partition_key="a").debounce("k").enqueue(index, "x")
    again = urgent.options(priority=7, queue_partition_key="b").debounce("k").enqueue(index, "y")
    assert again.workflow_id == made.workflow_id
    status = made.get_status()
    assert (status.priority, status.queue_partition_key) == (7, "b")
    with pytest.raises(EnqueueOptionError, match="queue_partition_key is None"):
        urgent.debounce("k").enqueue(index, "z")
    database.execute("UPDATE towpath.queue SET closed = true")
    with pytest.raises(QueueClosedError):
        urgent.options(queue_partition_key="c").debounce("k").enqueue(index, "z")
    assert made.get_status().queue_partition_key == "b"


def test_a_call_in_a_workflow_is_recorded_with_it(
    app: App, index: Workflow[[str], str], launched: Launch, database: psycopg.Connection[Any]
) -> None:
    """A parent that runs again calls no second time; in a step there is no call."""
    queue = app.queue("documents")
    held = queue.debounce("page", delay_seconds=3600, at_most_seconds=7200)
    reached, go_on = threading.Event(), threading.Event()
    calls = []

    @app.workflow(name="edit")
    def edit() -> list[str]:
        ids = [held.enqueue(index, text).workflow_id for text in ("one", "two")]
        calls.append(ids)
        if len(calls) == 1:
            reached.set()
            go_on.wait(20)
        return ids

    @app.step()
    def call_in_step() -> None:
        held.enqueue(index, "never")

    @app.workflow(name="wrong")
    def wrong() -> None:
        call_in_step()

    launched()
    edited = app.start_workflow(edit)
    assert reached.wait(20)
    app.cancel_workflow(edited.workflow_id)
    ripe(database)
    indexed = app.retrieve_workflow(calls[0][0])
    assert indexed.get_result(timeout=10) == "two"
    app.resume_workflow(edited.workflow_id)
    go_on.set()
    assert edited.get_result(timeout=20) == calls[0]
    assert calls == [calls[0]] * 2
    names = [w.name for w in app.list_workflows(name="index")]
    assert names == ["index"]
    with pytest.raises(StartInsideStepError):
        app.start_workflow(wrong).get_result(timeout=20)
    parents = database.execute(
        "SELECT s.position, s.child = w.seq FROM towpath.step s JOIN towpath.workflow w ON w.name = 'index' "
        "WHERE s.name = 'index' ORDER BY s.position"
    ).fetchall()
    assert parents == [("1", True), ("2", True)]
    wait_until(lambda: app.list_workflows(name="edit")[0].status == "SUCCESS")


def test_the_last_call_says_the_timeout(
    app: App, index: Workflow[[str], str], database: psycopg.Connection[Any]
) -> None:
    """As the arguments; it counts from the workflow's start, not from the call."""
    held = app.queue("documents").debounce("page", delay_seconds=3600, at_most_seconds=7200)
    timeouts = []
    for seconds in (30, 7, None):
        with towpath.SetWorkflowTimeout(seconds):
            held.enqueue(index, "text")
        timeouts += database.execute("SELECT timeout FROM towpath.workflow").fetchall()
    assert timeouts == [(timedelta(seconds=30),), (timedelta(seconds=7),), (None,)]
