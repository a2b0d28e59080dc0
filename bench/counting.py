"""What the server itself counts: statements and their time, transactions, connections."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from bench.adapter import Connection, connect

PRELOADED = "SELECT current_setting('shared_preload_libraries') LIKE '%pg_stat_statements%'"
TOTALS = """
SELECT coalesce(sum(s.calls), 0)::float8, coalesce(sum(s.total_exec_time), 0)::float8,
    coalesce(sum(s.total_plan_time), 0)::float8
FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = %s
"""
TRANSACTIONS = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"
CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'
"""


class Totals(NamedTuple):
    """What the statements of one database have come to; execution without planning."""

    calls: float
    execution_ms: float
    planning_ms: float


class Statistics:
    """One database's numbers, read over a connection to another one, which does not count."""

    def __init__(self, connection: Connection, database: str, *, statements: bool) -> None:
        self._connection = connection
        self._database = database
        self._statements = statements

    def totals(self) -> Totals | None:
        """Return what the statements come to, or None where the server does not count them."""
        if not self._statements:
            return None
        row = self._connection.execute(TOTALS, [self._database]).fetchone()
        assert row is not None
        return Totals(*row)

    def wait_change(self, seconds: float) -> tuple[float, float]:
        """Wait, at most so long, for the next statement; return how many there were, and when.

        Where the server does not count them, they are transactions, and seen up to a second late.
        """
        before, deadline = self._count(), time.monotonic() + seconds
        while (count := self._count()) == before and time.monotonic() < deadline:
            time.sleep(0.05)
        return count, time.monotonic()

    def connections(self) -> float:
        """Return how many clients are connected."""
        return self._number(CONNECTIONS)

    def clear(self) -> None:
        """Count the statements from here."""
        if self._statements:
            self._connection.execute("SELECT pg_stat_statements_reset()")

    def _count(self) -> float:
        totals = self.totals()
        return totals.calls if totals else self._number(TRANSACTIONS)

    def _number(self, query: str) -> float:
        row = self._connection.execute(query.encode(), [self._database]).fetchone()
        assert row is not None
        return float(row[0])


@contextmanager
def tracked(database: str) -> Iterator[Statistics]:
    """Count one database's statements; outside of this block that is off, since it costs time."""
    with connect("postgres") as connection:
        statements = _preloaded(connection)
        statistics = Statistics(connection, database, statements=statements)
        if not statements:
            yield statistics
            return
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        _track(connection, "top")
        statistics.clear()
        try:
            yield statistics
        finally:
            _track(connection, "none")


def stop_counting() -> None:
    """Count no statements, whatever an earlier run has left behind."""
    with connect("postgres") as connection:
        if _preloaded(connection):
            _track(connection, "none")


def _preloaded(connection: Connection) -> bool:
    row = connection.execute(PRELOADED).fetchone()
    return bool(row and row[0])


def _track(connection: Connection, what: str) -> None:
    connection.execute(f"ALTER SYSTEM SET pg_stat_statements.track = '{what}'".encode())
    connection.execute(f"ALTER SYSTEM SET pg_stat_statements.track_planning = {what == 'top'}")
    connection.execute("SELECT pg_reload_conf()")
    time.sleep(0.2)  # every backend reads it when it is next idle
