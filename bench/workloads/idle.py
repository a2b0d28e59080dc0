"""P11: what an idle worker of 50 queues costs, at default settings."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.adapter import load
from bench.counting import tracked
from bench.goals import Line, number
from bench.measurement import Numbers, Plan, Size, Stage
from bench.processes import Workers
from bench.redis_server import commands

TITLE = "P11 idle worker of 50 queues, default settings"
QUEUES = 50
SETTLE_SECONDS = 3.0
LONGEST_PAUSE = 6.0
"""So long the harness waits for a statement to begin its count with, and to end it with."""
LINES = [
    Line(name="P11", what="idle, 50 queues: statements/s", workload="idle",
         value=number("statements"), bound=1),
    Line(name="P11", what="worker CPU, %", workload="idle",
         value=number("worker_percent"), bound=0.5),
    Line(name="P11", what="connections", workload="idle",
         value=number("connections"), bound=2),
]  # fmt: skip


def plans(size: Size) -> Iterator[Plan]:
    """Return one plan a system."""
    for system in ("towpath", "dbos", "procrastinate", "pgqueuer", "celery"):
        yield Plan(
            workload="idle",
            system=system,
            variant="default",
            count=0,
            settings={"queues": QUEUES},
            options={"seconds": size.of(30, 5)},
        )


def measure(plan: Plan, stage: Stage) -> Numbers:
    """Leave a worker alone, and count what it does."""
    stage.reset(plan)
    adapter = load(plan.system)
    with stage.workers(plan) as workers:
        workers.wait_ready()
        time.sleep(SETTLE_SECONDS)
        if adapter.database:
            return _count_statements(adapter.database, workers, stage, plan.options["seconds"])
        before, began = commands(), time.monotonic()
        workers.reset_cpu()
        time.sleep(plan.options["seconds"])
        seconds = time.monotonic() - began
        return {
            "statements": (commands() - before) / seconds,
            "worker_percent": 100 * workers.cpu_used() / seconds,
            "worker_mb": workers.megabytes(),
        }


def _count_statements(database: str, workers: Workers, stage: Stage, wait: float) -> Numbers:
    with tracked(database) as statistics:
        first, began = statistics.wait_change(LONGEST_PAUSE)
        server = stage.server_seconds()
        workers.reset_cpu()
        time.sleep(wait)
        used, seconds = workers.cpu_used(), time.monotonic() - began
        # From a statement to a statement: one a second is 1.00, wherever the window falls.
        last, ended = statistics.wait_change(LONGEST_PAUSE)
        return {
            "statements": (last - first) / (ended - began),
            "worker_percent": 100 * used / seconds,
            "server_percent": 100 * (stage.server_seconds() - server) / seconds,
            "connections": statistics.connections(),
            "worker_mb": workers.megabytes(),
        }
