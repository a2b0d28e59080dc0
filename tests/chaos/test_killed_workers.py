"""Workers killed at random: every workflow ends, no limit is passed, no recorded step runs again."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import psycopg
import pytest

import towpath
from tests.fixtures.observer import Observer, observing
from tests.fixtures.workers import WorkerProcess, worker_processes

APPLICATION = Path(__file__).parent / "application"
LEASE_SECONDS = 1.0


def environment(database_url: str, observer: Observer) -> dict[str, str]:
    """Return what the workers are told."""
    return {
        "TOWPATH_DATABASE_URL": database_url,
        "TOWPATH_LEASE_SECONDS": f"{LEASE_SECONDS}",
        "TOWPATH_SLOTS": "10",
        "OBSERVER": f"127.0.0.1:{observer.port}",
    }


def enqueue_all(database_url: str, count: int) -> None:
    """Put the orders in line, in one transaction."""
    with towpath.Client(database_url) as client:
        for number in range(count):
            client.enqueue("calls", "order", number)


@pytest.mark.timeout(600)
def test_workflows_end_once_while_workers_are_killed(database_url: str, tmp_path: Path) -> None:
    """2,000 workflows, four processes, global concurrency 7, SIGKILL at random until all have ended."""
    count = 2000
    chance = random.Random(7)  # noqa: S311 - the same walk each time
    with psycopg.connect(database_url, autocommit=True) as watch, observing() as observer:
        watch.execute(
            "INSERT INTO towpath.queue (name, concurrency_global) VALUES ('calls', 7);"
            "INSERT INTO towpath.gate (queue) VALUES ('calls')"
        )
        enqueue_all(database_url, count)
        environ = environment(database_url, observer)
        with worker_processes(4, "observed_calls", APPLICATION, environ, tmp_path) as workers:
            killed = 0
            while ended(watch) < count:
                # a kill about every second, each time of a worker that is at work
                time.sleep(chance.uniform(0.3, 1.2))
                places = watch.execute("SELECT count(*) FROM towpath.running").fetchone()
                assert places is not None
                assert places[0] <= 7
                victim = chance.randrange(4)
                workers[victim].kill()
                workers[victim].wait()
                killed += 1
                log = tmp_path / f"worker-{victim}.log"
                workers[victim] = WorkerProcess("observed_calls", APPLICATION, environ, log)
            assert killed > 5
        statuses = watch.execute(
            "SELECT status, count(*) FROM towpath.result GROUP BY 1"
        ).fetchall()
        assert statuses == [("SUCCESS", count)]
        assert observer.most <= 7
        assert_no_recorded_step_ran_again(watch, observer, count)


def ended(watch: psycopg.Connection[tuple[int]]) -> int:
    """Count the workflows that have ended."""
    row = watch.execute("SELECT count(*) FROM towpath.result").fetchone()
    assert row is not None
    return row[0]


def assert_no_recorded_step_ran_again(
    watch: psycopg.Connection[tuple[int, str, int]], observer: Observer, count: int
) -> None:
    """A step that the first attempt recorded was called once; others once an attempt at most."""
    rows = watch.execute(
        "SELECT ((w.input::json)->'args'->>0)::int, s.position, s.attempt FROM towpath.step s "
        "JOIN towpath.workflow w USING (seq)"
    ).fetchall()
    assert len(rows) == 3 * count
    for number, position, attempt in rows:
        made = observer.calls[f"/{number}/{int(position) - 1}"]
        # each attempt up to the recording one may have been killed within its call
        assert 1 <= made <= attempt, (number, position, attempt, made)


@pytest.mark.timeout(120)
def test_a_frozen_worker_that_wakes_changes_nothing(database_url: str, tmp_path: Path) -> None:
    """SIGSTOP past the lease, SIGCONT after another worker ended the workflows: no second result."""
    with psycopg.connect(database_url, autocommit=True) as watch, observing() as observer:
        environ = environment(database_url, observer)
        with worker_processes(1, "observed_calls", APPLICATION, environ, tmp_path) as (first,):
            until(watch, "SELECT count(*) FROM towpath.worker", 1)
            enqueue_all(database_url, 300)
            until(watch, "SELECT count(*) FROM towpath.step", 30)
            first.kill(signal.SIGSTOP)
            (second := tmp_path / "second").mkdir()
            with worker_processes(1, "observed_calls", APPLICATION, environ, second):
                until(watch, "SELECT count(*) FROM towpath.result", 300)
                attempts = watch.execute(
                    "SELECT seq, attempt, completed_at FROM towpath.result ORDER BY seq"
                ).fetchall()
                first.kill(signal.SIGCONT)
                # it finds its lease ended, and registers as another worker
                until(watch, "SELECT count(*) FROM towpath.worker", 2)
                again = watch.execute(
                    "SELECT seq, attempt, completed_at FROM towpath.result ORDER BY seq"
                ).fetchall()
                assert again == attempts
                assert observer.most <= 7 + 7  # the calls in flight of the frozen one
        # on a machine so busy that the other's heartbeat is late too, there are more attempts
        assert_no_recorded_step_ran_again(watch, observer, 300)


def until(watch: psycopg.Connection[tuple[int]], query: str, least: int) -> None:
    """Wait until a count is reached."""
    deadline = time.monotonic() + 60
    while True:
        row = watch.execute(query.encode()).fetchone()
        assert row is not None
        if row[0] >= least:
            return
        assert time.monotonic() < deadline, f"{query}: {row[0]} of {least}"
        time.sleep(0.01)
