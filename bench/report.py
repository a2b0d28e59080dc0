"""Measurements to Markdown: the goals with what was reached, then each workload's numbers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from bench.adapter import SYSTEMS, load
from bench.catalogue import LINES, WORKLOADS
from bench.goals import Line, Record
from bench.yardstick import STALL

NAMING = ("workload", "system", "case", "variant", "count", "error")
CIRCUMSTANCES = ("commit_yards", "batch_yards", "strangers_cores")


def format_report(records: Sequence[Record]) -> str:
    """Return the tables of a run as Markdown."""
    done = [record for record in records if "error" not in record]
    good = _without_stalls(done)
    lines = ["## Goals", "", *_goal_table(done, good), "", *_notes(records, good)]
    lines += ["", "## Numbers", "", "Medians of the runs; a rate is in jobs a second."]
    for name, workload in WORKLOADS.items():
        lines += _number_table(workload.TITLE, [r for r in good if r["workload"] == name])
    return "\n".join(lines)


def _without_stalls(records: Sequence[Record]) -> list[Record]:
    """Return what was measured while the disk did not stall; where that is nothing, all of it."""
    steady = [record for record in records if record["commit_yards"] >= STALL]
    have = {_key(record) for record in steady}
    return [r for r in records if r["commit_yards"] >= STALL or _key(r) not in have]


def _key(record: Record) -> tuple[str, str, str]:
    return record["workload"], record["system"], record["case"]


def _goal_table(done: Sequence[Record], good: Sequence[Record]) -> list[str]:
    systems = [name for name in SYSTEMS if any(r["system"] == name for r in done)]
    measured = {r["workload"] for r in done}
    rows = []
    for line in LINES:
        if line.workload in measured:
            # What must never be exceeded was exceeded, however slow the disk.
            records = done if line.worst else good
            shown = [show(line.of(records, system)) for system in systems]
            rows.append([line.name, line.what, *shown, line.goal, _verdict(line, records)])
    return table(["P", "workload", *systems, "goal", "met?"], rows)


def _verdict(line: Line, records: Sequence[Record]) -> str:
    ratio = line.ratio(records, "towpath")
    if ratio is None:
        return "-"
    word = "yes" if line.reached(ratio) else "**no**"
    return f"{word}, {show(ratio)}x" if line.of_raw else word


def _notes(records: Sequence[Record], good: Sequence[Record]) -> list[str]:
    """Return what the tables do not say: failures, what a system cannot do, and the yardsticks."""
    lines = []
    measured = {r["workload"] for r in records}
    for system in dict.fromkeys(r["system"] for r in records):
        reasons: dict[str, list[str]] = {}
        for what, reason in load(system).cannot.items():
            if what.split()[0] not in measured:
                continue
            reasons.setdefault(reason, []).append(_number_of(what))
        said = "; ".join(f"{', '.join(what)}: {reason}" for reason, what in reasons.items())
        lines += [f"- {system} has no value (-) in {said}."] if said else []
    for record in records:
        name = " ".join(filter(None, (record["system"], record["workload"], record["case"])))
        if "error" in record:
            lines.append(f"- Failed: {name}: {' '.join(record['error'].split())[-300:]}")
        elif record["commit_yards"] < STALL:
            kept = "the only value" if record in good else "left out"
            lines.append(f"- The disk stalled ({record['commit_yards']} commits/s), {kept}: {name}")
    if good:
        noise = [r["strangers_cores"] for r in good]
        lines.append(
            f"- Yardsticks, median (range): commit {_spread(good, 'commit_yards')}/s, "
            f"batch {_spread(good, 'batch_yards')}/s. Cores used by other programs meanwhile: "
            f"median {median(noise):.2f}, at most {max(noise):.2f}."
        )
    return lines


def _number_of(what: str) -> str:
    """Return how the table calls what a system cannot do: P6, or P6 (another version)."""
    workload, _, case = what.partition(" ")
    number = WORKLOADS[workload].LINES[0].name
    return f"{number} ({case})" if case else number


def _number_table(title: str, records: Sequence[Record]) -> list[str]:
    if not records:
        return []
    found = dict.fromkeys(name for record in records for name in record)
    names = [name for name in found if name not in (*NAMING, *CIRCUMSTANCES)] + [*CIRCUMSTANCES]
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        key = (record["system"], record["case"], record["variant"])
        groups.setdefault(key, []).append(record)
    rows = [
        [*key, *(_median(group, name) for name in names), str(len(group))]
        for key, group in groups.items()
    ]
    heads = ["system", "case", "settings", *(name.replace("_", " ") for name in names), "runs"]
    return ["", f"### {title}", "", *table(heads, rows)]


def _median(records: Iterable[Record], name: str) -> str:
    values = [record[name] for record in records if record.get(name) is not None]
    return show(median(values) if values else None)


def show(value: float | None) -> str:
    """Return a number with what of it means something; '-' where there is none."""
    if value is None:
        return "-"
    if value == round(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose columns are aligned."""
    widths = [max(3, *map(len, column)) for column in zip(heads, *rows, strict=True)]
    ruler = ["-" * width for width in widths]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (heads, ruler, *rows)
    ]


def _spread(records: Sequence[Record], name: str) -> str:
    values = [r[name] for r in records]
    return f"{median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


if __name__ == "__main__":
    print(format_report([json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]))
