"""P1: one client process enqueues one job at a time, each durable when the call returns."""

from __future__ import annotations

from collections.abc import Iterator

from bench.measurement import Measurement, Plan, Stage
from bench.processes import call

COUNTS = {"raw": 3000, "dbos": 1000, "procrastinate": 1500, "towpath": 3000}


def plans() -> Iterator[Plan]:
    """Return one plan a system."""
    for system, count in COUNTS.items():
        yield Plan(workload="enqueue", system=system, variant="one at a time", count=count)


def measure(plan: Plan, stage: Stage) -> Measurement:
    """Enqueue `count` jobs and return their rate."""
    stage.reset(plan.system)
    seconds = call(plan.system, "enqueue", count=plan.count)
    return Measurement(plan=plan, numbers={"rate": plan.count / seconds})
