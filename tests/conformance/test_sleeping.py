"""Wake-ups race with workflows that are just being put to sleep, in several processes: none is lost."""

from __future__ import annotations

import logging
import random
import threading
import time
from pathlib import Path

import psycopg
import pytest

import towpath
from tests.fixtures.workers import worker_processes

APPLICATION = """
import random, time
import towpath
from towpath import Queue
from towpath.executor import sleeping, wait_hub

sleeping.LOADED_SECONDS = 0.0
sleeping.LOOK_SECONDS = 0.002
wait_hub.SLOW_LOOK_SECONDS = 3600.0  # nobody finds by chance what he was not told
naps = Queue("naps")


async def moment():
    # no step: a replay does not repeat it, and it moves the sleep of others against the wake-up
    time.sleep(random.choice([0, 0, 0.001, 0.004]))


@towpath.workflow(name="player")
async def player(rounds: int) -> int:
    other = await towpath.recv_async("other", timeout_seconds=None)
    score = 0
    for number in range(rounds):
        await moment()
        await towpath.send_async(other, number, "ball")
        score += await towpath.recv_async("ball", timeout_seconds=None) == number
    return score


@towpath.workflow(name="driven")
def driven(rounds: int) -> int:
    score = 0
    for number in range(rounds):
        towpath.set_event("ready", number)
        score += towpath.recv("go", timeout_seconds=None) == number
    return score


@towpath.workflow(name="leaf")
async def leaf(rounds: int) -> int:
    for number in range(rounds):
        await towpath.sleep_async(random.choice([0.0, 0.002, 0.01, 0.03]))
    return rounds


@towpath.workflow(name="tree")
def tree(rounds: int) -> int:
    return sum(naps.enqueue(leaf, 2).get_result() for _ in range(rounds))
"""

logger = logging.getLogger(__name__)

SEED = random.SystemRandom().randrange(1 << 32)
PAIRS, DRIVEN, TREES, ROUNDS = 20, 20, 20, 20


def chance(number: int) -> random.Random:
    """Return the chance of one driver."""
    return random.Random(SEED + number)  # noqa: S311 - a walk that a failure names


def drive(client: towpath.Client, workflow_id: str, luck: random.Random) -> None:
    """Send each message when the workflow says that it waits for it, at any moment after that."""
    for number in range(ROUNDS):
        while client.get_event(workflow_id, "ready", 60) != number:
            time.sleep(0.001)
        time.sleep(luck.choice([0, 0.001, 0.002, 0.004, 0.008]))
        client.send(workflow_id, number, "go")


@pytest.mark.timeout(240)
def test_no_wake_up_is_lost(database_url: str, tmp_path: Path) -> None:
    """Messages from workflows and from outside, ends of children, and times; thousands of sleeps."""
    (tmp_path / "napping.py").write_text(APPLICATION)
    environ = {"TOWPATH_DATABASE_URL": database_url, "TOWPATH_SLOTS": "20"}
    with (
        psycopg.connect(database_url, autocommit=True) as watch,
        towpath.Client(database_url) as client,
        worker_processes(3, "napping", tmp_path, environ, tmp_path),
    ):
        wait_for(watch, "SELECT count(*) FROM towpath.worker", 3)
        players = [client.enqueue("naps", "player", ROUNDS) for _ in range(2 * PAIRS)]
        for one, other in zip(players[::2], players[1::2], strict=True):
            client.send(one.workflow_id, other.workflow_id, "other")
            client.send(other.workflow_id, one.workflow_id, "other")
        trees = [client.enqueue("naps", "tree", ROUNDS // 2) for _ in range(TREES)]
        driven = [client.enqueue("naps", "driven", ROUNDS) for _ in range(DRIVEN)]
        drivers = [
            threading.Thread(target=drive, args=(client, d.workflow_id, chance(n)), daemon=True)
            for n, d in enumerate(driven)
        ]
        for driver in drivers:
            driver.start()
        all_of_them = 2 * PAIRS + DRIVEN + TREES * (1 + ROUNDS // 2)
        wait_for(watch, "SELECT count(*) FROM towpath.result", all_of_them)
        assert {h.get_result(timeout=5) for h in players} == {ROUNDS}
        assert {h.get_result(timeout=5) for h in driven} == {ROUNDS}
        assert {h.get_result(timeout=5) for h in trees} == {ROUNDS}
        slept = watch.execute("SELECT sum(attempt - 1) FROM towpath.result").fetchone()
        assert slept is not None
        logger.info("%d workflows slept %d times", all_of_them, slept[0])
        assert slept[0] > all_of_them, "they hardly slept at all"
        assert watch.execute("SELECT count(*) FROM towpath.running").fetchone() == (0,)


def wait_for(watch: psycopg.Connection[tuple[int]], query: str, least: int) -> None:
    """Wait until a count is reached; while it still grows, however long that takes."""
    best, since = -1, time.monotonic()
    while best < least:
        row = watch.execute(query.encode()).fetchone()
        assert row is not None
        if row[0] > best:
            best, since = row[0], time.monotonic()
        if time.monotonic() - since > 30:
            stuck = watch.execute(
                "SELECT r.*, w.position, w.kind, w.target, w.topic, w.due, w.asleep, "
                "(SELECT count(*) FROM towpath.awake a WHERE a.seq = r.seq) AS awake, "
                "(SELECT count(*) FROM towpath.message m WHERE m.seq = r.seq) AS messages "
                "FROM towpath.running r LEFT JOIN towpath.wait w USING (seq) ORDER BY r.seq LIMIT 20"
            ).fetchall()
            lines = "\n".join(map(str, stuck))
            pytest.fail(f"seed {SEED}: {query} stays at {best} of {least}:\n{lines}")
        time.sleep(0.05)
