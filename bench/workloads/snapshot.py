"""P13: throughput while another transaction holds an old snapshot, as a backup or a lost session does.

One worker, fed by SQL so that something always waits. Its rate before the snapshot is compared with
that during the whole hold, and with that of the last third of it, when most dead rows lie about.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

from bench.adapter import Adapter, Connection, Fill, connect, load
from bench.goals import Line, number
from bench.measurement import Numbers, Plan, Size, Stage
from bench.observing import wait_started
from bench.peers import BEST
from bench.processes import START_SECONDS
from bench.records import count_ends

TITLE = "P13 throughput beside a held snapshot, 1 process"
FEEDS = {
    "raw": 10_000,
    "towpath": 10_000,
    "pgqueuer": 10_000,
    "dbos": 1_000,
    "procrastinate": 1_000,
}
"""How many jobs are added whenever fewer than twice as many wait."""
LINES = [
    Line(name="P13", what=f"rate with a held snapshot / before, {what}", workload="snapshot",
         value=number(name), bound=0.9, at_least=True)
    for name, what in (("whole", "whole hold"), ("late", "last third"))
]  # fmt: skip


def plans(size: Size) -> Iterator[Plan]:
    """Return each system at its best settings."""
    hold = size.hold_seconds
    for system, feed in FEEDS.items():
        yield Plan(
            workload="snapshot",
            system=system,
            variant=BEST[system].variant,
            count=feed,
            settings=BEST[system].settings,
            options={"hold": hold, "settle": 1.0 if size.quick else 5.0},
            limit_seconds=2 * hold + 120,
            repeat=False,
        )


def measure(plan: Plan, stage: Stage) -> Numbers:
    """Feed a worker before, during and after the hold of a snapshot."""
    adapter = load(plan.system)
    stage.reset(plan)
    hold, settle = plan.options["hold"], plan.options["settle"]
    with connect(adapter.database) as connection, ExitStack() as stack:
        feeder = Feeder(plan, stage, adapter, connection)
        feeder.run(0)  # the worker finds jobs and their statistics
        workers = stack.enter_context(stage.workers(plan))
        wait_started(stage, workers, time.monotonic() + START_SECONDS)
        feeder.run(settle)
        before = feeder.run(hold / 3)
        with connect(adapter.database) as holder, holder.transaction():
            holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            holder.execute("SELECT count(*) FROM pg_class")  # takes the snapshot
            early = feeder.run(hold * 2 / 3)
            late = feeder.run(hold / 3)
        feeder.run(settle)
        after = feeder.run(hold / 6)
    whole = (early.ended + late.ended) / (early.seconds + late.seconds)
    return {
        "whole": whole / before.rate,
        "late": late.rate / before.rate,
        "rate": before.rate,
        "rate_held": whole,
        "rate_late": late.rate,
        "rate_after": after.rate,
    }


class Window(NamedTuple):
    """A stretch of time, and what ended in it."""

    ended: int
    seconds: float

    @property
    def rate(self) -> float:
        """Return how many ended in a second."""
        return self.ended / self.seconds


class Feeder:
    """Keeps a queue from running dry."""

    def __init__(self, plan: Plan, stage: Stage, adapter: Adapter, connection: Connection) -> None:
        self._plan, self._stage = plan, stage
        self._adapter, self._connection = adapter, connection
        self._fed = 0

    def run(self, seconds: float) -> Window:
        """Feed for so long, and return what was done meanwhile; each begins with fresh statistics."""
        self._feed()
        self._connection.execute("ANALYZE")
        began, ended = time.monotonic(), count_ends(self._stage.folder)
        while time.monotonic() - began < seconds:
            self._feed()
            time.sleep(0.01)
        return Window(count_ends(self._stage.folder) - ended, time.monotonic() - began)

    def _feed(self) -> None:
        while self._fed - count_ends(self._stage.folder) < 2 * self._plan.count:
            fill = Fill(self._plan.count, first=self._fed)
            self._adapter.fill(self._connection, fill)
            self._adapter.wake(self._connection)
            self._fed += self._plan.count
