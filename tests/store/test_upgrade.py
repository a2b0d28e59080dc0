"""A database of the oldest schema that is served, with workflows in every status, is migrated under running workers.

The workers of the previous library are real: `tests/fixtures/previous_release` has it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from tests.fixtures.workers import WorkerProcess, worker_processes
from towpath.domain.errors import SchemaError
from towpath.store import migrate as migrations
from towpath.store.migrate import LIBRARY_SCHEMA_VERSION, migrate

RELEASE = Path(__file__).parents[1] / "fixtures" / "previous_release"
APPLICATION = RELEASE / "application"
PREVIOUS_VERSION = 1
QUEUES = ["plain", "limited", "throttled", "keyed", "urgent"]
GROUPS = ["limited", "throttled", "child", "plain", "urgent"]

Watch = psycopg.Connection[Any]


class Noted(NamedTuple):
    """One step of one attempt, in nanoseconds; one that was killed has no end."""

    attempt: int
    began: int
    ended: int | None


class Upgrade:
    """A database, the folder that says what ran, and processes of either library."""

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        self.url, self._folder, self._stack = url, folder, stack
        self.watch: Watch = stack.enter_context(psycopg.connect(url, autocommit=True))
        for name in ("library", "seen", "logs"):
            (folder / name).mkdir()
        with tarfile.open(RELEASE / "towpath.tar.xz") as packed:
            packed.extractall(folder / "library", filter="data")
        self.seen = folder / "seen"
        self._number = 0

    def previous(self, **more: str) -> dict[str, str]:
        """Return the environment of the previous library."""
        return self.today(PYTHONPATH=str(self._folder / "library"), **more)

    def today(self, **more: str) -> dict[str, str]:
        """Return the environment of this library."""
        return {
            "TOWPATH_DATABASE_URL": self.url,
            "TOWPATH_LEASE_SECONDS": "5",
            "TOWPATH_SLOTS": "8",
            "TOWPATH_QUEUES": ",".join(QUEUES),
            "SEEN": str(self.seen),
            **more,
        }

    def workers(
        self, count: int, environ: dict[str, str], application: str = "orders"
    ) -> list[WorkerProcess]:
        """Start workers; they end with the test."""
        self._number += 1
        (logs := self._folder / "logs" / f"{self._number}").mkdir()
        before = self.count("SELECT max(id) FROM towpath.worker") if self._number > 1 else 0
        started = self._stack.enter_context(
            worker_processes(count, application, APPLICATION, environ, logs)
        )
        registered = f"SELECT count(*) FROM towpath.worker WHERE id > {before}"  # noqa: S608
        wait_until(
            lambda: self.version() is not None and self.count(registered) >= count, seconds=60
        )
        return started

    def start(self, verb: str) -> subprocess.Popen[str]:
        """Start a verb of `fill` in the previous library."""
        return subprocess.Popen(
            [sys.executable, "-m", "fill", verb],
            cwd=APPLICATION, env={**os.environ, **self.previous()}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, verb: str) -> str:
        """Run a verb of `fill` in the previous library and return what it printed."""
        return said(self.start(verb))

    def migrate(self) -> None:
        """Migrate by this library."""

        async def run() -> None:
            async with await psycopg.AsyncConnection.connect(
                self.url, autocommit=True
            ) as connection:
                await migrate(connection, "towpath")

        asyncio.run(run())

    def version(self) -> int | None:
        """Return the schema's version, None while there is none."""
        row = self.watch.execute("SELECT to_regclass('towpath.schema_version')").fetchone()
        if row == (None,):
            return None
        return self.count("SELECT version FROM towpath.schema_version") or None

    def count(self, query: str) -> int:
        """Return a query's number."""
        row = self.watch.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0] or 0)

    def wait_for(self, query: str, least: int = 1, *, seconds: float = 60) -> None:
        """Wait until a query's number is reached."""
        wait_until(lambda: self.count(query) >= least, seconds=seconds, what=query)

    def wait_until_ended(self, *, but: list[str]) -> None:
        """Wait until every workflow but those has a result, and nothing holds a place."""
        query = (
            "SELECT towpath.id_of(w), w.name, w.input, y, p, r.status FROM towpath.workflow w "
            "LEFT JOIN towpath.result r USING (seq) LEFT JOIN towpath.ready y USING (seq) "
            "LEFT JOIN towpath.running p USING (seq) WHERE (r.seq IS NULL OR p.seq IS NOT NULL) AND (w.id = ANY (%s)) IS NOT TRUE"
        )
        deadline = time.monotonic() + 60
        while unended := self.watch.execute(query, [but]).fetchall():
            assert time.monotonic() < deadline, unended
            time.sleep(0.02)

    def open(self) -> None:
        """Let the second steps end."""
        (self.seen / "open").touch()

    def noted(self) -> dict[tuple[str, int, str], list[Noted]]:
        """Return what ran, by group, number and step, in the order of the attempts."""
        moments: dict[tuple[str, int, str, int], dict[str, int]] = defaultdict(dict)
        for file in self.seen.glob("*.steps"):
            for line in file.read_text().splitlines():
                group, number, step, attempt, moment, time_ns = line.split(" ")
                of_attempt = moments[group, int(number), step, int(attempt)]
                assert moment not in of_attempt, f"twice in one attempt: {line}"
                of_attempt[moment] = int(time_ns)
        found: dict[tuple[str, int, str], list[Noted]] = defaultdict(list)
        for (of_group, n, of_step, n_attempt), at in sorted(moments.items()):
            found[of_group, n, of_step].append(Noted(n_attempt, at["begins"], at.get("ends")))
        return found


