"""P8: at most 100 starts in any second, 500 jobs, two processes.

Counted twice: claims, by the database's clock, and function starts, in any window of one second.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from bench.adapter import Fill, connect, load
from bench.goals import Line, number
from bench.measurement import Numbers, Plan, Size, Stage
from bench.observing import most_within, wait_done
from bench.records import read_calls

TITLE = "P8 limiter 100 per 1 s, 2 processes"
LIMIT = 100
PERIOD = 1.0
CAP_SECONDS = 20.0
LIMITER = {"limit": LIMIT, "period": PERIOD}
SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "raw": ("log of starts", {"mode": "limiter", **LIMITER}),
    "towpath": ("default", {"queue": {"limiter": LIMITER}}),
    "dbos": ("10 ms poll", {"queue": {"limiter": LIMITER, "polling_interval_sec": 0.01}}),
}
LINES = [
    Line(name="P8", what="limiter 100 per 1 s: seconds / ideal", workload="limiter",
         value=number("of_ideal"), bound=1.03),
    Line(name="P8", what="most claims in any 1 s", workload="limiter",
         value=number("most_claims"), bound=LIMIT, worst=True),
    Line(name="P8", what="most function starts in any 1 s", workload="limiter",
         value=number("most_starts"), bound=LIMIT, worst=True),
]  # fmt: skip


def plans(size: Size) -> Iterator[Plan]:
    """Return one plan a system that has a limiter."""
    for system, (variant, settings) in SYSTEMS.items():
        yield Plan(
            workload="limiter",
            system=system,
            variant=variant,
            count=size.of(500, 300),
            settings=settings,
        )


def measure(plan: Plan, stage: Stage) -> Numbers:
    """Work the jobs off, and count starts in windows."""
    adapter = load(plan.system)
    stage.reset(plan)
    with connect(adapter.database) as connection, stage.workers(plan, 2) as workers:
        workers.wait_ready()
        adapter.watch_claims(connection)
        adapter.fill(connection, Fill(plan.count))
        adapter.wake(connection)
        left = wait_done(plan, stage, connection, time.monotonic() + CAP_SECONDS)
        claims = [float(moment) for (moment,) in connection.execute(adapter.claims.encode())]
    starts = sorted(call.start for call in read_calls(stage.folder))
    seconds = starts[-1] - starts[0] if starts else None
    ideal = (plan.count / LIMIT - 1) * PERIOD
    return {
        "of_ideal": seconds / ideal if seconds is not None and left == 0 else None,
        "seconds": seconds,
        "most_claims": most_within(claims, PERIOD),
        "most_starts": most_within(starts, PERIOD),
        "left": left,
    }
