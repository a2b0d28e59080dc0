"""What an observer outside makes of the recorded calls: how many ran at once, how many began in a window."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Mapping, Sequence

from bench.adapter import Connection, load
from bench.measurement import Plan, Stage
from bench.processes import Workers
from bench.records import Call, count_ends, count_starts

NEARLY = 20
"""So many jobs before the end the database is asked, and not before: asking costs it time."""


def wait_done(plan: Plan, stage: Stage, connection: Connection, deadline: float) -> int:
    """Wait until all is done or the time is up, and return how many jobs are left.

    Done is what the database says is done.
    """
    query = load(plan.system).unfinished.encode()
    while True:
        time.sleep(0.01)
        late = time.monotonic() > deadline
        if late or count_ends(stage.folder) >= plan.count - NEARLY:
            row = connection.execute(query).fetchone()
            assert row is not None
            left = int(row[0])
            if late or left == 0:
                return left


def wait_started(stage: Stage, workers: Workers, deadline: float) -> bool:
    """Wait until a function has begun; tell whether one has."""
    while not count_starts(stage.folder):
        workers.check()
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def most_running(calls: Iterable[Call], gone: Mapping[int, float]) -> int:
    """Return the most calls that were running at once.

    A call without an end ran until its process was `gone`; where the process lives, it runs still.
    """
    changes = []
    for call in calls:
        end = call.end or gone.get(call.process, math.inf)
        changes += [(call.start, 1), (end, -1)]
    most = running = 0
    for _, change in sorted(changes):  # an end goes before a start at the same moment
        running += change
        most = max(most, running)
    return most


def most_within(times: Iterable[float], seconds: float) -> int:
    """Return the most events in any window of so many seconds."""
    ordered = sorted(times)
    most = first = 0
    for last, moment in enumerate(ordered):
        while moment - ordered[first] >= seconds - 1e-6:  # the database's clock counts in those
            first += 1
        most = max(most, last - first + 1)
    return most


def order_violations(calls: Iterable[Call], partitions: int) -> tuple[int, int]:
    """Return how many calls of a partition began out of order, and how many before the one ahead ended."""
    lines: dict[int, list[Call]] = {}
    for call in calls:
        lines.setdefault(call.number % partitions, []).append(call)
    disordered = overlapping = 0
    for line in lines.values():
        line.sort(key=lambda call: call.start)
        for before, after in itertools.pairwise(line):
            disordered += after.number <= before.number
            overlapping += before.end == 0 or after.start < before.end
    return disordered, overlapping


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the value below which a share of them lies; None of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
