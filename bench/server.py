"""The servers of a run: Postgres, durable and on a free port of loopback, and the systems in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.adapter import connect, home, load
from bench.counting import stop_counting
from bench.processes import FailedError, call
from bench.redis_server import redis_server
from towpath.local import postgres
from towpath.local.errors import PostgresStartError

# What is durable stays durable; otherwise Postgres's defaults, with room for the peers' connections.
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "1GB",
    "max_connections": "300",
}
COUNTING = {"shared_preload_libraries": "pg_stat_statements"}
"""It counts nothing until it is told to (bench.counting)."""
OURS = ("raw", "towpath")


@contextmanager
def run_postgres() -> Iterator[postgres.Server]:
    """Run a Postgres of the benchmark's own, with a count of its statements where it has that."""
    try:
        started = postgres.start(home() / "postgres", settings={**SETTINGS, **COUNTING})
    except PostgresStartError:
        started = postgres.start(home() / "postgres", settings=SETTINGS)
    os.environ["BENCH_DATABASE_URL"] = started.url
    try:
        stop_counting()
        yield started
    finally:
        started.stop()


@contextmanager
def run_systems(wanted: list[str]) -> Iterator[list[str]]:
    """Make each system's empty database; yield those that can be had, and say which cannot."""
    with ExitStack() as stack:
        found = []
        for system in wanted:
            try:
                if not load(system).database:
                    stack.enter_context(redis_server(home() / "redis"))
                _make(system)
            except FailedError as error:
                if system in OURS:
                    raise
                print(f"{system} is left out: {error}", file=sys.stderr, flush=True)
            else:
                found.append(system)
        yield found
        for system in found:
            _drop(load(system).database)  # gigabytes


def _make(system: str) -> None:
    name = load(system).database
    if name:
        _drop(name)
        with connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
    call(system, "setup")


def _drop(name: str) -> None:
    if name:
        with connect("postgres") as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
