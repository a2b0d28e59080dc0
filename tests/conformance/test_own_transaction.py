"""connection=: workflows that are enqueued in the caller's own transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

import towpath
from towpath import App, EnqueueItem, SetEnqueueOptions, Workflow
from towpath.errors import (
    EnqueueOptionError,
    QueueClosedError,
    QueueDeduplicatedError,
    QueueNotFoundError,
    SchemaMissingError,
    UsageError,
)

Launch = Callable[..., towpath.Worker]


@pytest.fixture
def note(app: App) -> Workflow[[], str]:
    """Return a workflow of the App."""

    @app.workflow(name="note")
    def note() -> str:
        return "noted"

    return note


def test_an_enqueue_in_the_callers_transaction_commits_with_it(
    app: App, launched: Launch, database_url: str
) -> None:
    """Rolled back: nothing is there. Committed: both are. A refusal leaves the transaction usable."""
    queue = app.queue("orders")

    @app.workflow(name="note")
    def note() -> str:
        return "noted"

    launched()
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE mine (id text)")
        connection.commit()
        lost = queue.options(connection=connection, workflow_id="lost").enqueue(note)
        connection.rollback()
        assert app.list_workflows() == []
        connection.execute("INSERT INTO mine VALUES ('a')")
        held = queue.options(connection=connection, deduplication_id="d", delay_seconds=60)
        held.enqueue(note)
        with pytest.raises(QueueDeduplicatedError):
            queue.options(connection=connection, deduplication_id="d").enqueue(note)
        kept = queue.options(connection=connection).enqueue(note)
        connection.commit()
        assert connection.execute("SELECT count(*) FROM mine").fetchone() == (1,)
    assert kept.get_result(timeout=10) == "noted"
    assert lost.workflow_id == "lost"
    with pytest.raises(UsageError, match=r"psycopg\.Connection"):
        queue.options(connection="dbname=x").enqueue(note)


def test_an_async_enqueue_in_the_callers_transaction(
    app: App, launched: Launch, database_url: str
) -> None:
    """The same over an async connection."""
    queue = app.queue("orders")

    @app.workflow(name="note")
    async def note() -> str:
        return "noted"

    async def enqueue() -> str:
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            handle = await queue.options(connection=connection).enqueue_async(note)
            await connection.commit()
            return await handle.get_result(timeout=10)

    launched()
    assert asyncio.run(enqueue()) == "noted"


@pytest.mark.parametrize(
    "options",
    [
        {"row_factory": dict_row},
        {"cursor_factory": psycopg.ClientCursor},
        {"autocommit": True},
        {"prepare_threshold": 0},
        {"options": "-c search_path=nowhere -c default_transaction_isolation=serializable"},
    ],
)
def test_any_connection_serves(
    app: App, note: Workflow[[], str], database_url: str, options: dict[str, Any]
) -> None:
    """Whatever rows, cursors, preparation and settings the caller's own statements have."""
    queue = app.queue("orders", priority_enabled=True)
    queue.enqueue(note)
    with psycopg.connect(database_url, **options) as connection:
        bound = queue.options(connection=connection, priority=3)
        handles = [bound.enqueue(note) for _ in range(7)]
        same = EnqueueItem(workflow_id="a")
        report = bound.enqueue_many(note, [same, same, ()])
    assert [created for _, created in report] == [True, False, True]
    assert len(app.list_workflows()) == 1 + len(handles) + 2
    assert {h.get_status().priority for h in handles} == {3}


def test_a_pipeline_serves(app: App, note: Workflow[[], str], database_url: str) -> None:
    """The caller's own statements before it are in the same transaction."""
    queue = app.queue("orders")
    with psycopg.connect(database_url) as connection:
        with connection.pipeline(), connection.transaction():
            connection.execute("CREATE TABLE mine (id text)")
            handle = queue.options(connection=connection).enqueue(note)
        assert connection.execute("SELECT count(*) FROM mine").fetchone() == (0,)
    assert handle.get_status().status == "ENQUEUED"


