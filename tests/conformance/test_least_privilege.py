"""Workers that log in with the least that they need do all that workers and applications do."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from tests.fixtures.logins import granted, with_login
from tests.fixtures.workers import worker_processes
from tests.testing.everything import Everything
from towpath import App, Client, SetEnqueueOptions
from towpath.executor.maintenance.retention import RetentionService
from towpath.store.migrate import migrate

SECONDS = 60
APPLICATION = """
import towpath

queue = towpath.Queue("mail", concurrency=3)


@towpath.workflow(name="greet")
def greet(name):
    return f"hello {name}"
"""

Sql = psycopg.Connection[Any]


@pytest.fixture
def owners(database_url: str) -> Iterator[Sql]:
    """Return a connection of the schema's owner."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def app(workers_url: str, caplog: pytest.LogCaptureFixture) -> Iterator[App]:
    """Return an App that logs in as workers do; nothing that it logs tells of a refusal."""
    caplog.set_level(logging.INFO)
    made = App(database_url=workers_url)
    yield made
    made.shutdown(drain=0)
    assert "permission denied" not in caplog.text


def launched(app: App) -> None:
    """Serve."""
    assert app.launch(slots=60).wait_until_ready(20)


def ended(handle: towpath.WorkflowHandle[Any]) -> str:
    """Return how a workflow ended."""
    wait_until(lambda: handle.get_status().status.ended, seconds=SECONDS)
    return handle.get_status().status


def test_everything_that_a_workflow_does_is_allowed(app: App, owners: Sql, login: str) -> None:
    """Steps, branches, children, messages, events, streams, waits, transactions and every end."""
    owners.execute("CREATE TABLE public.booked (workflow text, item text)")
    owners.execute(f'GRANT SELECT, INSERT ON public.booked TO "{login}"'.encode())
    every = Everything(app)
    launched(app)
    handles = {
        name: queue.enqueue(workflow, 1)
        if (queue := every.queues.get(name)) is not None
        else app.start_workflow(workflow, 1)
        for name, workflow in every.workflows.items()
    }
    ends = {name: ended(handle) for name, handle in handles.items()}
    assert set(ends.values()) <= {"SUCCESS", "ERROR"}
    failures = owners.execute("SELECT failure FROM towpath.step WHERE failure IS NOT NULL")
    outputs = owners.execute("SELECT output FROM towpath.result WHERE output IS NOT NULL")
    assert "permission denied" not in str([*failures.fetchall(), *outputs.fetchall()])


