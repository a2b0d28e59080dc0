"""Measures Towpath beside its peers in one run, and prints what was reached; see README.md."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from bench.adapter import SYSTEMS, connect, home, load
from bench.measurement import Plan, Stage
from bench.processes import call
from bench.report import Record, format_report
from bench.workloads import drain, enqueue, latency
from bench.yardstick import Yardstick
from towpath.local import postgres

WORKLOADS = {"enqueue": enqueue, "drain": drain, "latency": latency}

# What is durable stays durable; otherwise Postgres's defaults, with room for the peers' connections.
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "1GB",
    "max_connections": "300",
}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench.sh", description=__doc__)
    parser.add_argument("--runs", type=int, default=1, help="repeats; the report has medians")
    parser.add_argument("--only", default=",".join(WORKLOADS), help="workloads, by comma")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="systems, by comma")
    parser.add_argument(
        "--quiet-seconds",
        type=float,
        default=30,
        help="how long to wait for other programs to rest before a measurement (0: not at all)",
    )
    arguments = parser.parse_args()
    for name, known in (("only", WORKLOADS), ("systems", SYSTEMS)):
        chosen = getattr(arguments, name).split(",")
        unknown = [choice for choice in chosen if choice not in known]
        if unknown:
            parser.error(f"--{name}: {unknown[0]!r} is not one of {', '.join(known)}")
        setattr(arguments, name, chosen)
    return arguments


@contextmanager
def alone() -> Iterator[None]:
    """Refuse to run beside another benchmark, which would spoil both."""
    with (home() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("another benchmark runs; wait for it to end")
        yield


@contextmanager
def server() -> Iterator[postgres.Server]:
    """Run a Postgres of the benchmark's own on a free port, durable."""
    started = postgres.start(home() / "postgres", settings=SETTINGS)
    os.environ["BENCH_DATABASE_URL"] = started.url
    try:
        yield started
    finally:
        started.stop()


def make_databases(systems: list[str]) -> None:
    """Give each system an empty database with its schema in it."""
    names = [load(system).database for system in systems]
    with connect("postgres") as connection:
        for name in names:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
    for system in systems:
        call(system, "setup")


def choose_plans(only: list[str], systems: list[str]) -> Iterator[Plan]:
    """Return what is to be measured, in order."""
    for workload in only:
        for plan in WORKLOADS[workload].plans():
            if plan.system in systems:
                yield plan


def main() -> None:
    """Measure everything that was asked for, and report."""
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    home().mkdir(parents=True, exist_ok=True)
    with alone(), server() as started:
        print(f"Postgres {started.version}, fsync on", file=sys.stderr)
        # The yardsticks lie in raw's database, so that one is always there.
        make_databases(list(dict.fromkeys(["raw", *arguments.systems])))
        folder = home() / "run"
        folder.mkdir(exist_ok=True)
        stage = Stage(folder, started.pid, Yardstick(load("raw").database))
        plans = list(choose_plans(arguments.only, arguments.systems)) * arguments.runs
        results = home() / "results" / f"{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
        results.parent.mkdir(exist_ok=True)
        records = []
        for number, plan in enumerate(plans, 1):
            record = measure(plan, stage, arguments.quiet_seconds)
            print(f"{number}/{len(plans)} {json.dumps(record)}", file=sys.stderr, flush=True)
            with results.open("a") as file:
                file.write(json.dumps(record) + "\n")
            records.append(record)
    print(format_report(records))
    print(f"\nThe records: {results}", file=sys.stderr)
    if any("error" in record for record in records):
        sys.exit(1)


def measure(plan: Plan, stage: Stage, quiet_seconds: float) -> Record:
    """Run one plan; one system that fails does not take the others' numbers with it."""
    with connect("postgres") as connection:
        connection.execute("CHECKPOINT")
    try:
        found = stage.run(plan, WORKLOADS[plan.workload].measure, quiet_seconds=quiet_seconds)
    except Exception as error:  # noqa: BLE001 - whatever a system does
        traceback.print_exc()
        named = {"workload": plan.workload, "system": plan.system, "variant": plan.variant}
        return {**named, "error": str(error)[-1500:]}
    return found.record()


if __name__ == "__main__":
    main()
