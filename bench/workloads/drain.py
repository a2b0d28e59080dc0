"""P3: one worker process works off no-op jobs that appear by one commit of SQL, results kept.

The worker is up and idle when the jobs appear. Done is what the database says is done. A slow
system is stopped after CAP_SECONDS, and its rate is of what it had done by then.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.adapter import Fill, connect, load
from bench.goals import Line, yards
from bench.measurement import Numbers, Plan, Size, Stage
from bench.observing import wait_done, wait_started
from bench.peers import BEST
from bench.processes import FailedError, call
from bench.records import count_ends, read_calls

TITLE = "P3 drain of no-op jobs, one worker process"
COUNT = 20_000
CELERY_COUNT = 4_000
CAP_SECONDS = 8.0
LINES = [
    Line(name="P3", what="drain of no-op workflows / batch yards", workload="drain",
         value=yards("batch"), bound=0.35, at_least=True),
]  # fmt: skip


def plans(size: Size) -> Iterator[Plan]:
    """Return the peers at their best settings, and Towpath at its defaults."""
    for system, best in BEST.items():
        full = CELERY_COUNT if system == "celery" else COUNT
        yield Plan(
            workload="drain",
            system=system,
            variant=best.variant,
            count=size.of(full, full // 2),
            settings=best.settings,
        )


def measure(plan: Plan, stage: Stage) -> Numbers:
    """Fill the queue and return the rate at which one worker empties it."""
    return drain(plan, stage, processes=1)


def drain(plan: Plan, stage: Stage, *, processes: int) -> Numbers:
    """Fill the queue and return the rate at which the workers empty it."""
    adapter = load(plan.system)
    stage.reset(plan)
    if not adapter.database:
        return _drain_filled(plan, stage, processes)
    with stage.workers(plan, processes) as workers, connect(adapter.database) as connection:
        workers.wait_ready()
        with connection.transaction():
            adapter.fill(connection, Fill(plan.count))
            # As in a database that has been in use: procrastinate is several times slower without.
            connection.execute("ANALYZE")
        began = time.monotonic()
        workers.reset_cpu()
        server_before = stage.server_seconds()
        adapter.wake(connection)
        left = wait_done(plan, stage, connection, began + CAP_SECONDS)
        seconds = time.monotonic() - began
        return {
            "rate": (plan.count - left) / seconds,
            "done": plan.count - left,
            "worker_cores": workers.cpu_used() / seconds,
            "server_cores": (stage.server_seconds() - server_before) / seconds,
            "worker_mb": workers.megabytes(),
        }


def _drain_filled(plan: Plan, stage: Stage, processes: int) -> Numbers:
    """Work off what the system's own client sent before, from the first start to the last end."""
    call(plan.system, "enqueue", count=plan.count)
    with stage.workers(plan, processes) as workers:
        if not wait_started(stage, workers, time.monotonic() + 30):
            raise FailedError("no job began")
        workers.reset_cpu()
        deadline = time.monotonic() + CAP_SECONDS
        while count_ends(stage.folder) < plan.count and time.monotonic() < deadline:
            time.sleep(0.01)
        used, memory = workers.cpu_used(), workers.megabytes()
        calls = [item for item in read_calls(stage.folder) if item.end]
    seconds = max(item.end for item in calls) - min(item.start for item in calls)
    return {
        "rate": len(calls) / seconds,
        "done": len(calls),
        "worker_cores": used / seconds,
        "worker_mb": memory,
    }