def test_every_limit_and_every_verb_on_workflows_is_allowed(app: App, owners: Sql) -> None:
    """Queues declared by code, with all their limits; and what is done to workflows by their ids."""
    limits = app.queue("limits", concurrency=3, worker_concurrency=2, priority_enabled=True)
    keyed = app.queue(
        "keyed",
        partition_queue=True,
        partition_concurrency=2,
        limiter={"limit": 100, "period": 10},
        partition_limiter={"limit": 50, "period": 10},
    )
    short = app.queue("short", retention={"succeeded": 3600, "failed": 3600})
    fails = [True]

    @app.step()
    def first(number: int) -> int:
        return number

    @app.step()
    def second() -> str:
        if fails:
            raise ValueError("not yet")
        return "done"

    @app.workflow(name="task")
    def task(number: int) -> int:
        return first(number)

    @app.workflow(name="mended")
    def mended() -> str:
        first(1)
        return second()

    launched(app)
    made = [limits.options(priority=n + 1).enqueue(task, n) for n in range(5)]
    made += [keyed.options(queue_partition_key=f"k{n % 2}").enqueue(task, n) for n in range(5)]
    made += [handle for handle, _ in short.enqueue_many(task, [(n,) for n in range(5)])]
    assert [handle.get_result(timeout=SECONDS) for handle in made] == [0, 1, 2, 3, 4] * 3
    # by their ids
    failed = app.start_workflow(mended)
    assert ended(failed) == "ERROR"
    fails.clear()
    assert app.retry_workflow(failed.workflow_id).get_result(timeout=SECONDS) == "done"
    forked = app.fork_workflow(made[0].workflow_id, 1)
    assert forked.get_result(timeout=SECONDS) == 0
    with SetEnqueueOptions(delay_seconds=3600, deduplication_id="one", priority=2):
        delayed = limits.enqueue(task, 7)
    app.set_delay(delayed.workflow_id, start_at=datetime.now(UTC) + timedelta(hours=2))
    app.set_priority(delayed.workflow_id, 9)
    app.cancel_workflow(delayed.workflow_id)
    assert app.resume_workflow(delayed.workflow_id).get_result(timeout=SECONDS) == 7
    with SetEnqueueOptions(priority=1):
        bounced = limits.debounce("key", delay_seconds=0.01).enqueue(task, 8)
    assert bounced.get_result(timeout=SECONDS) == 8
    app.delete_workflow(bounced.workflow_id)
    assert app.list_workflow_steps(failed.workflow_id)
    assert len(app.list_workflows(limit=100)) == len(made) + 3
    assert app.list_versions()
    # what is kept long enough goes
    owners.execute("UPDATE towpath.result SET completed_at = completed_at - interval '2 hours'")
    owners.execute("UPDATE towpath.workflow SET created_at = created_at - interval '2 hours'")
    owners.execute("UPDATE towpath.retention SET next_round = '-infinity'")
    service = RetentionService(app.engine, batch=1000)
    assert app.engine.io.submit(service.look()).result(timeout=SECONDS) == 5


def test_schedules_fire_are_paused_and_deleted(app: App, workers_url: str) -> None:
    """Each second; by hand; and by an App that declares none of them the row is deleted."""
    ticks: list[datetime] = []

    @app.schedule("* * * * * *", name="seconds")
    @app.workflow(name="tick")
    def tick(at: datetime) -> str:
        ticks.append(at)
        return "fired"

    launched(app)
    wait_until(lambda: len(ticks) > 1, what="ticks")
    app.pause_schedule("seconds")
    app.resume_schedule("seconds")
    assert app.trigger_schedule("seconds").get_result(timeout=SECONDS) == "fired"
    now = datetime.now(UTC)
    assert app.backfill_schedule("seconds", now - timedelta(minutes=1), now)
    app.shutdown(drain=0)
    with Client(workers_url) as client:
        client.delete_schedule("seconds")
        assert client.list_schedules() == []


def test_a_worker_waits_until_somebody_has_migrated_and_granted_and_then_serves(
    empty_database_url: str, new_login: Callable[[], str], tmp_path: Path
) -> None:
    """It migrates nothing itself; the process of before the first migration serves after the grant."""
    role = new_login()
    (tmp_path / "shop.py").write_text(APPLICATION, "utf-8")
    environ = {
        "TOWPATH_DATABASE_URL": with_login(empty_database_url, role),
        "TOWPATH_MIGRATE": "0",
    }
    with worker_processes(1, "shop", tmp_path, environ, tmp_path) as (worker,):

        def waits_for(words: str) -> None:
            wait_until(lambda: words in worker.log.read_text(), what=words)
            assert worker.process.poll() is None

        waits_for("it is not there")
        asyncio.run(migrated(empty_database_url))
        with psycopg.connect(empty_database_url, autocommit=True) as owners:
            workers = "SELECT count(*) FROM towpath.worker"
            assert owners.execute(workers).fetchone() == (0,)
            asyncio.run(granted(empty_database_url, role))
            wait_until(lambda: owners.execute(workers).fetchone() == (1,), what="the worker")
        with Client(empty_database_url) as client:
            made = client.enqueue("mail", "greet", "you")
            assert made.get_result(timeout=SECONDS) == "hello you"
        worker.kill(signal.SIGTERM)
        assert worker.wait() == 0


async def migrated(url: str) -> None:
    """Migrate as the owner."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await migrate(connection, "towpath")