def test_every_refusal_leaves_the_transaction_usable(
    app: App, note: Workflow[[], str], database_url: str
) -> None:
    """What was written in it before is committed all the same."""
    plain = app.queue("plain")
    closed = app.queue("closed")
    plain.options(deduplication_id="d").enqueue(note)
    closed.enqueue(note)
    with psycopg.connect(database_url) as sql:
        sql.execute("UPDATE towpath.queue SET closed = true WHERE name = 'closed'")
    with (
        towpath.Client(database_url) as client,
        psycopg.connect(database_url) as connection,
        SetEnqueueOptions(connection=connection),
    ):
        kept = plain.enqueue(note)
        refusals: list[tuple[type[Exception], Callable[[], object]]] = [
            (QueueDeduplicatedError, lambda: plain.options(deduplication_id="d").enqueue(note)),
            (EnqueueOptionError, lambda: plain.options(priority=1).enqueue(note)),
            (QueueClosedError, lambda: closed.enqueue(note)),
            (QueueNotFoundError, lambda: client.enqueue("plian", "note")),
        ]
        for kind, enqueue in refusals:
            with pytest.raises(kind):
                enqueue()
    assert kept.get_status().status == "ENQUEUED"
    assert len(app.list_workflows()) == 3


def test_a_queue_that_it_is_first_to_use_is_there_for_all_at_once(
    app: App, note: Workflow[[], str], database_url: str
) -> None:
    """Its row is written outside of the caller's transaction: nobody waits for that to commit."""
    queue = app.queue("first", concurrency=3)
    with psycopg.connect(database_url) as connection:
        mine = queue.options(connection=connection).enqueue(note)
        assert queue.enqueue(note).get_status().status == "ENQUEUED"
        with psycopg.connect(database_url) as other:
            settings = other.execute(
                "SELECT concurrency_global FROM towpath.queue WHERE name = 'first'"
            )
            assert settings.fetchone() == (3,)
        connection.rollback()
    with pytest.raises(towpath.errors.WorkflowNotFoundError):
        mine.get_status()


def test_a_connection_of_the_wrong_kind_is_refused(
    app: App, note: Workflow[[], str], database_url: str
) -> None:
    """The error names what it is, and which verb takes it."""
    queue = app.queue("orders")

    async def misuse() -> None:
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            with pytest.raises(
                UsageError, match=r"AsyncConnection; this call takes a psycopg.Conn"
            ):
                queue.options(connection=connection).enqueue(note)
        with (
            psycopg.connect(database_url) as blocking,
            pytest.raises(UsageError, match=r"this call takes a psycopg\.AsyncConnection"),
        ):
            await queue.options(connection=blocking).enqueue_async(note)

    asyncio.run(misuse())
    assert app.list_workflows() == []


def test_a_connection_to_another_database_is_refused(
    app: App, note: Workflow[[], str], empty_database_url: str
) -> None:
    """Where that has no schema of the name; and an App on an empty one says what is missing."""
    queue = app.queue("orders")
    with (
        psycopg.connect(empty_database_url) as connection,
        pytest.raises(UsageError, match="has no Towpath schema 'towpath'"),
    ):
        queue.options(connection=connection).enqueue(note)
    lost = App(database_url=empty_database_url)
    task = lost.workflow(name="task")(lambda: None)
    try:
        with psycopg.connect(empty_database_url) as connection:
            with pytest.raises(SchemaMissingError):
                lost.queue("orders").options(connection=connection).enqueue(task)
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        lost.shutdown()


def test_a_workflow_takes_no_connection(
    app: App, note: Workflow[[], str], launched: Launch, database_url: str
) -> None:
    """Its children commit with its own steps."""
    queue = app.queue("orders")

    @app.workflow(name="parent")
    def parent() -> str:
        with psycopg.connect(database_url) as connection:
            try:
                queue.options(connection=connection).enqueue(note)
            except UsageError as error:
                return str(error)
        return "taken"

    launched()
    said = app.start_workflow(parent).get_result(timeout=10)
    assert said == "connection= is not for workflows: a child commits with its parent's step."
