"""Processes killed at random under workflows with children and messages: all of it happens once.

`TOWPATH_CHAOS_WORKFLOWS` is how many workflows there are (10,000 take one to two minutes on two cores),
`TOWPATH_CHAOS_SEED` repeats a walk.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import towpath
from tests.fixtures.workers import WorkerProcess, worker_processes

APPLICATION = Path(__file__).parent / "application"
WORKERS, CHILDREN, MESSAGES = 4, 3, 2
FAMILIES = int(os.environ.get("TOWPATH_CHAOS_WORKFLOWS", "6000")) // (1 + CHILDREN)
STEPS = {"open_family", "book", "prepare", "add"}
STEPS_BETWEEN_KILLS = 1200

Watch = psycopg.Connection[Any]
Start = Callable[[int], WorkerProcess]

WATCH_ENDS = """
CREATE TABLE public.booked (family int NOT NULL, total int NOT NULL);
CREATE TABLE public.ended (seq bigint NOT NULL, how text NOT NULL);
CREATE FUNCTION public.note_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.ended VALUES (coalesce(NEW.seq, OLD.seq), TG_OP);
    RETURN NULL;
END
$$;
CREATE TRIGGER note_end AFTER INSERT OR UPDATE OR DELETE ON towpath.result
FOR EACH ROW EXECUTE FUNCTION public.note_end();
"""


def enqueue_parents(database_url: str) -> None:
    """Put the parents in line."""
    app = towpath.App(database_url=database_url)

    @app.workflow(name="parent")
    def parent(family: int) -> None:
        raise AssertionError(f"{family}: the workers run their own")

    app.engine.may_migrate = True
    app.queue("parents").enqueue_many(parent, [(family,) for family in range(FAMILIES)])
    app.shutdown()


@pytest.mark.timeout(900)
def test_families_end_once_while_workers_are_killed(database_url: str, tmp_path: Path) -> None:
    """All end, none twice; no recorded step runs again, no child or message comes twice or too late."""
    seed = int(os.environ.get("TOWPATH_CHAOS_SEED") or secrets.randbits(32))
    print(f"TOWPATH_CHAOS_SEED={seed}")  # noqa: T201 - a failing test shows it
    chance = random.Random(seed)  # noqa: S311 - the same walk for a seed
    (seen := tmp_path / "seen").mkdir()
    with psycopg.connect(database_url, autocommit=True) as watch:
        watch.execute(WATCH_ENDS)
        enqueue_parents(database_url)
        environ = {
            "TOWPATH_DATABASE_URL": database_url,
            "TOWPATH_LEASE_SECONDS": "1",
            "TOWPATH_SLOTS": "50",
            "SEEN": str(seen),
        }

        def start(number: int) -> WorkerProcess:
            log = tmp_path / f"worker-{number}.log"
            return WorkerProcess("families", APPLICATION, environ, log)

        with worker_processes(WORKERS, "families", APPLICATION, environ, tmp_path) as workers:
            killed = kill_until_all_have_ended(watch, workers, chance, start, seen)
        assert killed >= WORKERS
        assert_all_ended_once(watch)
        assert_results_are_right(watch)
        assert_no_recorded_step_ran_again(watch, seen)


def kill_until_all_have_ended(
    watch: Watch, workers: list[WorkerProcess], chance: random.Random, start: Start, seen: Path
) -> int:
    """Kill workers as they get on, sometimes several at once; return how many were killed."""
    killed, steps = 0, 0
    while count(watch, "SELECT count(*) FROM towpath.result") < FAMILIES * (1 + CHILDREN):
        time.sleep(0.05)
        failed = "SELECT output FROM towpath.result WHERE status <> 'SUCCESS' LIMIT 1"
        assert watch.execute(failed).fetchone() is None
        for worker in workers:
            assert worker.process.poll() is None, (
                f"ended by itself: {worker.log.read_text()[-2000:]}"
            )
        if sum(file.read_bytes().count(b"\n") for file in seen.iterdir()) < steps:
            continue
        steps += chance.randrange(2 * STEPS_BETWEEN_KILLS)
        time.sleep(chance.uniform(0, 0.2))
        victims = chance.sample(range(WORKERS), chance.choice([1, 1, 1, 2, WORKERS]))
        for victim in victims:
            workers[victim].kill()
        for victim in victims:
            workers[victim].wait()
            workers[victim] = start(victim)
        killed += len(victims)
    return killed


def assert_all_ended_once(watch: Watch) -> None:
    """One SUCCESS each, written once; nothing is left that waits, holds a place or was not received."""
    ends = watch.execute("SELECT how, count(*), count(DISTINCT seq) FROM ended GROUP BY how")
    workflows = FAMILIES * (1 + CHILDREN)
    assert ends.fetchall() == [("INSERT", workflows, workflows)]
    statuses = watch.execute("SELECT status, count(*) FROM towpath.result GROUP BY 1").fetchall()
    assert statuses == [("SUCCESS", workflows)]
    for rest in ("ready", "running", "wait WHERE seq <> 0", "message"):
        assert count(watch, f"SELECT count(*) FROM towpath.{rest}") == 0, rest  # noqa: S608
    assert count(watch, "SELECT count(*) FROM towpath.workflow") == workflows


def assert_results_are_right(watch: Watch) -> None:
    """Each message came once and in order, each child was started once, each family booked once."""
    of_family = {
        row[0]: row[1:]
        for row in watch.execute(
            "SELECT (w.input::json->'args'->>0)::int, r.output, ARRAY("
            "SELECT e.output FROM towpath.workflow c JOIN towpath.result e ON e.seq = c.seq "
            "WHERE c.parent = w.seq ORDER BY c.seq) "
            "FROM towpath.workflow w JOIN towpath.result r USING (seq) WHERE w.parent IS NULL"
        )
    }
    assert of_family.keys() == set(range(FAMILIES))
    for family, (output, of_children) in of_family.items():
        orders = [family * 10 + number for number in range(MESSAGES)]
        totals = [family + place + sum(orders) for place in range(CHILDREN)]
        results = [[place, orders, total] for place, total in enumerate(totals)]
        assert [json.loads(each) for each in of_children] == results, family
        assert json.loads(output) == [totals[0], totals, results, sum(totals)], family
    booked = watch.execute("SELECT family, total FROM booked ORDER BY family").fetchall()
    assert booked == [
        (family, sum(family * (1 + 10 * MESSAGES) + place + 1 for place in range(CHILDREN)))
        for family in range(FAMILIES)
    ]


def assert_no_recorded_step_ran_again(watch: Watch, seen: Path) -> None:
    """A step ran once in each attempt at most, and in none after the one that recorded it."""
    ran: dict[tuple[str, str], list[int]] = defaultdict(list)
    for workflow_id, step, attempt, _ in lines(seen):
        ran[workflow_id, step].append(int(attempt))
    recorded = watch.execute(
        "SELECT towpath.id_of(w), s.name, s.attempt FROM towpath.step s "
        "JOIN towpath.workflow w USING (seq) WHERE s.name = ANY (%s)",
        (list(STEPS),),
    ).fetchall()
    assert len(recorded) == FAMILIES * 2 * (1 + CHILDREN)
    assert ran.keys() == {(workflow_id, step) for workflow_id, step, _ in recorded}
    for workflow_id, step, attempt in recorded:
        attempts = sorted(ran[workflow_id, step])
        assert attempts == sorted(set(attempts)), (workflow_id, step, attempts)
        assert attempts[-1] == attempt, (workflow_id, step, attempts)


def lines(seen: Path) -> Iterator[list[str]]:
    """Return what every process saw."""
    for file in seen.iterdir():
        for line in file.read_text().splitlines():
            yield line.split(" ")


def count(watch: Watch, query: str) -> int:
    """Return a query's count."""
    row = watch.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])
