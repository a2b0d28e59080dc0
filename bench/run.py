"""Measures Towpath beside its peers in one run, and prints what was reached; see README.md."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from bench import machine
from bench.adapter import SYSTEMS, home, load
from bench.catalogue import NUMBERS, WORKLOADS, find
from bench.goals import Record
from bench.measurement import Plan, Size
from bench.one import measure_apart
from bench.report import format_report
from bench.server import run_postgres, run_systems

HOLD_SECONDS = 180.0
QUICK_HOLD_SECONDS = 10.0
HEADER = """\
# Towpath's performance beside its peers

Each value is measured in one run, on one server, right between two yardsticks of the same process:
*batch*, raw rows claimed and completed 100 at a time, and *commit*, single inserts with a commit
each. `raw` is hand-written SQL on one narrow table: what the machine allows. Peers are at their best
settings where they drain and at their defaults where that is said; Towpath is at its defaults. How
each number is made: [bench/README.md](../bench/README.md).

- {date}, {machine}; server, workers and client share it
- PostgreSQL {postgres}, fsync and synchronous_commit on, loopback
- {versions}
- `{command}`
"""
QUICK = "- a quick run, to see that everything works: what is called 1M is 50,000\n"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench/bench.sh", description=__doc__)
    parser.add_argument("--runs", type=int, default=1, help="repeats; the report has medians")
    parser.add_argument("--only", default=",".join(NUMBERS), help="P3,P7 or workloads, by comma")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="systems, by comma")
    parser.add_argument("--quick", action="store_true", help="small sizes: does everything work?")
    parser.add_argument("--hold-seconds", type=float, help="how long P13 holds its snapshot (180)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the report there too")
    parser.add_argument(
        "--quiet-seconds",
        type=float,
        help="how long to wait for other programs to rest before a measurement (30; 0: not at all)",
    )
    arguments = parser.parse_args()
    _fill_in(arguments)
    try:
        arguments.only = [find(choice) for choice in arguments.only.split(",")]
    except KeyError as error:
        parser.error(f"--only: {error} is none of {', '.join([*NUMBERS, *WORKLOADS])}")
    arguments.systems = arguments.systems.split(",")
    unknown = [choice for choice in arguments.systems if choice not in SYSTEMS]
    if unknown:
        parser.error(f"--systems: {unknown[0]!r} is not one of {', '.join(SYSTEMS)}")
    return arguments


def _fill_in(arguments: argparse.Namespace) -> None:
    """Set the defaults that differ in a quick run."""
    if arguments.hold_seconds is None:
        arguments.hold_seconds = QUICK_HOLD_SECONDS if arguments.quick else HOLD_SECONDS
    if arguments.quiet_seconds is None:
        arguments.quiet_seconds = 0.0 if arguments.quick else 30.0


@contextmanager
def alone() -> Iterator[None]:
    """Refuse to run beside another benchmark, which would spoil both."""
    with (home() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("another benchmark runs; wait for it to end")
        yield


def choose_plans(only: list[str], systems: list[str], size: Size) -> Iterator[Plan]:
    """Return what is to be measured, in order."""
    for workload in only:
        for plan in WORKLOADS[workload].plans(size):
            cannot = load(plan.system).cannot
            named = f"{workload} {plan.case}".strip()
            if plan.system in systems and workload not in cannot and named not in cannot:
                yield plan


def measure_all(arguments: argparse.Namespace, systems: list[str], server_pid: int) -> list[Record]:
    """Measure every plan, and keep each record as soon as there is one."""
    folder = home() / "run"
    folder.mkdir(exist_ok=True)
    size = Size(arguments.quick, arguments.hold_seconds)
    plans = list(choose_plans(arguments.only, systems, size)) * arguments.runs
    results = home() / "results" / f"{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
    results.parent.mkdir(exist_ok=True)
    print(f"The records: {results}", file=sys.stderr)
    records = []
    for number, plan in enumerate(plans, 1):
        record = measure_apart(
            plan,
            folder,
            root_pid=os.getpid(),
            server_pid=server_pid,
            quiet_seconds=arguments.quiet_seconds,
        )
        print(f"{number}/{len(plans)} {json.dumps(record)}", file=sys.stderr, flush=True)
        with results.open("a") as file:
            file.write(json.dumps(record) + "\n")
        records.append(record)
    return records


def make_header(version: str, systems: list[str], *, quick: bool) -> str:
    """Return what a report says of itself."""
    peers = [system for system in systems if system not in ("raw", "towpath")]
    versions = [f"{name} {metadata.version(name)}" for name in ("towpath", *peers, "psycopg")]
    header = HEADER.format(
        date=datetime.now(UTC).date(),
        machine=machine.describe(),
        postgres=version,
        versions=", ".join(versions),
        command=shlex.join(["bench/bench.sh", *sys.argv[1:]]),
    )
    return header + QUICK if quick else header


def main() -> None:
    """Measure everything that was asked for, and report."""
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    home().mkdir(parents=True, exist_ok=True)
    # The yardsticks lie in raw's database, so that one is always there.
    wanted = list(dict.fromkeys(["raw", *arguments.systems]))
    with alone(), run_postgres() as server, run_systems(wanted) as found:
        systems = [system for system in found if system in arguments.systems]
        records = measure_all(arguments, systems, server.pid)
        header = make_header(server.version, systems, quick=arguments.quick)
        report = f"{header}\n{format_report(records)}\n"
    print(report)
    if arguments.write:
        arguments.write.write_text(report)
    if any("error" in record for record in records):
        sys.exit(1)


if __name__ == "__main__":
    main()
