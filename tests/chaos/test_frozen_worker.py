"""A worker that is frozen past its lease and wakes: what it still runs writes nothing, and ends."""

from __future__ import annotations

import http.server
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from tests.fixtures.workers import WorkerProcess, worker_processes

APPLICATION = Path(__file__).parent / "application"
WAYS = ["step", "message", "event", "stream", "child", "receive", "sleep", "outcome"]
WRITTEN = {
    "step": "SELECT seq, position, attempt, name, output FROM towpath.step",
    "message": "SELECT seq, topic, value FROM towpath.message",
    "event": "SELECT seq, key, value FROM towpath.event",
    "stream": "SELECT seq, key, value FROM towpath.stream",
    "workflow": "SELECT seq, name, input FROM towpath.workflow",
    "result": "SELECT seq, status, attempt, output, completed_at FROM towpath.result",
    "wait": "SELECT seq, position, kind FROM towpath.wait WHERE seq <> 0",
    "running": "SELECT seq, attempt FROM towpath.running",
    "ready": "SELECT seq, attempt FROM towpath.ready",
}


class Holding(http.server.ThreadingHTTPServer):
    """Notes every call; those of first attempts are held up until `let_go` is set."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.let_go = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Holding

    def do_GET(self) -> None:
        self.server.calls.append(self.path)
        if self.path.endswith("/1") and not self.path.startswith("/after-"):
            self.server.let_go.wait(60)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


@contextmanager
def holding() -> Iterator[Holding]:
    """Serve for the time of the block."""
    server = Holding()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.let_go.set()
        server.shutdown()
        thread.join()
        server.server_close()


def written(watch: psycopg.Connection[Any]) -> dict[str, list[Any]]:
    """Return all that workflows have written."""
    return {
        table: sorted(watch.execute(query.encode()).fetchall(), key=repr)
        for table, query in WRITTEN.items()
    }


def of(watch: psycopg.Connection[Any], query: str) -> int:
    """Return a query's count."""
    row = watch.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.timeout(180)
def test_a_frozen_worker_writes_nothing_when_it_wakes_and_its_code_ends(
    database_url: str, tmp_path: Path
) -> None:
    """Steps, messages, events, streams, children, waits and outcomes: all are those of its successor."""
    with (
        holding() as outside,
        psycopg.connect(database_url, autocommit=True) as watch,
        towpath.Client(database_url) as client,
    ):
        environ = {
            "TOWPATH_DATABASE_URL": database_url,
            "TOWPATH_LEASE_SECONDS": "1",
            "TOWPATH_SLOTS": f"{len(WAYS)}",
            "OBSERVER": f"127.0.0.1:{outside.server_port}",
        }
        with worker_processes(1, "frozen_shop", APPLICATION, environ, tmp_path) as (frozen,):
            wait_until(lambda: of(watch, "SELECT count(*) FROM towpath.worker") == 1, seconds=60)
            to = client.enqueue("orders", "nobody runs it").workflow_id
            handles = {way: client.enqueue("orders", "writes", way, to) for way in WAYS}
            wait_until(lambda: len(outside.calls) == len(WAYS), what="all are in their calls")
            frozen.kill(signal.SIGSTOP)
            successor = start_successor(environ, tmp_path)
            try:
                for handle in handles.values():
                    assert handle.get_result(timeout=60) == "by attempt 2"
                wait_until(lambda: of(watch, "SELECT count(*) FROM towpath.running") == 0)
                before = written(watch)
            finally:
                successor.kill(signal.SIGTERM)
                successor.wait()
            outside.let_go.set()
            frozen.kill(signal.SIGCONT)
            # its slots are all taken by what was stale: they come free as that ends
            again = [client.enqueue("orders", "child", n) for n in range(3 * len(WAYS))]
            assert [h.get_result(timeout=60) for h in again] == list(range(3 * len(WAYS)))
            assert without_new(written(watch), len(again)) == without_new(before, 0)
            assert outside.calls.count("/step/1") == 1
            assert not [c for c in outside.calls if c.startswith("/after-") and c.endswith("/1")]
            for way, handle in handles.items():
                assert handle.get_result(timeout=5) == "by attempt 2", way
            assert client.get_event(handles["event"].workflow_id, "state", 0) == 2
            assert list(client.read_stream(handles["stream"].workflow_id, "out")) == [2]
            started = client.list_workflows(parent_workflow_id=handles["child"].workflow_id)
            assert [list(info.args) for info in started] == [[2]]


def start_successor(environ: dict[str, str], logs: Path) -> WorkerProcess:
    """Start the worker that takes over."""
    return WorkerProcess("frozen_shop", APPLICATION, environ, logs / "successor.log")


def without_new(found: dict[str, list[Any]], new: int) -> dict[str, list[Any]]:
    """Leave out the workflows that were started afterwards, which have the highest seqs."""
    last = sorted(row[0] for row in found["workflow"])[-new - 1]
    return {table: [row for row in rows if row[0] <= last] for table, rows in found.items()}


@pytest.mark.timeout(120)
def test_a_worker_that_is_frozen_for_less_than_its_lease_goes_on(
    database_url: str, tmp_path: Path
) -> None:
    """Nobody takes over, and its first attempts end as if nothing had been."""
    with (
        holding() as outside,
        psycopg.connect(database_url, autocommit=True) as watch,
        towpath.Client(database_url) as client,
    ):
        environ = {
            "TOWPATH_DATABASE_URL": database_url,
            "TOWPATH_LEASE_SECONDS": "20",
            "OBSERVER": f"127.0.0.1:{outside.server_port}",
        }
        with worker_processes(2, "frozen_shop", APPLICATION, environ, tmp_path) as workers:
            wait_until(lambda: of(watch, "SELECT count(*) FROM towpath.worker") == 2, seconds=60)
            to = client.enqueue("orders", "nobody runs it").workflow_id
            handles = [client.enqueue("orders", "writes", way, to) for way in WAYS]
            wait_until(lambda: len(outside.calls) == len(WAYS))
            for worker in workers:
                worker.kill(signal.SIGSTOP)
            time.sleep(2)  # the time of the frost
            for worker in workers:
                worker.kill(signal.SIGCONT)
            outside.let_go.set()
            assert {h.get_result(timeout=30) for h in handles} == {"by attempt 1"}
