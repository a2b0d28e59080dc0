"""P3: one worker process works off no-op jobs that appear by one commit of SQL, results kept.

The worker is up and idle when the jobs appear. Done is what the database says is done. A slow
system is stopped after CAP_SECONDS, and its rate is of what it had done by then.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.adapter import Connection, connect, load
from bench.measurement import Measurement, Plan, Stage
from bench.records import count_ends

COUNT = 20_000
CAP_SECONDS = 8.0
NEARLY = 20
"""So many jobs before the end the database is asked, and not before: asking costs it time."""


def plans() -> Iterator[Plan]:
    """Return the peers at their best settings, found by a sweep, and Towpath at its defaults."""
    dbos = {"queue": {"worker_concurrency": 100, "polling_interval_sec": 0.01}}
    procrastinate = {"connections": 30, "worker": {"concurrency": 30}}
    yield Plan(
        workload="drain", system="raw", variant="batch 100", count=COUNT, settings={"batch": 100}
    )
    yield Plan(workload="drain", system="dbos", variant="10 ms poll", count=COUNT, settings=dbos)
    yield Plan(
        workload="drain",
        system="procrastinate",
        variant="concurrency 30",
        count=COUNT,
        settings=procrastinate,
    )
    yield Plan(workload="drain", system="towpath", variant="default", count=COUNT)


def measure(plan: Plan, stage: Stage) -> Measurement:
    """Fill the queue and return the rate at which one worker empties it."""
    adapter = load(plan.system)
    stage.reset(plan.system)
    with stage.workers(plan) as workers, connect(adapter.database) as connection:
        with connection.transaction():
            adapter.fill(connection, plan.count)
            # As in a database that has been in use: procrastinate is several times slower without.
            connection.execute("ANALYZE")
        began = time.monotonic()
        workers.reset_cpu()
        server_before = stage.server_seconds()
        adapter.wake(connection)
        left = _wait_done(plan, stage, connection, began)
        seconds = time.monotonic() - began
        return Measurement(
            plan=plan,
            numbers={
                "rate": (plan.count - left) / seconds,
                "done": plan.count - left,
                "worker_cores": workers.cpu_used() / seconds,
                "server_cores": (stage.server_seconds() - server_before) / seconds,
                "worker_mb": workers.megabytes(),
            },
        )


def _wait_done(plan: Plan, stage: Stage, connection: Connection, began: float) -> int:
    """Wait until all is done or the time is up, and return how many jobs are left."""
    query = load(plan.system).unfinished.encode()
    while True:
        time.sleep(0.02)
        late = time.monotonic() - began > CAP_SECONDS
        if late or count_ends(stage.folder) >= plan.count - NEARLY:
            row = connection.execute(query).fetchone()
            assert row is not None
            left = int(row[0])
            if late or left == 0:
                return left
