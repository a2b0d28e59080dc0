"""What the harness needs of a system to measure it; one module of `adapters` for each system."""

from __future__ import annotations

import importlib
import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import psycopg

from bench.records import Recorder

SYSTEMS = ("raw", "dbos", "procrastinate", "towpath")
"""Every system that can be measured, in the order in which it is."""

Connection = psycopg.Connection[tuple[Any, ...]]
Settings = Mapping[str, Any]


class Sent(NamedTuple):
    """One enqueue call, by the monotonic clock."""

    number: int
    before: float
    after: float


class Job(NamedTuple):
    """What a worker process is given: where to record, and how to say that it is ready."""

    recorder: Recorder
    ready: Callable[[], None]
    settings: Settings


class Adapter(Protocol):
    """One system, with a database of its own.

    `setup`, `reset`, `fill` and `wake` run in the harness; `enqueue`, `send` and `work` each in a
    process of their own, in which the system is imported.
    """

    database: str
    unfinished: str
    """A query for the number of jobs that have not ended."""

    def setup(self) -> None:
        """Make the system's tables."""
        ...

    def reset(self, connection: Connection) -> None:
        """Empty the system's tables."""
        ...

    def fill(self, connection: Connection, count: int) -> None:
        """Add no-op jobs by SQL, in one transaction, as the system itself would have written them."""
        ...

    def wake(self, connection: Connection) -> None:
        """Tell the system's workers what its own enqueue would have told them."""
        ...

    def enqueue(self, count: int) -> float:
        """Enqueue jobs one at a time and return the seconds that it took."""
        ...

    def send(self, pace: Pace) -> list[Sent]:
        """Enqueue jobs one at a time at random gaps."""
        ...

    def work(self, job: Job) -> None:
        """Run a worker until the process is killed."""
        ...


class Pace:
    """An open loop: calls at random gaps, the same gaps in every run."""

    def __init__(self, count: int, shortest: float, longest: float) -> None:
        self._count = count
        self._shortest, self._longest = shortest, longest
        self._random = random.Random(7)  # noqa: S311 - repeatable on purpose

    def _gap(self) -> float:
        return self._random.uniform(self._shortest, self._longest)

    def run(self, send: Callable[[int], object]) -> list[Sent]:
        """Call `send` with 0, 1, 2, ..."""
        sent = []
        for number in range(self._count):
            time.sleep(self._gap())
            before = time.monotonic()
            send(number)
            sent.append(Sent(number, before, time.monotonic()))
        return sent

    async def run_async(self, send: Callable[[int], Awaitable[object]]) -> list[Sent]:
        """Await `send` with 0, 1, 2, ..."""
        import asyncio  # noqa: PLC0415 - not every system needs it

        sent = []
        for number in range(self._count):
            await asyncio.sleep(self._gap())
            before = time.monotonic()
            await send(number)
            sent.append(Sent(number, before, time.monotonic()))
        return sent


def load(system: str) -> Adapter:
    """Return a system's adapter."""
    adapter: Adapter = importlib.import_module(f"bench.adapters.{system}_").ADAPTER
    return adapter


def home() -> Path:
    """Return the folder in which everything of the benchmark lies; bench.sh chooses it."""
    return Path(os.environ["TOWPATH_BENCH_HOME"])


def database_url(name: str) -> str:
    """Return the URL of one database of the benchmark's server."""
    return urlsplit(os.environ["BENCH_DATABASE_URL"])._replace(path=f"/{name}").geturl()


def connect(name: str) -> Connection:
    """Connect to one database of the benchmark's server, each statement a transaction."""
    return psycopg.connect(database_url(name), autocommit=True, prepare_threshold=1)
