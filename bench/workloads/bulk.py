"""P2: one client process enqueues many jobs in each call, durable when the call returns."""

from __future__ import annotations

from collections.abc import Iterator

from bench.goals import Line, yards
from bench.measurement import Numbers, Plan, Size, Stage
from bench.processes import call

TITLE = "P2 enqueue in bulk, one process, 1,000 a call"
CALL_SIZE = 1000
COUNTS = {
    "raw": 50_000,
    "towpath": 50_000,
    "dbos": 3_000,
    "procrastinate": 20_000,
    "pgqueuer": 50_000,
}
VARIANTS = {"dbos": "the caller's transaction"}
LINES = [
    Line(name="P2", what="bulk enqueue, 1,000 a call / commit yards", workload="bulk",
         value=yards("commit"), bound=20, at_least=True),
]  # fmt: skip


def plans(size: Size) -> Iterator[Plan]:
    """Return one plan a system."""
    for system, count in COUNTS.items():
        yield Plan(
            workload="bulk",
            system=system,
            variant=VARIANTS.get(system, "bulk call"),
            count=size.of(count, min(count, 20_000)),
        )


def measure(plan: Plan, stage: Stage) -> Numbers:
    """Enqueue `count` jobs and return their rate."""
    stage.reset(plan)
    seconds = call(plan.system, "bulk", count=plan.count, size=CALL_SIZE)
    return {"rate": plan.count / seconds}
