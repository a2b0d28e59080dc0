"""P5: from just before the enqueue call to the first line of the function, at default settings.

Jobs are sent at random gaps, whether or not earlier ones have begun.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from bench.adapter import Sent
from bench.measurement import Measurement, Plan, Stage
from bench.processes import call
from bench.records import read_calls

LAST_SECONDS = 8.0


def plans() -> Iterator[Plan]:
    """Return each system at its default settings."""
    often = {"shortest": 0.01, "longest": 0.05}
    seldom = {"shortest": 0.05, "longest": 0.25}  # dbos polls once a second
    yield Plan(
        workload="latency", system="raw", variant="listen", count=200, pace=often,
        settings={"batch": 1},
    )  # fmt: skip
    yield Plan(workload="latency", system="dbos", variant="default", count=60, pace=seldom)
    yield Plan(workload="latency", system="procrastinate", variant="default", count=200, pace=often)
    yield Plan(workload="latency", system="towpath", variant="default", count=200, pace=often)


def measure(plan: Plan, stage: Stage) -> Measurement:
    """Send jobs to an idle worker and return how late they began, in milliseconds."""
    stage.reset(plan.system)
    with stage.workers(plan):
        sent = [Sent(*item) for item in call(plan.system, "send", count=plan.count, **plan.pace)]
        deadline = time.monotonic() + LAST_SECONDS
        while len(_read_begun(stage)) < plan.count and time.monotonic() < deadline:
            time.sleep(0.05)
    begun = _read_begun(stage)
    late = [(begun[item.number] - item.before) * 1e3 for item in sent if item.number in begun]
    calls = [(item.after - item.before) * 1e3 for item in sent]
    return Measurement(
        plan=plan,
        numbers={
            "p50": percentile(late, 0.5),
            "p95": percentile(late, 0.95),
            "p99": percentile(late, 0.99),
            "call_p50": percentile(calls, 0.5),
            "lost": len(sent) - len(late),
        },
    )


def _read_begun(stage: Stage) -> dict[int, float]:
    """Return when each job's function began, without those that only warmed the client up."""
    return {item.number: item.start for item in read_calls(stage.folder) if item.number >= 0}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
