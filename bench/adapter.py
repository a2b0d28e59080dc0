"""What the harness needs of a system to measure it; one module of `adapters` for each system."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

import psycopg

from bench.pace import Pace, Sent
from bench.records import Recorder

SYSTEMS = ("raw", "towpath", "dbos", "procrastinate", "pgqueuer", "celery")
"""Every system that can be measured, in the order in which it is."""

Connection = psycopg.Connection[tuple[Any, ...]]
Settings = Mapping[str, Any]


class Job(NamedTuple):
    """What a worker process is given.

    `launching` is called right before the system's worker is launched and `ready` when it serves.
    Of the settings, `sleep` (seconds of each function), `queues` (how many idle ones instead of `q`),
    `queue` (the library's own options of `q`), `steps` (of each workflow; `async`, or not) and
    `waits_for` (see `Adapter.wait`) mean the same to every system.
    """

    recorder: Recorder
    launching: Callable[[], None]
    ready: Callable[[], None]
    settings: Settings

    @property
    def sleep(self) -> float:
        """How many seconds each function lasts."""
        return float(self.settings.get("sleep", 0))

    @property
    def steps(self) -> int:
        """How many steps each workflow has."""
        return int(self.settings.get("steps", 0))

    @property
    def is_async(self) -> bool:
        """Whether workflows and steps are coroutines."""
        return bool(self.settings.get("async", False))

    @property
    def waits_for(self) -> str:
        """What a process beside the worker waits for, or sends; empty where none does."""
        return str(self.settings.get("waits_for", ""))

    @property
    def idle_queues(self) -> list[str]:
        """The queues of an idle worker; empty where it serves `q`."""
        return [f"idle{number}" for number in range(self.settings.get("queues", 0))]

    @property
    def queue_options(self) -> dict[str, Any]:
        """How the library declares the queue `q`."""
        return dict(self.settings.get("queue", {}))


@dataclass(frozen=True)
class Fill:
    """Rows to be written by SQL, as the system itself would have written them.

    Jobs are numbered from `first`. Where there are partitions, job n belongs to partition
    n modulo `partitions`, and is written in that order.
    """

    count: int
    first: int = 0
    partitions: int = 0
    finished: bool = False
    other_version: bool = False
    unseen: bool = False
    """As an enqueue leaves partitions behind, where no claim of the system has looked at them yet."""


class Adapter:
    """One system, with a database of its own.

    `reset`, `fill` and `wake` run in the measurement; every other command in a process of its own,
    in which the system is imported.
    """

    database: str = ""
    """Empty where the system keeps its jobs elsewhere: then `enqueue` fills it."""
    unfinished: str = ""
    """A query for the number of jobs that have not ended."""
    claims: str = ""
    """A query for the seconds, by the database's clock, at which jobs of `q` were claimed."""
    held: str = ""
    """A query for how many claimed jobs each worker holds: rows (worker, count)."""
    cannot: ClassVar[Mapping[str, str]] = {}
    """The workloads that the system has no means for, each with the reason."""

    def setup(self) -> None:
        """Make the system's tables."""
        raise NotImplementedError

    def declare(self, settings: Settings) -> None:
        """Declare the queue `q` before it is filled, where the rows of a fill depend on it."""

    def reset(self, connection: Connection) -> None:
        """Empty the system's tables."""
        raise NotImplementedError

    def watch_claims(self, connection: Connection) -> None:
        """Note the time of each claim, where the system's own tables do not keep it for `claims`."""

    def fill(self, connection: Connection, fill: Fill) -> None:
        """Add no-op jobs in one transaction."""
        raise NotImplementedError

    def wake(self, connection: Connection) -> None:
        """Tell the system's workers what its own enqueue would have told them."""

    def enqueue(self, count: int) -> float:
        """Enqueue jobs one at a time and return the seconds that it took."""
        raise NotImplementedError

    def bulk(self, count: int, size: int) -> float:
        """Enqueue jobs, `size` in each call, and return the seconds that it took."""
        raise NotImplementedError

    def send(self, pace: Pace) -> list[Sent]:
        """Enqueue jobs one at a time at random gaps."""
        raise NotImplementedError

    def wait(self, kind: str, pace: Pace) -> list[Sent]:
        """Beside a worker with the settings `waits_for`: await results or events, or send messages.

        Of a result and an event, `after` says when it was there; of a message, `before` when it was sent.
        """
        raise NotImplementedError

    def work(self, job: Job) -> None:
        """Run a worker until the process is killed."""
        raise NotImplementedError


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
