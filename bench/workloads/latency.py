"""P5: from just before the enqueue call to the first line of the function, at default settings.

Jobs are sent at random gaps, whether or not earlier ones have begun.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.goals import Line, number
from bench.measurement import Numbers, Plan, Size, Stage
from bench.observing import percentile
from bench.pace import Sent
from bench.processes import call
from bench.records import read_calls

TITLE = "P5 enqueue call to first line of the function, default settings, ms"
LAST_SECONDS = 8.0
OFTEN = {"shortest": 0.01, "longest": 0.05}
SELDOM = {"shortest": 0.05, "longest": 0.25}  # dbos polls once a second
LINES = [
    Line(name="P5", what=f"latency enqueue call to function, {name}, ms", workload="latency",
         value=number(name), bound=bound, of_raw=True)
    for name, bound in (("p50", 1.5), ("p99", 2))
]  # fmt: skip


def plans(size: Size) -> Iterator[Plan]:
    """Return each system at its default settings; one job at a time is raw's."""
    for system in ("raw", "towpath", "dbos", "procrastinate", "pgqueuer", "celery"):
        seldom = system == "dbos"
        yield Plan(
            workload="latency",
            system=system,
            variant="listen" if system == "raw" else "default",
            count=size.of(60 if seldom else 200, 30 if seldom else 100),
            options=SELDOM if seldom else OFTEN,
            settings={"batch": 1} if system == "raw" else {},
        )


def measure(plan: Plan, stage: Stage) -> Numbers:
    """Send jobs to an idle worker and return how late they began, in milliseconds."""
    stage.reset(plan)
    with stage.workers(plan) as workers:
        workers.wait_ready()
        answer = call(plan.system, "send", count=plan.count, **plan.options)
        sent = [Sent(*item) for item in answer]
        deadline = time.monotonic() + LAST_SECONDS
        while len(_read_begun(stage)) < plan.count and time.monotonic() < deadline:
            time.sleep(0.05)
    begun = _read_begun(stage)
    late = [(begun[item.number] - item.before) * 1e3 for item in sent if item.number in begun]
    calls = [(item.after - item.before) * 1e3 for item in sent]
    return {
        "p50": percentile(late, 0.5),
        "p95": percentile(late, 0.95),
        "p99": percentile(late, 0.99),
        "call_p50": percentile(calls, 0.5),
        "lost": len(sent) - len(late),
    }


def _read_begun(stage: Stage) -> dict[int, float]:
    """Return when each job's function began, without those that only warmed the client up."""
    return {item.number: item.start for item in read_calls(stage.folder) if item.number >= 0}
