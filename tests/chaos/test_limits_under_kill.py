"""Eight workers killed or frozen at random: an observer outside sees every limit hold."""

from __future__ import annotations

import random
import signal
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import psycopg
import pytest

import towpath
from tests.fixtures.observer import Observer, observing
from tests.fixtures.workers import WorkerProcess, worker_processes
from towpath import EnqueueItem, EnqueueOptions

APPLICATION = Path(__file__).parent / "application"
WORKERS, KEYS, OF_KEY = 8, 50, 12
FROZEN_AT_ONCE, MOST_LOST = 5, 25
COUNTS = {"one": 80, "throttled": 160, "keyed": KEYS * OF_KEY}


def enqueue_all(database_url: str) -> None:
    """Declare the queues and put every workflow in line."""
    app = towpath.App(database_url=database_url)

    @app.workflow(name="call")
    def call(group: str, number: int) -> None:
        raise AssertionError(f"{group} {number}: the workers run their own")

    app.engine.may_migrate = True
    one = app.queue("one", concurrency=1)
    one.enqueue_many(call, [("one", n) for n in range(COUNTS["one"])])
    throttled = app.queue("throttled", limiter={"limit": 20, "period": 0.5})
    throttled.enqueue_many(call, [("throttled", n) for n in range(COUNTS["throttled"])])
    app.queue("keyed", partition_queue=True).enqueue_many(
        call,
        [
            EnqueueItem((f"key-{key}", n), options=EnqueueOptions(queue_partition_key=f"key-{key}"))
            for n in range(OF_KEY)
            for key in range(KEYS)
        ],
    )
    app.shutdown()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_limits_hold_while_workers_are_lost(
    database_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    """Concurrency 1, 20 starts in 0.5 s, 50 partitions: none is passed, all workflows end.

    A worker that is frozen past its lease may have one call in flight beside its successor's; it is
    seen for its key or queue twice then, and writes nothing.
    """
    chance = random.Random(3)  # noqa: S311 - the same walk each time
    enqueue_all(database_url)
    with psycopg.connect(database_url, autocommit=True) as watch, observing() as observer:
        environ = {
            "TOWPATH_DATABASE_URL": database_url,
            "TOWPATH_LEASE_SECONDS": "1",
            "TOWPATH_SLOTS": "10",
            "OBSERVER": f"127.0.0.1:{observer.port}",
        }
        with worker_processes(WORKERS, "limited_calls", APPLICATION, environ, tmp_path) as workers:
            lost: list[WorkerProcess] = []
            woken: list[WorkerProcess] = []
            while ended(watch) < sum(COUNTS.values()):
                time.sleep(chance.uniform(0.2, 0.6))
                if any(worker.process.poll() is not None for worker in workers):
                    pytest.fail(f"a worker ended by itself: see {tmp_path}")
                if len(lost) < MOST_LOST:
                    victim = chance.randrange(WORKERS)
                    workers[victim].kill(number)
                    lost.append(workers[victim])
                    log = tmp_path / f"worker-{victim}.log"
                    workers[victim] = WorkerProcess("limited_calls", APPLICATION, environ, log)
                let_go(lost[:-FROZEN_AT_ONCE], woken)
            let_go(lost, woken)
            let_go(lost, woken)
        assert len(lost) > 5
        assert_all_succeeded(watch)
        assert_limits_held(observer, overlap=number is signal.SIGSTOP)


def let_go(lost: list[WorkerProcess], woken: list[WorkerProcess]) -> None:
    """Wake those that are frozen still, for a moment; end those that were woken before."""
    for worker in lost:
        if worker.process.poll() is not None:
            continue
        if worker in woken:
            worker.kill(signal.SIGKILL)
            worker.wait()
        else:
            woken.append(worker)
            worker.kill(signal.SIGCONT)


def ended(watch: psycopg.Connection[tuple[int]]) -> int:
    """Count the workflows that have ended."""
    row = watch.execute("SELECT count(*) FROM towpath.result").fetchone()
    assert row is not None
    return row[0]


def assert_all_succeeded(watch: psycopg.Connection[Any]) -> None:
    """One result each, and nothing holds a place any more."""
    rows = watch.execute("SELECT status, count(*) FROM towpath.result GROUP BY 1").fetchall()
    assert rows == [("SUCCESS", sum(COUNTS.values()))]
    assert watch.execute("SELECT count(*) FROM towpath.running").fetchone() == (0,)


def assert_limits_held(observer: Observer, *, overlap: bool) -> None:
    """Places by what was in flight, starts by the functions' own clock, order by first calls."""
    most = 2 if overlap else 1
    assert observer.most_of["one"] <= most
    assert all(observer.most_of[f"key-{key}"] <= most for key in range(KEYS))
    begun = sorted(
        int(path.rsplit("/", 1)[1]) / 1e9 for path in observer.order if "throttled" in path
    )
    # start n and start n + 20 are a period apart: no window has 21
    assert all(later - first >= 0.5 for first, later in zip(begun, begun[20:], strict=False))
    first_calls: dict[str, list[int]] = defaultdict(list)
    for path in observer.order:
        _, group, number, _ = path.split("/")
        if group.startswith("key-") and int(number) not in first_calls[group]:
            first_calls[group].append(int(number))
    assert len(first_calls) == KEYS
    assert all(numbers == list(range(OF_KEY)) for numbers in first_calls.values())
