"""Why does it wait, on a real database: each thing that can hold a workflow back, seen and said."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from towpath import App, Client, SetEnqueueOptions, WorkflowHandle
from towpath.cli.main import run
from towpath.domain.ids import QueueName
from towpath.domain.queue import QueueSettings
from towpath.insights import explain
from towpath.insights.explain import Explanation
from towpath.insights.reasons import Kind, Reason
from towpath.store import queues

Launch = Callable[..., towpath.Worker]


class Held:
    """Workflows `hold` of an App that run until they are let go."""

    def __init__(self, app: App) -> None:
        self.let_go = threading.Event()

        @app.workflow(name="hold")
        def hold(number: int = 0) -> int:
            assert self.let_go.wait(60)
            return number

        self.workflow = hold


@pytest.fixture
def held(app: App) -> Iterator[Held]:
    """Return the workflow that holds places, and let it go at the end."""
    made = Held(app)
    yield made
    made.let_go.set()


def why(app: App, queue: str = "mail") -> Explanation:
    """Ask of a queue."""
    engine = app.engine
    return engine.run(lambda session: explain.explain_queue(session, engine.statements, queue))


def why_workflow(app: App, handle: WorkflowHandle[Any]) -> Explanation:
    """Ask of a workflow."""
    engine = app.engine
    return engine.run(
        lambda session: explain.explain_workflow(session, engine.statements, handle.workflow_id)
    )


def first_is(found: Explanation, kind: Kind) -> Reason:
    """Return the first reason, which has a kind."""
    assert found.reasons[0].kind is kind, found.sentence
    return found.reasons[0]


def running(handle: WorkflowHandle[Any]) -> None:
    """Wait until a workflow was claimed."""
    wait_until(lambda: handle.get_status().status == "PENDING", what="it runs")


def test_nothing_waits_then_no_worker(app: App, held: Held) -> None:
    """A queue without a worker says so, and how many wait."""
    queue = app.queue("mail", concurrency=3)
    handle = queue.enqueue(held.workflow)
    assert why(app).sentence == "1 waits; no live worker serves queue 'mail'"
    assert why_workflow(app, handle).sentence == "no live worker serves queue 'mail'"
    app.cancel_workflow(handle.workflow_id)
    assert why(app).sentence == "nothing waits"
    assert why_workflow(app, handle).sentence == "it has ended: CANCELLED"


def test_places_are_taken(app: App, held: Held, launched: Launch) -> None:
    """By running workflows; the next in line is told how many are before it."""
    queue = app.queue("mail", concurrency=2)
    launched()
    first, second, third, fourth = (queue.enqueue(held.workflow, n) for n in range(4))
    running(first)
    running(second)
    found = first_is(why(app), Kind.CONCURRENCY)
    assert (found.used, found.limit, found.seconds) == (2, 2, None)
    assert why(app).sentence == "2 wait; concurrency: 2 of 2 places are taken"
    assert why_workflow(app, third).sentence == "concurrency: 2 of 2 places are taken"
    assert why_workflow(app, fourth).reasons[1].used == 1
    first_is(why_workflow(app, first), Kind.RUNNING)


def test_places_of_cancelled_code(app: App, held: Held, launched: Launch) -> None:
    """The workflow has ended, its code has not; resumed, it waits for its own old code."""
    queue = app.queue("mail", concurrency=1)
    launched()
    first = queue.enqueue(held.workflow)
    running(first)
    queue.enqueue(held.workflow)
    app.cancel_workflow(first.workflow_id)
    assert first_is(why(app), Kind.CANCELLED_CODE).used == 1
    assert "keeps its place" in why_workflow(app, first).sentence
    app.resume_workflow(first.workflow_id)
    first_is(why_workflow(app, first), Kind.CANCELLED_CODE)


def test_the_limiter_says_when(app: App, held: Held, launched: Launch) -> None:
    """How many started in the window, and when the next may."""
    queue = app.queue("mail", limiter={"limit": 2, "period": 3600})
    launched()
    handles = [queue.enqueue(held.workflow) for _ in range(3)]
    wait_until(lambda: why(app).reasons[0].kind is Kind.LIMITER, what="the starts are spent")
    found = first_is(why(app), Kind.LIMITER)
    assert (found.used, found.limit) == (2, 2)
    assert found.seconds is not None
    assert 3500 < found.seconds <= 3602
    said = r"limiter: 2 of 2 started in the last 1 h, next start in (59m\d\ds|1h00m)"
    assert re.fullmatch(said, found.sentence)
    first_is(why_workflow(app, handles[2]), Kind.LIMITER)


def test_a_busy_partition_names_who_holds_it(app: App, held: Held, launched: Launch) -> None:
    """The key, and the workflow; another key is not held back by it."""
    queue = app.queue("mail", partition_queue=True)
    launched()
    first, second, third = (
        queue.options(queue_partition_key="a").enqueue(held.workflow, n) for n in range(3)
    )
    running(first)
    found = first_is(why(app), Kind.PARTITION)
    assert (found.partition_key, found.holders) == ("a", (first.workflow_id,))
    sentence = f"partition 'a': 1 of 1 running: workflow {first.workflow_id!r}"
    assert why_workflow(app, second).sentence == sentence
    behind = "it is in line in partition 'a': 1 is before it"
    assert why_workflow(app, third).sentence == f"{sentence}; {behind}"


def test_a_partition_has_a_limiter_of_its_own(app: App, held: Held, launched: Launch) -> None:
    """It says whose it is."""
    limiter = {"limit": 1, "period": 3600}
    queue = app.queue("mail", partition_queue=True, partition_limiter=limiter)

    launched()
    with SetEnqueueOptions(queue_partition_key="a"):
        queue.enqueue(held.workflow)
        held.let_go.set()
        second = queue.enqueue(held.workflow)
    wait_until(
        lambda: why(app).reasons[0].kind is Kind.PARTITION_LIMITER, what="the start is spent"
    )
    found = first_is(why(app), Kind.PARTITION_LIMITER)
    assert found.partition_key == "a"
    assert found.sentence.startswith("partition 'a': limiter: 1 of 1 started in the last 1 h")
    first_is(why_workflow(app, second), Kind.PARTITION_LIMITER)


def test_every_worker_is_full(app: App, held: Held, launched: Launch) -> None:
    """By worker_concurrency where that is less than the slots, else by the slots."""
    one_each, free = app.queue("mail", worker_concurrency=1), app.queue("bulk")
    launched(slots=2)
    running(one_each.enqueue(held.workflow))
    one_each.enqueue(held.workflow)
    assert why(app).sentence == "1 waits; worker_concurrency: the live worker runs 1 of 1"
    running(free.enqueue(held.workflow))
    waits = free.enqueue(held.workflow)
    said = "slots: 2 of 2 slots of the live worker are taken"
    assert why(app, "bulk").sentence == f"1 waits; {said}"
    assert why_workflow(app, waits).sentence == said


def test_nobody_knows_the_name_or_the_version(
    app: App, held: Held, launched: Launch, database_url: str
) -> None:
    """What no live worker takes is named, and is no reason for what stands behind it."""
    queue = app.queue("mail")
    launched()
    with Client(database_url) as client:
        strange = client.enqueue("mail", "strange")
    assert first_is(why_workflow(app, strange), Kind.NAME_NOT_REGISTERED)
    versioned = queue.options(app_version="v2").enqueue(held.workflow)
    found = first_is(why_workflow(app, versioned), Kind.OTHER_VERSION)
    assert "'v2'" in found.sentence
    running(queue.enqueue(held.workflow))
    assert why(app).waiting == 2
    first_is(why(app), Kind.NAME_NOT_REGISTERED)


def test_a_delay_says_until_when(app: App, held: Held) -> None:
    """In seconds and as a date; the queue tells of the first of them."""
    queue = app.queue("mail")
    handle = queue.options(delay_seconds=3600).enqueue(held.workflow)
    queue.options(delay_seconds=7200).enqueue(held.workflow)
    found = first_is(why_workflow(app, handle), Kind.DELAYED)
    assert found.seconds is not None
    assert 3500 < found.seconds <= 3600
    due = handle.get_status().due_at
    assert due is not None
    assert due.astimezone(tz=None).isoformat()[14:19] in found.sentence
    assert "2 delayed workflows: the first is due in" in why(app).sentence


def test_a_dead_worker_is_told(app: App, held: Held, database_url: str) -> None:
    """Its lease has run out, and nobody is there to take over."""
    handle = app.queue("mail").enqueue(held.workflow)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(WORKER)
        connection.execute(CLAIMED)
        assert "it runs: attempt 1 on worker 'w', for" in why_workflow(app, handle).sentence
        connection.execute("UPDATE towpath.worker SET lease_until = now() - interval '1 hour'")
        first_is(why_workflow(app, handle), Kind.LEASE_ENDED)
    nobody = "no live worker serves queue 'mail' (1 dead)"
    said = f"attempt 1 on worker 'w' has lost its worker, and {nobody}"
    assert why_workflow(app, handle).sentence == said
    app.queue("mail").enqueue(held.workflow)
    assert why(app).sentence == f"1 waits; {nobody}"


CLAIMED = """
WITH taken AS (DELETE FROM towpath.ready RETURNING seq, rank, line, queue)
INSERT INTO towpath.running (seq, worker, rank, line, started_at, attempt, recoveries, queue)
SELECT t.seq, w.id, t.rank, t.line, now(), 1, 0, t.queue FROM taken t, towpath.worker w
"""


@pytest.mark.parametrize("keys", [None, 50_000])
def test_explain_is_flat_in_the_backlog(app: App, database_url: str, keys: int | None) -> None:
    """A hundred thousand that wait cost it what twenty thousand do, for the first and the last of them."""
    settings = QueueSettings(concurrency=1, partition_queue=keys is not None)
    statements = app.engine.statements
    app.engine.run(lambda s: queues.declare(s, statements, QueueName("mail"), settings))
    pages: dict[int | None, list[int]] = {None: [], 1: [], 20_000: []}
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(WORKER)
        for count in (20_000, 100_000):
            connection.execute(BACKLOG, {"count": count, "keys": keys})
            connection.execute("VACUUM ANALYZE towpath.ready, towpath.workflow")
            for seq, read in pages.items():
                read.append(_pages(connection, statements["observe"], seq))
    for small, large in pages.values():
        assert large <= small * 1.2 + 10, pages  # an index of more rows is one page deeper


WORKER = """
INSERT INTO towpath.worker (name, library, queues, names, max_recoveries, slots, started_at, lease_until)
VALUES ('w', '0', '{mail}', '{send}', '{100}', 10, now(), now() + interval '1 hour')
"""
BACKLOG = """
WITH written AS (
    INSERT INTO towpath.workflow (seq, secret, created_at, queue, name, key, codec, input)
    OVERRIDING SYSTEM VALUE
    SELECT n, 0, now(), 'mail', 'send', (n %% %(keys)s::int)::text, 'json', '' FROM generate_series(1, %(count)s) AS g (n)
    ON CONFLICT DO NOTHING
    RETURNING seq, queue, name, key)
