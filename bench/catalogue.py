"""Every workload, by its name and by the number of its goal, in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from bench.goals import Line
from bench.measurement import Numbers, Plan, Size, Stage
from bench.workloads import (
    backlog,
    bulk,
    concurrency,
    cost,
    drain,
    enqueue,
    idle,
    latency,
    limiter,
    partitions,
    second,
    snapshot,
    steps,
    waits,
)


class Workload(Protocol):
    """What a module of `workloads` has."""

    TITLE: str
    LINES: list[Line]

    def plans(self, size: Size) -> Iterator[Plan]:
        """Return what is to be measured of each system."""
        ...

    def measure(self, plan: Plan, stage: Stage) -> Numbers:
        """Measure one plan."""
        ...


WORKLOADS: dict[str, Workload] = {
    "enqueue": enqueue,
    "bulk": bulk,
    "drain": drain,
    "second": second,
    "latency": latency,
    "cost": cost,
    "concurrency": concurrency,
    "limiter": limiter,
    "partitions": partitions,
    "steps": steps,
    "waits": waits,
    "idle": idle,
    "backlog": backlog,
    "snapshot": snapshot,
}
NUMBERS = {workload.LINES[0].name: name for name, workload in WORKLOADS.items()}
"""P1 -> enqueue, and so on."""
LINES = [line for workload in WORKLOADS.values() for line in workload.LINES]


def find(chosen: str) -> str:
    """Return the name of a workload that is called by its name or number; KeyError where none is."""
    return chosen if chosen in WORKLOADS else NUMBERS[chosen.upper()]