@pytest.fixture
def upgrade(empty_database_url: str, tmp_path: Path) -> Iterator[Upgrade]:
    """Return a database in which nothing is yet."""
    with ExitStack() as stack:
        yield Upgrade(empty_database_url, tmp_path, stack)


def said(process: subprocess.Popen[str]) -> str:
    """Return what a process has printed, once it has ended."""
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return printed


def test_the_previous_library_is_the_previous_one(upgrade: Upgrade) -> None:
    """Its processes import it, not the one that is tested; the schema serves it still."""
    program = "import towpath.store.migrate as m; print(m.LIBRARY_SCHEMA_VERSION)"
    environ = {**os.environ, **upgrade.previous()}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == PREVIOUS_VERSION
    upgrade.migrate()
    assert upgrade.count("SELECT serves_from FROM towpath.schema_version") == PREVIOUS_VERSION


@pytest.mark.timeout(300)
def test_a_database_in_use_is_migrated_under_its_workers(upgrade: Upgrade) -> None:
    """Every status, workers alive and dead, an enqueuer at work: all goes on, under both libraries."""
    live, dead = upgrade.workers(2, upgrade.previous())
    end_some(upgrade)
    begin_some(upgrade)
    feeder = upgrade.start("feed")
    upgrade.wait_for("SELECT count(*) FROM towpath.workflow WHERE input LIKE '%fed%'", 5)
    dead.kill()
    dead.wait()
    killed_at = time.monotonic_ns()
    assert_every_status(upgrade)
    upgrade.open()
    upgrade.migrate()
    assert upgrade.version() == LIBRARY_SCHEMA_VERSION
    fed_before = upgrade.count("SELECT count(*) FROM towpath.workflow")
    upgrade.wait_for("SELECT count(*) FROM towpath.workflow", fed_before + 5)

    upgrade.workers(2, upgrade.today())
    with towpath.Client(upgrade.url) as client:
        client.set_delay("delayed", delay_seconds=0)
    (upgrade.seen / "fed").touch()
    fed = int(said(feeder))
    # that library keeps the place of what was cancelled in a step until its worker leaves
    upgrade.wait_until_ended(but=["resumed", "stopped"])
    live.kill(signal.SIGTERM)
    upgrade.wait_until_ended(but=[])
    assert_results(upgrade, fed)
    assert_no_step_ran_again(upgrade)
    assert_limits_held(upgrade, killed_at)


