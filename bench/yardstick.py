"""What this machine does at this moment: two raw measures, taken before and after each other one.

Every goal is a ratio to one of them, so that a slow minute slows both sides of the ratio.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from bench.adapter import Connection, connect
from bench.adapters.raw_ import CLAIM, COMPLETE, INSERT, SCHEMA

ROWS = 6_000
BATCH = 100
COMMITS = 200
STALL = 500
"""Single commits a second below which the disk had stalled; such a measurement is left out."""


class Yards(NamedTuple):
    """Rates a second, of single commits and of rows claimed and completed in batches."""

    commit: float
    batch: float


class Yardstick:
    """The raw table in a schema of its own."""

    def __init__(self, database: str) -> None:
        self._connection: Connection = connect(database)
        self._connection.execute("CREATE SCHEMA IF NOT EXISTS yardstick")
        self._connection.execute("SET search_path = yardstick")
        self._connection.execute(SCHEMA)

    def measure(self) -> Yards:
        """Take both measures; half a second on an idle machine."""
        self._connection.execute("TRUNCATE job")
        self._connection.execute("INSERT INTO job (arg) SELECT generate_series(1, %s)", [ROWS])
        return Yards(batch=self._measure_batch(), commit=self._measure_commit())

    def _measure_batch(self) -> float:
        began = time.monotonic()
        done: list[int] = []
        while True:
            with self._connection.pipeline():
                if done:
                    self._connection.execute(COMPLETE, [done])
                claim = self._connection.execute(CLAIM, [BATCH])
                rows = claim.fetchall()
            done = [row[0] for row in rows]
            if not rows:
                return ROWS / (time.monotonic() - began)

    def _measure_commit(self) -> float:
        began = time.monotonic()
        for number in range(COMMITS):
            self._connection.execute(INSERT, [number])
        return COMMITS / (time.monotonic() - began)
