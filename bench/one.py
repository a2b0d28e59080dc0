"""The process of one measurement: `python -m bench.one JSON`, yardsticks and all."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bench.adapter import load
from bench.catalogue import WORKLOADS
from bench.child import RESULT
from bench.ending import end_with_starter
from bench.measurement import Plan, Stage
from bench.processes import FailedError, run_module
from bench.yardstick import Yardstick


def measure_apart(
    plan: Plan, folder: Path, *, root_pid: int, server_pid: int, quiet_seconds: float
) -> dict[str, Any]:
    """Measure in a process of its own, within the plan's time, and return the record.

    A system that fails does not take the others' numbers with it: the record has the `error`.
    """
    given = {
        "plan": plan.to_json(),
        "folder": str(folder),
        "root_pid": root_pid,
        "server_pid": server_pid,
        "quiet_seconds": quiet_seconds,
    }
    # It may be measured twice, and wait as often for a quiet machine.
    seconds = 2 * quiet_seconds + (2 if plan.repeat else 1) * plan.limit_seconds
    try:
        record: dict[str, Any] = run_module(
            ["bench.one", json.dumps(given)], plan.workload, seconds, show=True
        )
    except FailedError as error:
        return {**plan.record(), "error": str(error)}
    return record


def main() -> None:
    """Measure the plan that the command line gives."""
    end_with_starter()
    given = json.loads(sys.argv[1])
    plan = Plan(**given["plan"])
    stage = Stage(
        Path(given["folder"]),
        given["root_pid"],
        given["server_pid"],
        Yardstick(load("raw").database),
    )
    measure = WORKLOADS[plan.workload].measure
    try:
        record = stage.run(plan, measure, quiet_seconds=given["quiet_seconds"]).record()
    except Exception as error:  # noqa: BLE001 - whatever a system does
        record = {**plan.record(), "error": f"{type(error).__name__}: {error}"[-600:]}
    print(RESULT + json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
