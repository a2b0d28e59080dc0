"""One measurement: what is planned, on which stage it runs, and what it gave."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from bench import machine, records
from bench.adapter import Settings, connect, load
from bench.processes import Workers, call
from bench.yardstick import STALL, Yards, Yardstick

NOISE_CORES = 0.3
"""What strangers may use during a measurement; above it the measurement is repeated once."""

Numbers = Mapping[str, float | None]


class Size(NamedTuple):
    """How large a run is: a quick one only shows that everything works."""

    quick: bool
    hold_seconds: float

    def of(self, full: int, quick: int) -> int:
        """Return the one that is meant."""
        return quick if self.quick else full


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One system under one workload; `case` tells apart what one workload measures of a system."""

    workload: str
    system: str
    variant: str
    count: int
    case: str = ""
    settings: Settings = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    limit_seconds: float = 150.0
    repeat: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON, for the process that measures it."""
        return asdict(self)

    def record(self) -> dict[str, Any]:
        """Return what names it in the file of results."""
        return {
            "workload": self.workload,
            "system": self.system,
            "case": self.case,
            "variant": self.variant,
            "count": self.count,
        }


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a plan gave, with the yardsticks and the noise around it."""

    plan: Plan
    numbers: Numbers
    yards: Yards
    noise: float

    @property
    def stalled(self) -> bool:
        """Whether the disk had stalled."""
        return self.yards.commit < STALL

    def record(self) -> dict[str, Any]:
        """Return it as one flat record for the file of results."""
        numbers = {k: v if v is None else round(v, 5) for k, v in self.numbers.items()}
        return {
            **self.plan.record(),
            **numbers,
            "commit_yards": round(self.yards.commit),
            "batch_yards": round(self.yards.batch),
            "strangers_cores": round(self.noise, 2),
        }


Measure = Callable[[Plan, "Stage"], Numbers]


class Stage:
    """The server, the folder of records and the yardstick that a measurement uses."""

    def __init__(self, folder: Path, root_pid: int, server_pid: int, yardstick: Yardstick) -> None:
        self.folder = folder
        self._root = psutil.Process(root_pid)
        self._server = psutil.Process(server_pid)
        self._yardstick = yardstick

    def reset(self, plan: Plan) -> None:
        """Empty the system's tables, declare its queue and forget the recorded calls."""
        adapter = load(plan.system)
        if adapter.database:
            with connect(adapter.database) as connection:
                adapter.reset(connection)
        else:
            call(plan.system, "setup")
        if plan.settings.get("queue"):
            call(plan.system, "declare", settings=plan.settings)
        records.clear(self.folder)

    def workers(self, plan: Plan, count: int = 1) -> Workers:
        """Start a system's worker processes."""
        return Workers(plan.system, count, plan.settings, self.folder)

    def server_seconds(self) -> float:
        """Return the CPU seconds that Postgres has used."""
        return machine.cpu_seconds([self._server])

    def run(self, plan: Plan, measure: Measure, *, quiet_seconds: float) -> Measurement:
        """Measure between two yardsticks; once more if it was disturbed, and keep the better one."""
        found = self._run_once(plan, measure, quiet_seconds)
        noisy = quiet_seconds > 0 and found.noise >= NOISE_CORES
        if not plan.repeat or not (noisy or found.stalled):
            return found
        again = self._run_once(plan, measure, quiet_seconds)
        return min(found, again, key=lambda measurement: (measurement.stalled, measurement.noise))

    def _run_once(self, plan: Plan, measure: Measure, quiet_seconds: float) -> Measurement:
        with connect("postgres") as connection:
            connection.execute("CHECKPOINT")
        machine.wait_quiet(self._root, quiet_seconds)
        before = self._yardstick.measure()
        strangers, began = machine.stranger_seconds(self._root), time.monotonic()
        numbers = measure(plan, self)
        noise = machine.stranger_seconds(self._root) - strangers
        noise /= time.monotonic() - began
        after = self._yardstick.measure()
        yards = Yards(
            commit=(before.commit + after.commit) / 2, batch=(before.batch + after.batch) / 2
        )
        return Measurement(plan=plan, numbers=numbers, yards=yards, noise=noise)
