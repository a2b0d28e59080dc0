"""P1: one client process enqueues one job at a time, each durable when the call returns."""

from __future__ import annotations

from collections.abc import Iterator

from bench.goals import Line, yards
from bench.measurement import Numbers, Plan, Size, Stage
from bench.processes import call

TITLE = "P1 enqueue, one process, one at a time"
COUNTS = {
    "raw": 3000, "towpath": 3000, "dbos": 1000, "procrastinate": 1500, "pgqueuer": 3000,
    "celery": 3000,
}  # fmt: skip
LINES = [
    Line(name="P1", what="enqueue one at a time / commit yards", workload="enqueue",
         value=yards("commit"), bound=0.85, at_least=True),
]  # fmt: skip


def plans(size: Size) -> Iterator[Plan]:
    """Return one plan a system."""
    for system, count in COUNTS.items():
        yield Plan(
            workload="enqueue",
            system=system,
            variant="one at a time",
            count=size.of(count, count // 3),
        )


def measure(plan: Plan, stage: Stage) -> Numbers:
    """Enqueue `count` jobs and return their rate."""
    stage.reset(plan)
    seconds = call(plan.system, "enqueue", count=plan.count)
    return {"rate": plan.count / seconds}
