"""P4: what a second worker process adds; one and two drain right after each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bench.goals import Line, number
from bench.measurement import Numbers, Plan, Size, Stage
from bench.workloads import drain

TITLE = "P4 drain by one and by two worker processes"
LINES = [
    Line(name="P4", what="second worker process, x the first", workload="second",
         value=number("gain"), bound=1.6, at_least=True),
]  # fmt: skip


def plans(size: Size) -> Iterator[Plan]:
    """Return what is drained by one."""
    for plan in drain.plans(size):
        yield replace(plan, workload="second")


def measure(plan: Plan, stage: Stage) -> Numbers:
    """Drain with one process, then twice as many jobs with two."""
    one = drain.drain(plan, stage, processes=1)
    two = drain.drain(replace(plan, count=2 * plan.count), stage, processes=2)
    assert one["rate"]
    assert two["rate"]
    return {
        "gain": two["rate"] / one["rate"],
        "rate_of_one": one["rate"],
        "rate_of_two": two["rate"],
        "worker_cores_of_two": two["worker_cores"],
    }