INSERT INTO towpath.ready (seq, rank, line, queue, name, version, key)
SELECT w.seq, 0, w.seq, w.queue, w.name, '', w.key FROM written w
"""


def _pages(connection: psycopg.Connection[Any], statement: bytes, seq: int | None) -> int:
    """Count the pages that it reads."""
    row = connection.execute(
        b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement, {"queue": "mail", "seq": seq}
    ).fetchone()
    assert row is not None
    plan = row[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def test_the_command_says_it_in_a_sentence_and_in_data(
    app: App, held: Held, launched: Launch, database_url: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """`queue explain` of a queue and of a workflow; `workflow get` has the same sentence."""
    monkeypatch.setenv("TOWPATH_DATABASE_URL", database_url)
    queue = app.queue("mail", concurrency=1)
    app.queue("other")
    launched()
    running(queue.enqueue(held.workflow))
    waits = queue.options(workflow_id="later").enqueue(held.workflow)
    said = "concurrency: 1 of 1 places are taken"
    assert run(["queue", "explain", "mail"]) == 0
    assert run(["queue", "explain", "mail", "later"]) == 0
    assert capsys.readouterr().out == f"1 waits; {said}\n{said}\n"
    assert run(["queue", "explain", "mail", "later", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "queue_name": "mail",
        "workflow_id": "later",
        "waiting": 1,
        "waiting_capped": False,
        "running": 1,
        "sleeping": 0,
        "sleeping_capped": False,
        "sentence": said,
        "reasons": [
            {
                "kind": "concurrency",
                "sentence": said,
                "used": 1,
                "limit": 1,
                "seconds": None,
                "partition_key": None,
                "holders": [],
            }
        ],
    }
    assert run(["workflow", "get", waits.workflow_id]) == 0
    assert f"STATUS      ENQUEUED: {said}\n" in capsys.readouterr().out
    assert run(["queue", "explain", "other", "later"]) == 4
    assert run(["queue", "explain", "mail", "nobody"]) == 3
    assert "workflow 'later' is on queue 'mail', not 'other'" in capsys.readouterr().err
