"""Postgres goes away and comes back: nothing is lost, no attempt is spent, no step runs twice."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.fixtures.apps import wait_until
from towpath import App
from towpath.errors import DatabaseUnreachableError
from towpath.local import postgres

LEASE_SECONDS = 1.0


@pytest.fixture
def restartable() -> Iterator[Callable[[], postgres.Server]]:
    """Return a function that starts one and the same Postgres again, after it was killed."""
    with tempfile.TemporaryDirectory(prefix="towpath-outage-") as folder:
        home = Path(folder)
        home.chmod(0o755)  # as root, the server's own user passes through it
        servers: list[postgres.Server] = []

        def start() -> postgres.Server:
            servers.append(postgres.start(home / "pg"))
            return servers[-1]

        yield start
        for server in servers:
            server.stop()


def kill(server: postgres.Server) -> None:
    """End the server as a crash would, and wait until nothing listens any more."""
    os.kill(server.pid, signal.SIGQUIT)
    wait_until(lambda: not server.running, what="Postgres is gone")


def test_workers_and_waiting_handles_survive_an_outage(
    restartable: Callable[[], postgres.Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage of three leases under load: all end at their first attempt, each step has run once."""
    monkeypatch.setenv("TOWPATH_LEASE_SECONDS", f"{LEASE_SECONDS}")
    server = restartable()
    app = App(database_url=server.url)
    queue = app.queue("orders", concurrency=5)
    runs: Counter[int] = Counter()
    lock = threading.Lock()

    @app.step(name="charge")
    def charge(order: int) -> int:
        time.sleep(0.01)
        with lock:
            runs[order] += 1
        return order

    @app.workflow(name="fulfil")
    def fulfil(order: int) -> int:
        return charge(order * 2) + charge(order * 2 + 1)

    worker = app.launch(slots=8)
    assert worker.wait_until_ready(20)
    handles = [queue.enqueue(fulfil, order) for order in range(200)]
    results: list[int] = []
    waiting = threading.Thread(target=lambda: results.append(handles[-1].get_result(timeout=60)))
    waiting.start()
    wait_until(lambda: sum(runs.values()) > 40)
    kill(server)
    with pytest.raises(DatabaseUnreachableError):
        App(database_url=server.url).retrieve_workflow("any")
    time.sleep(3 * LEASE_SECONDS)  # the outage itself
    again = restartable()
    assert again.port == server.port
    assert [h.get_result(timeout=60) for h in handles] == [order * 4 + 1 for order in range(200)]
    waiting.join(10)
    assert results == [199 * 4 + 1]
    with psycopg.connect(again.url) as watch:
        rows = watch.execute("SELECT DISTINCT status, attempt FROM towpath.result").fetchall()
        assert rows == [("SUCCESS", 1)]
    assert set(runs.values()) == {1}
    app.shutdown(drain=5)


def test_a_worker_launched_before_postgres_serves_once_it_is_there(
    restartable: Callable[[], postgres.Server],
) -> None:
    """Launch returns at once, says in the log what it waits for, and needs no restart."""
    server = restartable()
    kill(server)
    app = App(database_url=server.url)
    queue = app.queue("orders")

    @app.workflow(name="fulfil")
    def fulfil(order: int) -> int:
        return order

    worker = app.launch()
    assert not worker.wait_until_ready(0.2)
    restartable()
    assert worker.wait_until_ready(20)
    assert queue.enqueue(fulfil, 3).get_result(timeout=20) == 3
    app.shutdown(drain=5)
