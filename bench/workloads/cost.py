"""P6: the server's time for each started job, and how it grows with rows that are not its own.

The queue is filled before the worker starts, vacuumed and analyzed, so that nothing but the depth
differs between the cases. Of the growth, whatever the worker asks when it starts is a part. The
least of three takes counts: what other programs do meanwhile only adds to the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from bench.adapter import Fill, connect, load
from bench.counting import tracked
from bench.goals import Line, number
from bench.measurement import Numbers, Plan, Size, Stage
from bench.observing import wait_started
from bench.peers import BEST
from bench.records import clear, count_ends, count_starts

Rows = dict[str, Any]
"""The fields of a Fill."""

TITLE = "P6 server time for each started job, ms"
CAP_SECONDS = 12.0
TAKES = 3
LAST_SECONDS = 0.3
"""So long after its client a killed worker's backend has ended, and its CPU time is counted."""
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
        own = {"count": count + count // 10}
        deep = {"count": many, "first": 10_000_000}
        cases: dict[str, tuple[list[Rows], list[Rows]]] = {
            "base": ([], [own]),
            "waiting": ([{"count": many}], []),
            "finished": ([{**deep, "finished": True}], [own]),
            "other version": ([{**deep, "other_version": True}], [own]),
        }
        best = BEST[system]
        for case, (once, each) in cases.items():
            plan = Plan(
                workload="cost", system=system, case=case, variant=best.variant, count=count,
                settings=best.settings,
            )  # fmt: skip
            yield with_rows(plan, once, each, size.of(TAKES, 1))


def with_rows(plan: Plan, once: list[Rows], each: list[Rows], takes: int) -> Plan:
    """Return a plan with the rows that lie there, and those that are added for each take."""
    options = {"once": once, "each": each, "takes": takes}
    return replace(plan, options=options, limit_seconds=900, repeat=False)


def measure(plan: Plan, stage: Stage) -> Numbers:
    """Fill, and return the least of what the server took for each job that began."""
    began = time.monotonic()
    stage.reset(plan)
    _fill(plan, plan.options["once"], 0)
    filled = time.monotonic() - began
    takes = []
    for take in range(plan.options["takes"]):
        if not plan.options["once"]:
            stage.reset(plan)
        _fill(plan, plan.options["each"], take)
        takes.append(_take(plan, stage))
    started = [take for take in takes if take["server_ms"] is not None]
    least = min(started, key=lambda take: take["server_ms"] or 0, default=takes[0])
    return {**least, "takes": len(started), "fill_seconds": filled}


def _fill(plan: Plan, fills: list[Rows], take: int) -> None:
    """Add the rows of a take, numbered after those of the one before."""
    adapter = load(plan.system)
    with connect(adapter.database) as connection:
        for rows in fills:
            fill = Fill(**rows)
            adapter.fill(connection, replace(fill, first=fill.first + take * fill.count))
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _take(plan: Plan, stage: Stage) -> Numbers:
    clear(stage.folder)
    with tracked(load(plan.system).database) as statistics:
        server_before = stage.server_seconds()
        seconds = _run_worker(plan, stage)
        time.sleep(LAST_SECONDS)
        server_ms = (stage.server_seconds() - server_before) * 1e3
        totals = statistics.totals()
    started = count_starts(stage.folder)
    if not started:
        return {"server_ms": None, "started": 0}
    return {
        "server_ms": (totals.execution_ms if totals else server_ms) / started,
        "planning_ms": totals.planning_ms / started if totals else None,
        "server_cpu_ms": server_ms / started,
        "started": started,
        "rate": started / seconds,
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