def end_some(upgrade: Upgrade) -> None:
    """Have workflows end in each of the ways."""
    upgrade.open()
    upgrade.run("end")
    deadly = upgrade.previous(TOWPATH_QUEUES="deadly", TOWPATH_LEASE_SECONDS="1")
    (dying,) = upgrade.workers(1, deadly)
    assert dying.wait() == 9
    upgrade.wait_for("SELECT count(*) FROM towpath.result", 6)
    (upgrade.seen / "open").unlink()


def begin_some(upgrade: Upgrade) -> None:
    """Have workflows stop in their second step, and others wait behind them."""
    upgrade.run("begin")
    upgrade.wait_for(
        "SELECT count(*) FROM towpath.step s JOIN towpath.workflow w USING (seq) "
        "WHERE w.id IN ('resumed', 'stopped')", 2,
    )  # fmt: skip
    upgrade.wait_for("SELECT count(*) FROM towpath.running r WHERE EXISTS ("
                     "SELECT FROM towpath.step s WHERE s.seq = r.seq)", 16)  # fmt: skip
    upgrade.run("interfere")


def assert_every_status(upgrade: Upgrade) -> None:
    """The database has a workflow in each status, by each way into it."""
    assert upgrade.version() == PREVIOUS_VERSION
    query = "SELECT status FROM towpath.result GROUP BY status ORDER BY status"
    ended = [row[0] for row in upgrade.watch.execute(query)]
    assert ended == ["CANCELLED", "ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED", "SUCCESS"]
    recorded = "NOT fenced AND EXISTS (SELECT FROM towpath.step s WHERE s.seq = r.seq)"
    for rows in (
        "parked",
        "ready WHERE key IS NULL",
        "ready WHERE key IS NOT NULL",
        f"running r WHERE {recorded} AND worker = 1",
        f"running r WHERE {recorded} AND worker = 2",
        "running WHERE fenced AND resumed_line IS NULL",
        "running WHERE fenced AND resumed_line IS NOT NULL",
    ):
        assert upgrade.count(f"SELECT count(*) FROM towpath.{rows}") > 0, rows  # noqa: S608


def assert_results(upgrade: Upgrade, fed: int) -> None:
    """Each has its right end, and the previous library reads it too."""
    read = [json.loads(line) for line in upgrade.run("read").splitlines()]
    assert len(read) == upgrade.count("SELECT count(*) FROM towpath.workflow")
    by_id = {row[0]: row[1:] for row in read}
    assert by_id["failed"] == ["ERROR", "ValueError"]
    assert by_id["dead"] == ["MAX_RECOVERY_ATTEMPTS_EXCEEDED", "MaxRecoveryAttemptsExceededError"]
    assert by_id["cancelled"] == by_id["stopped"] == ["CANCELLED", "WorkflowCancelledError"]
    assert by_id["resumed"] == by_id["delayed"] == ["SUCCESS", 0]
    succeeded = sorted(result for _, status, result in read if status == "SUCCESS")
    orders = [*range(3), *range(fed), *(n for _ in range(6) for n in range(6))]
    bundles = [n * 111 + 1 for n in range(6)]
    assert succeeded == sorted([0, 0, *(n * 111 for n in orders), *bundles])


def assert_no_step_ran_again(upgrade: Upgrade) -> None:
    """Nothing ran in an attempt after the one that recorded it."""
    noted = upgrade.noted()
    recorded = upgrade.watch.execute(
        "SELECT w.input::json->'args'->>0, (w.input::json->'args'->>1)::int, s.name, s.attempt "
        "FROM towpath.step s JOIN towpath.workflow w USING (seq) "
        "WHERE s.name IN ('first', 'second', 'third')"
    ).fetchall()
    assert len(recorded) > 100
    for group, number, step, attempt in recorded:
        assert noted[group, number, step][-1].attempt == attempt, (group, number, step)


