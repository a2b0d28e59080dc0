"""P12: two workers of a default queue are launched onto a backlog of 100,000.

How long from the launch to the first start, and the most claimed rows that one of them holds:
looked at from outside every few milliseconds, as often as that stays cheap.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from bench.adapter import Adapter, Fill, connect, load
from bench.goals import Line, number
from bench.measurement import Numbers, Plan, Size, Stage
from bench.observing import wait_started
from bench.records import count_ends, read_calls

TITLE = "P12 a backlog, 2 workers launched onto it, default settings"
FIRST_SECONDS = 40.0
WATCH_SECONDS = 5.0
SLOTS = 100
"""Towpath's default."""
LINES = [
    Line(name="P12", what="100,000 waiting, 2 workers: launch to first start, s", workload="backlog",
         value=number("first_seconds"), bound=0.1),
    Line(name="P12", what=f"most rows one worker holds ({SLOTS} slots)", workload="backlog",
         value=number("most_held"), bound=2 * SLOTS, worst=True),
]  # fmt: skip


def plans(size: Size) -> Iterator[Plan]:
    """Return each system at its defaults."""
    for system in ("raw", "towpath", "dbos", "procrastinate", "pgqueuer"):
        yield Plan(
            workload="backlog",
            system=system,
            variant="batch 100" if system == "raw" else "default",
            count=size.of(100_000, 30_000),
        )


def measure(plan: Plan, stage: Stage) -> Numbers:
    """Launch, wait for the first start, and watch for a while what is held."""
    adapter = load(plan.system)
    stage.reset(plan)
    with connect(adapter.database) as connection:
        adapter.fill(connection, Fill(plan.count))
        connection.execute("VACUUM ANALYZE")
    with Watch(adapter) as watch, stage.workers(plan, 2) as workers:
        launched = workers.wait_launched()
        wait_started(stage, workers, time.monotonic() + FIRST_SECONDS)
        deadline = time.monotonic() + WATCH_SECONDS
        while count_ends(stage.folder) < plan.count and time.monotonic() < deadline:
            time.sleep(0.02)
        calls = read_calls(stage.folder)
    first = min((call.start for call in calls), default=None)
    return {
        "first_seconds": None if first is None else first - launched,
        "most_held": watch.most if adapter.held else None,
        "looks": watch.looks,
        "done": count_ends(stage.folder),
    }


class Watch:
    """Looks at what each worker holds, in a thread."""

    def __init__(self, adapter: Adapter) -> None:
        self.most = 0
        self.looks = 0
        self._adapter = adapter
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        if self._adapter.held:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._adapter.held:
            self._thread.join(30)

    def _run(self) -> None:
        query = self._adapter.held.encode()
        with connect(self._adapter.database) as connection:
            pause = 0.0
            while not self._over.wait(pause):
                began = time.monotonic()
                held = [int(count) for _, count in connection.execute(query)]
                self.most = max(self.most, *held, 0)
                self.looks += 1
                pause = max(0.003, 5 * (time.monotonic() - began))
