"""A worker behind a transaction pooler: no LISTEN, no prepared statement, nothing kept in a session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.fixtures.pooler import SESSIONS, transaction_pooler
from tests.fixtures.workers import worker_processes
from towpath import Client

APPLICATIONS = Path(__file__).parent / "applications"
ORDERS = 6


@pytest.fixture
def pooled_url(database_url: str) -> Iterator[str]:
    """Return the URL of the test's database through a pooler."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE sold (item text)")
        connection.execute("INSERT INTO towpath.queue (name) VALUES ('pooled')")
        connection.execute("INSERT INTO towpath.gate (queue) VALUES ('pooled')")
    with transaction_pooler(database_url) as url:
        yield url


def test_workflows_run_through_a_transaction_pooler(
    pooled_url: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers and a client, more connections than the server has sessions for them."""
    settings = {
        "TOWPATH_DATABASE_URL": pooled_url,
        "TOWPATH_LISTEN": "0",
        "TOWPATH_MIGRATE": "0",
        "TOWPATH_MAX_CONNECTIONS": "8",
    }
    for name in [name for name in os.environ if name.startswith("TOWPATH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TOWPATH_LISTEN", "0")
    running = worker_processes(2, "everything_pooled", APPLICATIONS, settings, tmp_path)
    with running as workers, Client(pooled_url) as client:
        sync = [client.enqueue("pooled", "order", number) for number in range(ORDERS)]
        suspending = [client.enqueue("pooled", "order_async", number) for number in range(ORDERS)]
        for number, handle in enumerate(sync):
            begun = client.get_event(handle.workflow_id, "begun", timeout_seconds=30)
            assert begun == number
            client.send(handle.workflow_id, f"for {number}", "topic")
        for number, handle in enumerate(sync):
            expected = [2 * number, f"order-{number}", 2 * number, f"for {number}"]
            assert handle.get_result(30) == expected
        for number, handle in enumerate(suspending):
            assert handle.get_result(30) == [8 * number + 12, 4]
        logs = "".join(worker.log.read_text() for worker in workers)
    assert "prepared statement" not in logs
    assert '"level": "error"' not in logs
    with psycopg.connect(database_url, autocommit=True) as connection:
        row = connection.execute("SELECT count(*) FROM sold").fetchone()
        assert row == (8 * ORDERS + 4 * ORDERS,)
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        sessions = connection.execute(query).fetchone()
    assert sessions is not None
    assert sessions[0] <= SESSIONS + 1


def test_nothing_stays_in_the_sessions_of_the_pool(
    pooled_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the next client finds there: no statement, no channel, no setting, no lock."""
    monkeypatch.setenv("TOWPATH_LISTEN", "0")
    settings = {
        "TOWPATH_DATABASE_URL": pooled_url,
        "TOWPATH_LISTEN": "0",
        "TOWPATH_MIGRATE": "0",
    }
    with (
        worker_processes(1, "everything_pooled", APPLICATIONS, settings, tmp_path),
        Client(pooled_url) as client,
    ):
        for number in range(ORDERS):
            client.enqueue("pooled", "order_async", number).get_result(30)
    sessions = [psycopg.connect(pooled_url) for _ in range(SESSIONS)]  # each in a transaction
    for session in sessions:
        found = session.execute(
            "SELECT (SELECT count(*) FROM pg_prepared_statements),"
            " (SELECT count(*) FROM pg_listening_channels()),"
            " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),"
            " current_setting('enable_seqscan')"
        ).fetchone()
        assert found == (0, 0, 0, "on")
    for session in sessions:
        session.close()
