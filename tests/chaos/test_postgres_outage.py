"""Postgres goes away and comes back: nothing is lost, no attempt is spent, no step runs twice."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from tests.fixtures.apps import wait_until
from tests.fixtures.gate import Gate
from towpath import App
from towpath.errors import DatabaseUnreachableError
from towpath.local import postgres

LEASE_SECONDS = 2.0


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


@pytest.fixture
def app_on(restartable: Callable[[], postgres.Server]) -> Iterator[Callable[[str], App]]:
    """Return a function that makes an App; it is shut down before the server goes, however the test ends."""
    del restartable
    apps: list[App] = []

    def make(url: str) -> App:
        apps.append(App(database_url=url))
        return apps[-1]

    yield make
    for app in apps:
        app._shutdown(timedelta(0), patience=10)


def kill(server: postgres.Server) -> None:
    """End the server as a crash would, and wait until nothing listens any more."""
    os.kill(server.pid, signal.SIGQUIT)
    wait_until(lambda: not server.running, what="Postgres is gone")


WORKERS = 20


@pytest.mark.timeout(180)
def test_workers_and_waiting_handles_survive_an_outage(
    restartable: Callable[[], postgres.Server],
    app_on: Callable[[str], App],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An outage of three leases under load: all end at their first attempt, each step has run once."""
    monkeypatch.setenv("TOWPATH_LEASE_SECONDS", f"{LEASE_SECONDS}")
    server = restartable()
    runs: Counter[int] = Counter()
    lock = threading.Lock()

    def charge(order: int) -> int:
        time.sleep(0.01)
        with lock:
            runs[order] += 1
        return order

    for number in range(WORKERS):
        app = app_on(server.url)
        queue = app.queue("orders", concurrency=2 * WORKERS)
        step = app.step(name="charge")(charge)

        def fulfil(order: int, step: Callable[[int], int] = step) -> int:
            return step(order * 2) + step(order * 2 + 1)

        workflow = app.workflow(name="fulfil")(fulfil)
        assert app.launch(slots=4).wait_until_ready(20), number
    handles = [queue.enqueue(workflow, order) for order in range(400)]
    results: list[int] = []
    waiting = threading.Thread(target=lambda: results.append(handles[-1].get_result(timeout=60)))
    waiting.start()
    wait_until(lambda: sum(runs.values()) > 80)
    kill(server)
    with pytest.raises(DatabaseUnreachableError):
        app_on(server.url).retrieve_workflow("any")
    time.sleep(3 * LEASE_SECONDS)  # the outage itself
    again = restartable()
    assert again.port == server.port
    assert [h.get_result(timeout=60) for h in handles] == [order * 4 + 1 for order in range(400)]
    waiting.join(10)
    assert results == [399 * 4 + 1]
    with psycopg.connect(again.url) as watch:
        rows = watch.execute("SELECT DISTINCT status, attempt FROM towpath.result").fetchall()
        assert rows == [("SUCCESS", 1)]
    assert set(runs.values()) == {1}


def test_a_worker_launched_before_postgres_serves_once_it_is_there(
    restartable: Callable[[], postgres.Server], app_on: Callable[[str], App]
) -> None:
    """Launch returns at once, says in the log what it waits for, and needs no restart."""
    server = restartable()
    kill(server)
    app = app_on(server.url)
    queue = app.queue("orders")

    @app.workflow(name="fulfil")
    def fulfil(order: int) -> int:
        return order

    worker = app.launch()
    assert not worker.wait_until_ready(0.2)
    restartable()
    assert worker.wait_until_ready(20)
    assert queue.enqueue(fulfil, 3).get_result(timeout=20) == 3


class LosesFirstClaim(Gate):
    """Passes connections on; the first that claims is cut when all of its turn is sent and answered.

    The answer does not reach the client.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.lost = threading.Event()

    def _pass(self, near: socket.socket) -> None:
        claims = False
        with near, socket.create_connection(self._target) as far, contextlib.suppress(OSError):
            while ready := select.select([near, far], [], [], 0.2 if claims else None)[0]:
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return
                    if b'INSERT INTO "towpath".running' in data and not self.lost.is_set():
                        claims = True
                        self.lost.set()
                    if one is near:
                        far.sendall(data)
                    elif not claims:
                        near.sendall(data)


@pytest.mark.parametrize("concurrency", [None, 3], ids=["free", "limited"])
def test_what_a_claim_took_is_begun_though_its_answer_was_lost(
    database_url: str, app_on: Callable[[str], App], concurrency: int | None
) -> None:
    """The connection is cut behind the first claim: its workflows begin once, at their first attempt."""
    gate = LosesFirstClaim(database_url)
    gate.open()
    direct, app = app_on(database_url), app_on(gate.url)
    runs: Counter[int] = Counter()

    def fulfil(order: int) -> int:
        runs[order] += 1
        return order

    fulfilling = direct.workflow(name="fulfil")(fulfil)
    app.workflow(name="fulfil")(fulfil)
    queue = direct.queue("orders", concurrency=concurrency)
    app.queue("orders", concurrency=concurrency)
    direct.engine.may_migrate = True
    handles = [queue.enqueue(fulfilling, order) for order in range(5)]
    app.launch(slots=8)
    assert [h.get_result(timeout=30) for h in handles] == list(range(5))
    assert gate.lost.is_set()
    assert {h.get_status().attempt for h in handles} == {1}
    assert set(runs.values()) == {1}
    app.shutdown(drain=0)
    gate.shut()
