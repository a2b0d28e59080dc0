"""One measurement: what is planned, on which stage it runs, and what it gave."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench import machine, records
from bench.adapter import Settings, connect, load
from bench.processes import Workers
from bench.yardstick import Yards, Yardstick

NOISE_CORES = 0.3
"""What strangers may use during a measurement; above it the measurement is repeated once."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One system under one workload."""

    workload: str
    system: str
    variant: str
    count: int
    settings: Settings = field(default_factory=dict)
    pace: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a plan gave, with the yardsticks and the noise around it."""

    plan: Plan
    numbers: Mapping[str, float]
    yards: Yards = field(default=Yards(0, 0))
    noise: float = 0.0

    def record(self) -> dict[str, Any]:
        """Return it as one flat record for the file of results."""
        return {
            "workload": self.plan.workload,
            "system": self.plan.system,
            "variant": self.plan.variant,
            "count": self.plan.count,
            **{name: round(value, 4) for name, value in self.numbers.items()},
            "commit_yards": round(self.yards.commit),
            "batch_yards": round(self.yards.batch),
            "strangers_cores": round(self.noise, 2),
        }


Measure = Callable[[Plan, "Stage"], Measurement]


class Stage:
    """The server, the folder of records and the yardstick that every measurement uses."""

    def __init__(self, folder: Path, server_pid: int, yardstick: Yardstick) -> None:
        self.folder = folder
        self._server = psutil.Process(server_pid)
        self._yardstick = yardstick

    def reset(self, system: str) -> None:
        """Empty a system's tables and forget the recorded calls."""
        adapter = load(system)
        with connect(adapter.database) as connection:
            adapter.reset(connection)
        records.clear(self.folder)

    def workers(self, plan: Plan, count: int = 1) -> Workers:
        """Start a system's worker processes."""
        return Workers(plan.system, count, plan.settings, self.folder)

    def server_seconds(self) -> float:
        """Return the CPU seconds that Postgres has used."""
        return machine.cpu_seconds([self._server])

    def run(self, plan: Plan, measure: Measure, *, quiet_seconds: float) -> Measurement:
        """Measure between two yardsticks; once more if strangers disturbed, and keep the quieter."""
        best: Measurement | None = None
        for _ in range(2):
            machine.wait_quiet(quiet_seconds)
            before = self._yardstick.measure()
            strangers, began = machine.stranger_seconds(), time.monotonic()
            found = measure(plan, self)
            noise = (machine.stranger_seconds() - strangers) / (time.monotonic() - began)
            after = self._yardstick.measure()
            yards = Yards(
                commit=(before.commit + after.commit) / 2, batch=(before.batch + after.batch) / 2
            )
            found = Measurement(plan=plan, numbers=found.numbers, yards=yards, noise=noise)
            if best is None or noise < best.noise:
                best = found
            if noise < NOISE_CORES or quiet_seconds == 0:
                break
        assert best is not None
        return best