def assert_limits_held(upgrade: Upgrade, killed_at: int) -> None:
    """Two at once, three starts in half a second, one at a time in a partition and in order."""
    spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
    starts: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for (group, number, step), attempts in upgrade.noted().items():
        if step == "order":
            starts[group] += [(noted.began, number) for noted in attempts]
            continue
        for noted in attempts:
            # what was killed and has no end ran until then, at the latest
            spans[group].append((noted.began, noted.ended or killed_at))
    assert most_at_once(spans["limited"]) <= 2
    times = [began for began, _ in sorted(starts["throttled"])]
    assert all(later - first >= 0.5e9 for first, later in zip(times, times[3:], strict=False))
    for key in ("key-0", "key-1"):
        assert most_at_once(spans[key]) == 1
        numbers = [number for _, number in sorted(starts[key])]
        assert numbers == sorted(numbers)


def most_at_once(spans: list[tuple[int, int]]) -> int:
    """Return how many spans of time overlap at most."""
    changes = sorted([(began, 1) for began, _ in spans] + [(ended, -1) for _, ended in spans])
    return max(itertools.accumulate(change for _, change in changes))


@pytest.mark.timeout(120)
def test_migrating_under_load_ends_no_turn(upgrade: Upgrade) -> None:
    """Workers that claim and complete as fast as they can: nobody is the victim of a deadlock."""
    workers = upgrade.workers(2, upgrade.previous(TOWPATH_SLOTS="50"))
    upgrade.run("load")
    upgrade.wait_for("SELECT count(*) FROM towpath.result", 500)
    upgrade.migrate()
    upgrade.wait_for("SELECT count(*) FROM towpath.result", 5000)
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert upgrade.count(deadlocks) == 0
    assert not any("unreachable" in worker.log.read_text() for worker in workers)


@pytest.mark.timeout(120)
def test_who_sleeps_is_woken_by_an_end_that_the_previous_library_writes(upgrade: Upgrade) -> None:
    """Today's workflow waits without a worker; its child runs on a worker of the previous library."""
    upgrade.workers(1, upgrade.previous())
    upgrade.migrate()
    app = towpath.App(database_url=upgrade.url)

    @app.workflow(name="wait_for_order")
    def wait_for_order(number: int) -> int:
        raise AssertionError(f"{number}: the worker runs its own")

    today = upgrade.today(TOWPATH_QUEUES="waiters")
    upgrade.workers(1, today, "waiters")
    handle = app.queue("waiters").enqueue(wait_for_order, 7)
    upgrade.wait_for("SELECT count(*) FROM towpath.wait WHERE asleep AND kind = 'end'")
    upgrade.wait_for("SELECT count(*) FROM towpath.step WHERE name = 'first'")
    upgrade.open()
    assert handle.get_result(timeout=20) == 778
    app.shutdown()


def test_an_open_transaction_is_named_and_stops_nobody_else(
    upgrade: Upgrade, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that cannot have its tables says so in the end; others are served between its tries."""
    current = migrations.migrations()
    monkeypatch.setattr(migrations, "migrations", lambda: current[:3])
    upgrade.migrate()
    monkeypatch.setattr(migrations, "migrations", lambda: current)
    monkeypatch.setattr(migrations, "PATIENCE_SECONDS", 1.0)
    with psycopg.connect(upgrade.url) as holder, ThreadPoolExecutor() as pool:
        holder.execute("SELECT count(*) FROM towpath.running")
        migrating = pool.submit(upgrade.migrate)
        upgrade.wait_for("SELECT count(*) FROM pg_locks WHERE NOT granted")
        upgrade.watch.execute("SET lock_timeout = '900ms'")  # it waits no longer than for one try
        upgrade.count("SELECT count(*) FROM towpath.running")
        with pytest.raises(SchemaError, match="pg_stat_activity"):
            migrating.result(30)
    assert upgrade.version() == PREVIOUS_VERSION
    upgrade.migrate()
    assert upgrade.version() == LIBRARY_SCHEMA_VERSION
