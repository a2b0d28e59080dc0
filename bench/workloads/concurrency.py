"""P7: at most ten run at once, in two processes together; each job sleeps for 10 ms.

The functions write down when they begin and end, and the harness counts from outside how many ran
at once. In the second case one of the processes is killed (-9) in the middle: what ran in it counts
as running until the process is gone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from bench.adapter import Fill, connect, load
from bench.goals import Line, number
from bench.measurement import Numbers, Plan, Size, Stage
from bench.observing import most_running, wait_done
from bench.processes import FailedError, Workers
from bench.records import count_ends, read_calls

TITLE = "P7 global concurrency 10, 10 ms jobs, 2 processes"
LIMIT = 10
SLEEP = 0.01
IDEAL = LIMIT / SLEEP
CAP_SECONDS = 8.0
KILL_AFTER = 300
KILL_SECONDS = 60.0
RECOVERY_SECONDS = 25.0
QUICK_LEASE = {"TOWPATH_LEASE_SECONDS": "1"}
SYSTEMS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "raw": ("gate row", 3000, {"mode": "concurrency", "limit": LIMIT}),
    "towpath": ("default", 3000, {"queue": {"concurrency": LIMIT}}),
    "dbos": ("default", 1000, {"queue": {"global_concurrency": LIMIT}}),
    "pgqueuer": (
        "batch 10", 3000, {"queue": {"concurrency_limit": LIMIT}, "run": {"batch_size": LIMIT}}
    ),
}  # fmt: skip
LINES = [
    Line(name="P7", what="concurrency 10, 2 processes, of ideal 1,000/s", workload="concurrency",
         value=number("of_ideal"), bound=0.65, at_least=True),
    Line(name="P7", what="most running at once", workload="concurrency",
         value=number("most_running"), bound=LIMIT, worst=True),
    Line(name="P7", what="most running at once, one process killed", workload="concurrency",
         case="killed", value=number("most_running"), bound=LIMIT, worst=True),
]  # fmt: skip


def plans(size: Size) -> Iterator[Plan]:
    """Return for each system the undisturbed case, and the one with a kill."""
    for system, (variant, count, settings) in SYSTEMS.items():
        environment = QUICK_LEASE if size.quick else {}
        for case in ("", "killed"):
            yield Plan(
                workload="concurrency",
                system=system,
                case=case,
                variant=variant,
                count=size.of(count, count // 2),
                settings={
                    **settings,
                    "sleep": SLEEP,
                    "environment": environment if case else {},
                },
                repeat=not case,
            )


def measure(plan: Plan, stage: Stage) -> Numbers:
    """Work the jobs off under the limit, and count from outside."""
    adapter = load(plan.system)
    stage.reset(plan)
    gone: dict[int, float] = {}
    with stage.workers(plan, 2) as workers, connect(adapter.database) as connection:
        workers.wait_ready()
        adapter.fill(connection, Fill(plan.count))
        began = time.monotonic()
        adapter.wake(connection)
        deadline = began + CAP_SECONDS
        if plan.case:
            gone = _kill_busy(plan, stage, workers)
            deadline = time.monotonic() + RECOVERY_SECONDS
        left = wait_done(plan, stage, connection, deadline)
        seconds = time.monotonic() - began
    calls = read_calls(stage.folder)
    return {
        "of_ideal": (plan.count - left) / seconds / IDEAL,
        "most_running": most_running(calls, gone),
        "interrupted": sum(call.process in gone and not call.end for call in calls),
        "left": left,
    }


def _kill_busy(plan: Plan, stage: Stage, workers: Workers) -> dict[int, float]:
    """Kill a worker in which functions run, some of the jobs done; return when it was gone."""
    deadline = time.monotonic() + KILL_SECONDS
    while time.monotonic() < deadline:
        time.sleep(0.002)
        if count_ends(stage.folder) < min(plan.count // 3, KILL_AFTER):
            continue
        for process, _ in _running(stage).most_common(1):
            gone = workers.kill_while(process, lambda pid: _running(stage)[pid] > 0)
            if gone is not None:
                return {process: gone}
    raise FailedError("nothing ran that could be killed")


def _running(stage: Stage) -> Counter[int]:
    """Return how many functions run in each process."""
    return Counter(call.process for call in read_calls(stage.folder) if not call.end)
