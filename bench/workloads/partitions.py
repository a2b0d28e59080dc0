"""P9: 1,000 partitions of 20 jobs, one at a time each and in order, one process.

The queue is filled and analyzed before the worker starts; the clock runs from the first start. The
cost of a start is taken as in P6, with 1,000 partitions and with a million, both as the system
knows them after its claims have looked at them, and as a bulk of enqueues leaves them behind.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from bench.adapter import Fill, connect, load
from bench.goals import Line, number, yards
from bench.measurement import Numbers, Plan, Size, Stage
from bench.observing import order_violations, wait_done, wait_started
from bench.processes import FailedError
from bench.records import read_calls
from bench.workloads import cost

TITLE = "P9 partitions, one at a time each, 1 process"
PARTITIONS = 1000
EACH = 20
CAP_SECONDS = 12.0
SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "raw": ("batch 200", {"mode": "partitions", "batch": 200}),
    "towpath": ("default", {"queue": {"partition_queue": True}}),
    "dbos": (
        "10 ms poll",
        {
            "queue": {
                "partition_concurrency": 1,
                "polling_interval_sec": 0.01,
                "worker_concurrency": 100,
            }
        },
    ),
    "procrastinate": ("lock, concurrency 10", {"worker": {"concurrency": 10}}),
}
JOBS = {"raw": 10_000, "towpath": 10_000, "dbos": 500, "procrastinate": 500}
COSTS = ("1,000 partitions", "1M partitions", "1M partitions just enqueued")
LINES = [
    Line(name="P9", what="1,000 partitions x 20 / batch yards", workload="partitions",
         value=yards("batch"), bound=0.25, at_least=True),
    Line(name="P9", what="starts out of order", workload="partitions",
         value=number("disordered"), bound=0, worst=True),
    Line(name="P9", what="overlaps within a partition", workload="partitions",
         value=number("overlapping"), bound=0, worst=True),
    *(
        Line(name="P9", what=f"growth of server ms per start: {case}",
             workload="partitions", case=case, base_case=COSTS[0], value=number("server_ms"), bound=1.1)
        for case in COSTS[1:]
    ),
]  # fmt: skip


def plans(size: Size) -> Iterator[Plan]:
    """Return for each system the run through all partitions, and the costs."""
    for system, (variant, settings) in SYSTEMS.items():
        yield Plan(
            workload="partitions",
            system=system,
            variant=variant,
            count=PARTITIONS * size.of(EACH, EACH // 2),
            settings=settings,
        )
        yield from _costs(system, variant, settings, size)


def _costs(system: str, variant: str, settings: dict[str, Any], size: Size) -> Iterator[Plan]:
    jobs = size.of(JOBS[system], JOBS[system] // 2)
    for case in COSTS[: 3 if system == "towpath" else 2]:  # the others have no such difference
        few = case == COSTS[0]
        partitions = PARTITIONS if few else size.of(1_000_000, 50_000)
        rows = {
            "count": max(partitions, jobs + jobs // 10),
            "partitions": partitions,
            "unseen": case == COSTS[2],
        }
        plan = Plan(
            workload="partitions",
            system=system,
            case=case,
            variant=variant,
            count=jobs,
            settings=settings,
        )
        # What is just enqueued is so once.
        takes = 1 if rows["unseen"] else size.of(cost.TAKES, 1)
        yield cost.with_rows(plan, [] if few else [rows], [rows] if few else [], takes)


def measure(plan: Plan, stage: Stage) -> Numbers:
    """Work the partitions off, and look for what began too early; or take the cost."""
    if plan.case:
        return cost.measure(plan, stage)
    adapter = load(plan.system)
    stage.reset(plan)
    with connect(adapter.database) as connection:
        adapter.fill(connection, Fill(plan.count, partitions=PARTITIONS, unseen=True))
        connection.execute("VACUUM ANALYZE")
        with stage.workers(plan) as workers:
            if not wait_started(stage, workers, time.monotonic() + 20):
                raise FailedError("no job began")
            deadline = time.monotonic() + CAP_SECONDS
            left = wait_done(plan, stage, connection, deadline)
            ended = time.monotonic()
    calls = read_calls(stage.folder)
    began = min(call.start for call in calls)
    disordered, overlapping = order_violations(calls, PARTITIONS)
    return {
        "rate": (plan.count - left) / (ended - began),
        "disordered": disordered,
        "overlapping": overlapping,
        "done": plan.count - left,
    }
