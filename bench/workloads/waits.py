"""How late those who wait hear: of a result, of a message, of an event; everybody at default settings.

A process beside the worker awaits the results of workflows, and events that they set, from the moment of
their enqueue on, before they end; it sends messages to a workflow that waits for each. Late is from the
workflow's last line, from just before `send`, from just before `set_event`.
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

TITLE = "How late a result, a message, an event is heard of, default settings, ms"
LAST_SECONDS = 5.0
FUNCTION_SECONDS = 0.1
CASES = {
    "result": "end of a workflow to get_result in another process",
    "message": "send in another process to recv",
    "event": "set_event to get_event in another process",
}
LINES = [
    Line(name="W", what=f"{what}, {name}, ms", workload="waits", case=case,
         value=number(name), bound=bound)
    for case, what in CASES.items()
    for name, bound in (("p50", 10), ("p99", 50))
]  # fmt: skip


def plans(size: Size) -> Iterator[Plan]:
    """Return both at their defaults; dbos, which polls, is asked less often."""
    for case in CASES:
        for system, count in (("towpath", 100), ("dbos", 40)):
            yield Plan(
                workload="waits",
                system=system,
                variant="default",
                case=case,
                count=size.of(count, count // 4),
                options={"shortest": 0.05, "longest": 0.25},
                settings={"waits_for": case, "sleep": FUNCTION_SECONDS},
            )


def measure(plan: Plan, stage: Stage) -> Numbers:
    """Return how late it was, in milliseconds."""
    stage.reset(plan)
    with stage.workers(plan) as workers:
        workers.wait_ready()
        answer = call(plan.system, "wait", kind=plan.case, count=plan.count, **plan.options)
        sent = [Sent(*item) for item in answer]
        deadline = time.monotonic() + LAST_SECONDS
        while len(_read_moments(stage)) < plan.count and time.monotonic() < deadline:
            time.sleep(0.05)
    moments = _read_moments(stage)
    heard = [item for item in sent if item.number in moments]
    if plan.case == "message":
        late = [moments[item.number] - item.before for item in heard]
    else:
        late = [item.after - moments[item.number] for item in heard]
    late_ms = [seconds * 1e3 for seconds in late]
    return {
        "p50": percentile(late_ms, 0.5),
        "p95": percentile(late_ms, 0.95),
        "p99": percentile(late_ms, 0.99),
        "lost": plan.count - len(heard),
    }


def _read_moments(stage: Stage) -> dict[int, float]:
    """Return the worker's own moment of each number."""
    return {item.number: item.start for item in read_calls(stage.folder)}
