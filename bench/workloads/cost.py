"""P6: the server's time for each started job, and how it grows with rows that are not its own.

The queue is filled before the worker starts, vacuumed and analyzed, so that nothing but the depth
differs between the cases. Of the growth, whatever the worker asks when it starts is a part.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from bench.adapter import Fill, connect, load
from bench.counting import tracked
from bench.goals import Line, number
from bench.measurement import Numbers, Plan, Size, Stage
from bench.observing import wait_started
from bench.peers import BEST
from bench.records import count_ends, count_starts

TITLE = "P6 server time for each started job, ms"
CAP_SECONDS = 12.0
JOBS = {"raw": 10_000, "towpath": 10_000, "pgqueuer": 10_000, "dbos": 2_000, "procrastinate": 2_000}
GROWTHS = {
    "waiting": "1M waiting",
    "finished": "1M finished",
    "other version": "1M waiting of another version",
}
LINES = [
    Line(name="P6", what="server ms per started job", workload="cost", case="base",
         value=number("server_ms"), bound=0.08),
    *(
        Line(name="P6", what=f"growth of that: {what}", workload="cost", case=case,
             base_case="base", value=number("server_ms"), bound=1.1)
        for case, what in GROWTHS.items()
    ),
]  # fmt: skip


def plans(size: Size) -> Iterator[Plan]:
    """Return for each system the base and each growth."""
    many = size.of(1_000_000, 50_000)
    for system, jobs in JOBS.items():
        count = size.of(jobs, jobs // 2)
        base: dict[str, Any] = {"count": count + count // 10}
        cases: dict[str, list[dict[str, Any]]] = {
            "base": [base],
            "waiting": [{"count": many}],
            "finished": [{"count": many, "first": 10_000_000, "finished": True}, base],
            "other version": [{"count": many, "first": 10_000_000, "other_version": True}, base],
        }
        for case, fills in cases.items():
            best = BEST[system]
            yield make_plan("cost", system, case, count, fills, best.variant, best.settings)


def make_plan(
    workload: str,
    system: str,
    case: str,
    count: int,
    fills: list[dict[str, Any]],
    variant: str,
    settings: Mapping[str, Any],
) -> Plan:
    """Return the plan of one depth."""
    return Plan(
        workload=workload,
        system=system,
        case=case,
        variant=variant,
        count=count,
        settings=settings,
        options={"fills": fills},
        limit_seconds=900,
        repeat=False,
    )


def measure(plan: Plan, stage: Stage) -> Numbers:
    """Fill, start a worker, and return the server's time for each job that began."""
    adapter = load(plan.system)
    stage.reset(plan)
    began = time.monotonic()
    with connect(adapter.database) as connection:
        for fill in plan.options["fills"]:
            adapter.fill(connection, Fill(**fill))
        filled = time.monotonic() - began
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
    with tracked(adapter.database) as statistics:
        server_before = stage.server_seconds()
        seconds = _run_worker(plan, stage)
        server_ms = (stage.server_seconds() - server_before) * 1e3
        totals = statistics.totals()
    started = count_starts(stage.folder)
    if not started:
        return {"server_ms": None, "started": 0, "fill_seconds": filled}
    return {
        "server_ms": (totals.execution_ms if totals else server_ms) / started,
        "planning_ms": totals.planning_ms / started if totals else None,
        "server_cpu_ms": server_ms / started,
        "started": started,
        "rate": started / seconds,
        "fill_seconds": filled,
    }


def _run_worker(plan: Plan, stage: Stage) -> float:
    """Run a worker until the jobs have ended or its time is up; return its seconds from the first."""
    with stage.workers(plan) as workers:
        workers.wait_launched()
        deadline = time.monotonic() + CAP_SECONDS
        wait_started(stage, workers, deadline)
        began = time.monotonic()
        while count_ends(stage.folder) < plan.count and time.monotonic() < deadline:
            time.sleep(0.005)
        return time.monotonic() - began
