"""Measurements to tables: each workload's, then the goals with what was reached."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

Record = dict[str, Any]

STALL = 500
"""Single commits a second below which the disk had stalled; such a measurement is left out."""


class Goal(NamedTuple):
    """A line of the goals: what is compared, and what it must be."""

    name: str
    what: str
    workload: str
    ratio: Callable[[Sequence[Record]], float | None]
    bound: float
    at_least: bool

    def reached(self, value: float) -> bool:
        """Tell whether a ratio is good enough."""
        return value >= self.bound if self.at_least else value <= self.bound


def to_yards(yards: str) -> Callable[[Sequence[Record]], float | None]:
    """Return the ratio of a rate to a yardstick of the very same measurement."""

    def ratio(records: Sequence[Record]) -> float | None:
        return _median(record["rate"] / record[yards] for record in records)

    return ratio


def to_raw(number: str, everything: Sequence[Record]) -> Callable[[Sequence[Record]], float | None]:
    """Return the ratio of a latency to that of raw in the same run."""
    raw = _median(r[number] for r in _select(everything, "latency", "raw"))

    def ratio(records: Sequence[Record]) -> float | None:
        ours = _median(record[number] for record in records)
        return ours / raw if ours is not None and raw else None

    return ratio


def make_goals(records: Sequence[Record]) -> list[Goal]:
    """Return the goals that these workloads have."""
    return [
        Goal("P1", "enqueue one at a time / commit yards", "enqueue", to_yards("commit_yards"), 0.85, at_least=True),
        Goal("P3", "drain of no-op workflows / batch yards", "drain", to_yards("batch_yards"), 0.35, at_least=True),
        Goal("P5", "latency p50 / raw p50", "latency", to_raw("p50", records), 1.5, at_least=False),
        Goal("P5", "latency p99 / raw p99", "latency", to_raw("p99", records), 2.0, at_least=False),
    ]  # fmt: skip


def format_report(records: Sequence[Record]) -> str:
    """Return the tables as Markdown."""
    good = [r for r in records if "error" not in r and r["commit_yards"] >= STALL]
    lines = []
    for workload, (title, columns) in TABLES.items():
        lines += _table(title, columns, [r for r in good if r["workload"] == workload])
    lines += _goal_table(good)
    lines += [
        f"\nFailed: {r['system']} {r['workload']}: {r['error']}" for r in records if "error" in r
    ]
    stalled = [r for r in records if "error" not in r and r not in good]
    lines += [f"\nLeft out, the disk stalled: {r['system']} {r['workload']}" for r in stalled]
    if good:
        noise = [r["strangers_cores"] for r in good]
        lines.append(
            f"\nYardsticks, median (range): commit {_spread(good, 'commit_yards')}/s, "
            f"batch {_spread(good, 'batch_yards')}/s. Cores used by other programs meanwhile: "
            f"median {median(noise):.2f}, at most {max(noise):.2f}."
        )
    return "\n".join(lines)


Column = tuple[str, Callable[[Sequence[Record]], str]]


def _number(name: str, digits: int = 0) -> Callable[[Sequence[Record]], str]:
    return lambda records: f"{median(r[name] for r in records):,.{digits}f}"


def _ratio(yards: str) -> Callable[[Sequence[Record]], str]:
    return lambda records: f"{median(r['rate'] / r[yards] for r in records):.3f}"


TABLES: dict[str, tuple[str, list[Column]]] = {
    "enqueue": (
        "P1 enqueue, one process, one at a time",
        [
            ("jobs/s", _number("rate")),
            ("min-max", lambda records: _range(records, "rate")),
            ("/ commit yards", _ratio("commit_yards")),
        ],
    ),
    "drain": (
        "P3 drain of no-op jobs, one worker process",
        [
            ("jobs/s", _number("rate")),
            ("min-max", lambda records: _range(records, "rate")),
            ("/ batch yards", _ratio("batch_yards")),
            ("worker cores", _number("worker_cores", 2)),
            ("server cores", _number("server_cores", 2)),
            ("worker MB", _number("worker_mb")),
        ],
    ),
    "latency": (
        "P5 enqueue call to first line of the function, default settings, ms",
        [
            ("p50", _number("p50", 1)),
            ("p95", _number("p95", 1)),
            ("p99", _number("p99", 1)),
            ("enqueue call p50", _number("call_p50", 1)),
            ("lost", _number("lost")),
        ],
    ),
}


def _table(title: str, columns: Sequence[Column], records: Sequence[Record]) -> list[str]:
    if not records:
        return []
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record["system"], record["variant"]), []).append(record)
    heads = ["system", "settings", *(name for name, _ in columns), "runs"]
    rows = [
        [system, variant, *(show(group) for _, show in columns), str(len(group))]
        for (system, variant), group in groups.items()
    ]
    return ["", f"### {title}", "", *_lines(heads, rows)]


def _goal_table(records: Sequence[Record]) -> list[str]:
    systems = list(dict.fromkeys(r["system"] for r in records))
    rows = []
    for goal in make_goals(records):
        ratios = {s: goal.ratio(_select(records, goal.workload, s)) for s in systems}
        if not any(ratios.values()):
            continue
        ours = ratios.get("towpath")
        verdict = "-" if ours is None else "reached" if goal.reached(ours) else "MISSED"
        sign = ">=" if goal.at_least else "<="
        shown = ["-" if ratios[s] is None else f"{ratios[s]:.3g}" for s in systems]
        rows.append([goal.name, goal.what, *shown, f"{sign} {goal.bound:g}", verdict])
    return ["", "### Goals", "", *_lines(["", "ratio", *systems, "goal", "towpath"], rows)]


def _lines(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(3, *map(len, column)) for column in zip(heads, *rows, strict=True)]
    ruler = ["-" * width for width in widths]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (heads, ruler, *rows)
    ]


def _select(records: Iterable[Record], workload: str, system: str) -> list[Record]:
    return [r for r in records if (r["workload"], r["system"]) == (workload, system)]


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return median(found) if found else None


def _range(records: Sequence[Record], name: str) -> str:
    values = [r[name] for r in records]
    return f"{min(values):,.0f}-{max(values):,.0f}"


def _spread(records: Sequence[Record], name: str) -> str:
    return f"{median(r[name] for r in records):,.0f} ({_range(records, name)})"


if __name__ == "__main__":
    print(format_report([json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]))
