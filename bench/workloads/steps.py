"""P10: one worker process works off workflows of five steps, each step durable before the next begins.

Of the systems that know both, sync and async workflows are measured. raw has a commit for each step
beside the sync ones, and one for the next steps of a hundred workflows beside the async ones.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.goals import Line, yards
from bench.measurement import Numbers, Plan, Size, Stage
from bench.peers import BEST
from bench.workloads.drain import drain

TITLE = "P10 workflows of five steps, 100 at once, one worker process"
STEPS = 5
COUNTS = {"raw sync": 1_000, "raw async": 20_000, "towpath": 6_000, "dbos": 400}
LINES = [
    Line(name="P10", what=f"workflows of {STEPS} steps, {case} / commit yards", workload="steps",
         value=yards("commit"), case=case, bound=0.5, at_least=True)
    for case in ("sync", "async")
]  # fmt: skip


def plans(size: Size) -> Iterator[Plan]:
    """Return raw both ways, Towpath at its defaults (100 slots), dbos at its best settings."""
    for case in ("sync", "async"):
        kind = {"steps": STEPS, "async": case == "async"}
        waves = {**kind, "waves": case == "async"}
        raw = f"a commit a {'wave' if case == 'async' else 'step'}"
        for system, variant, settings in (
            ("raw", raw, waves),
            ("towpath", BEST["towpath"].variant, {**BEST["towpath"].settings, **kind}),
            ("dbos", BEST["dbos"].variant, {**BEST["dbos"].settings, **kind}),
        ):
            count = COUNTS.get(f"{system} {case}", COUNTS.get(system, 0))
            yield Plan(
                workload="steps",
                system=system,
                variant=variant,
                case=case,
                count=size.of(count, count // 4),
                settings=settings,
            )


def measure(plan: Plan, stage: Stage) -> Numbers:
    """Fill the queue and return the rate at which one worker empties it."""
    return drain(plan, stage, processes=1)
