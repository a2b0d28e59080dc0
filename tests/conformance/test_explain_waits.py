"""What the person on call sees of waits: why a queue stands still, what a workflow waits for, in what numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from towpath import App, Client, WorkflowHandle
from towpath.cli.main import run
from towpath.domain.ids import QueueName
from towpath.domain.queue import QueueSettings
from towpath.executor import sleeping
from towpath.insights import explain
from towpath.insights.demand import QueueDemand, queue_demand
from towpath.insights.explain import Explanation
from towpath.insights.queues import QueueInfo, get_queue
from towpath.insights.reasons import Kind
from towpath.store import queues

Launch = Callable[..., towpath.Worker]

UNTIL = r"until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d, for (9m5\ds|10m00s) more"


class Family:
    """Workflows of an App that wait in every way."""

    def __init__(self, app: App) -> None:
        @app.workflow(name="child")
        def child() -> int:
            return 1

        @app.workflow(name="parent")
        def parent(queue: str, timeout: float | None = None, key: str | None = None) -> int:
            handle = app.queue(queue).options(queue_partition_key=key).enqueue(child)
            return handle.get_result(timeout=timeout)

        @app.workflow(name="ask")
        def ask(topic: str) -> Any:
            return app.recv(topic, timeout_seconds=600)

        @app.workflow(name="nap")
        def nap() -> None:
            app.sleep(600)

        @app.workflow(name="watch")
        def watch(workflow_id: str) -> Any:
            return app.get_event(workflow_id, "paid", 600)

        @app.workflow(name="follow")
        def follow(workflow_id: str) -> Any:
            return app.retrieve_workflow(workflow_id).get_result(timeout=600)

        self.child, self.parent, self.ask = child, parent, ask
        self.nap, self.watch, self.follow = nap, watch, follow


@pytest.fixture
def family(app: App) -> Family:
    """Return the workflows."""
    return Family(app)


@pytest.fixture
def sleepy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workflows go to sleep as soon as they wait."""
    monkeypatch.setattr(sleeping, "LOADED_SECONDS", 0.0)
    monkeypatch.setattr(sleeping, "LOOK_SECONDS", 0.02)


@pytest.fixture
def client(database_url: str) -> Iterator[Client]:
    """Return what asks though no worker lives."""
    with Client(database_url) as client:
        yield client


def why(app: App | Client, queue: str = "mail") -> Explanation:
    """Ask of a queue."""
    engine = app.engine
    return engine.run(lambda session: explain.explain_queue(session, engine.statements, queue))


def why_workflow(app: App | Client, handle: WorkflowHandle[Any]) -> Explanation:
    """Ask of a workflow."""
    engine, asked = app.engine, handle.workflow_id
    return engine.run(lambda s: explain.explain_workflow(s, engine.statements, asked))


def numbers(app: App, queue: str = "mail") -> QueueInfo:
    """Return a queue in numbers."""
    engine = app.engine
    return engine.run(lambda session: get_queue(session, engine.statements, queue))


def demand(app: App | Client, queue: str = "mail") -> QueueDemand:
    """Return what the autoscaler sees of a queue."""
    engine = app.engine
    return engine.run(lambda s: queue_demand(s, engine.statements, [queue]))[queue]


def waits(app: App, *handles: WorkflowHandle[Any]) -> None:
    """Wait until workflows wait in a worker's memory, and that is written."""
    for handle in handles:
        wait_until(
            lambda h=handle: why_workflow(app, h).reasons[0].kind is Kind.WAITS,  # type: ignore[misc]
            what=f"{handle.workflow_id} waits",
        )


def sleeps(app: App, count: int, queue: str = "mail") -> None:
    """Wait until so many workflows of a queue are in no worker's memory."""
    wait_until(lambda: numbers(app, queue).sleeping == count, what=f"{count} are asleep")


# -- why does a queue stand still


@pytest.mark.parametrize("asleep", [False, True], ids=["in memory", "asleep"])
def test_a_queue_whose_places_all_wait_for_it_is_named(
    app: App, family: Family, launched: Launch, request: pytest.FixtureRequest, *, asleep: bool
) -> None:
    """Who waits for whom, for ever, and what to do; what the sentence says to do is enough."""
    if asleep:
        request.getfixturevalue("sleepy")
    queue = app.queue("mail", concurrency=2)
    launched()
    parents = [queue.enqueue(family.parent, "mail") for _ in range(2)]
    wait_until(lambda: why(app).reasons[0].kind is Kind.OWN_CHILDREN, what="it stands still")
    if asleep:
        sleeps(app, 2)
    children = {c.parent_workflow_id: c.workflow_id for c in app.list_workflows(name="child")}
    pairs = ", ".join(f"{p.workflow_id!r} for {children[p.workflow_id]!r}" for p in parents)
    found = why(app)
    assert found.sentence == (
        "2 wait; concurrency: 2 of 2 places are taken, all by workflows that wait for others of this "
        f"queue ({pairs}), so it stands still for ever: raise its concurrency, set "
        "release_while_waiting=True, or give those that are waited for a queue of their own"
    )
    (reason,) = found.reasons
    assert reason.holders == tuple(p.workflow_id for p in parents)
    assert (reason.used, reason.limit, reason.seconds) == (2, 2, None)
    given_back = QueueSettings(concurrency=2, release_while_waiting=True)
    statements = app.engine.statements
    app.engine.run(lambda s: queues.declare(s, statements, QueueName("mail"), given_back))
    assert [p.get_result(timeout=30) for p in parents] == [1, 1]


def test_a_parent_that_gives_up_says_when(app: App, family: Family, launched: Launch) -> None:
    """A queue that stands still for a while only: until the first wait is over."""
    queue = app.queue("mail", concurrency=1)
    launched()
    queue.enqueue(family.parent, "mail", timeout=600.0)
    wait_until(lambda: why(app).reasons[0].kind is Kind.OWN_CHILDREN, what="it stands still")
    (reason,) = why(app).reasons
    assert reason.seconds is not None
    assert 590 < reason.seconds <= 600
    assert re.search(r"stands still until the first gives up in (9m5\ds|10m00s):", reason.sentence)


def test_one_that_waits_for_another_queue_keeps_it_from_standing_still(
    app: App, family: Family, launched: Launch
) -> None:
    """One of two waits for a message: it may come, and the sentence tells that both wait."""
    queue = app.queue("mail", concurrency=2)
    launched()
    parent = queue.enqueue(family.parent, "mail")
    asking = queue.enqueue(family.ask, "go")
    waits(app, parent, asking)
    wait_until(lambda: why(app).waiting == 1, what="the child is in line")
    said = "1 waits; concurrency: 2 of 2 places are taken: 2 wait in a worker"
    assert why(app).sentence == said
    app.send(asking.workflow_id, "now", "go")
    assert parent.get_result(timeout=30) == 1


def test_an_event_of_the_own_queue_is_waited_for_in_vain_too(
    app: App, family: Family, launched: Launch
) -> None:
    """Whoever is to set it does not begin."""
    queue = app.queue("mail", concurrency=1)
    later = queue.options(delay_seconds=3600).enqueue(family.child)
    launched()
    watching = queue.enqueue(family.watch, later.workflow_id)
    waits(app, watching)
    queue.enqueue(family.child)
    found = why(app)
    assert found.reasons[0].kind is Kind.OWN_CHILDREN
    assert f"({watching.workflow_id!r} for {later.workflow_id!r})" in found.sentence


def test_a_partition_that_waits_for_itself_is_named(
    app: App, family: Family, launched: Launch
) -> None:
    """It keeps its place whatever the queue gives back; another key's is told to wait only."""
    queue = app.queue("mail", partition_queue=True, release_while_waiting=True)
    launched()
    parent = queue.options(queue_partition_key="a").enqueue(family.parent, "mail", key="a")
    wait_until(lambda: "stands still" in why(app).sentence, what="it stands still")
    assert why(app).sentence == (
        f"1 waits; partition 'a': 1 of 1 running: workflow {parent.workflow_id!r}, which waits for others of "
        "this partition, so it stands still: raise partition_concurrency, or give those that are waited for "
        "another key or a queue of their own"
    )
    app.cancel_workflow(parent.workflow_id)
    with towpath.SetEnqueueOptions(queue_partition_key="b"):
        asking, behind = queue.enqueue(family.ask, "go"), queue.enqueue(family.child)
    waits(app, asking)
    said = f"workflow {asking.workflow_id!r}, which waits and keeps its place"
    assert said in why_workflow(app, behind).sentence


@pytest.mark.usefixtures("sleepy")
def test_places_that_are_given_back_are_not_counted(
    app: App, family: Family, launched: Launch
) -> None:
    """More sleep than there are places; the next one starts."""
    queue = app.queue("mail", concurrency=1, release_while_waiting=True)
    launched()
    for _ in range(3):
        queue.enqueue(family.ask, "go")
    sleeps(app, 3)
    assert why(app).sentence == "nothing waits; 3 are asleep"
    info = numbers(app)
    assert (info.running, info.sleeping, info.places_taken, info.concurrency) == (0, 3, 0, 1)
    assert info.release_while_waiting
    assert queue.enqueue(family.child).get_result(timeout=20) == 1


@pytest.mark.usefixtures("sleepy")
def test_places_that_are_kept_are_counted(app: App, family: Family, launched: Launch) -> None:
    """Nothing runs, and nothing can start: the numbers show why."""
    queue = app.queue("mail", concurrency=2)
    launched()
    for _ in range(3):
        queue.enqueue(family.ask, "go")
    sleeps(app, 2)
    info = numbers(app)
    assert (info.running, info.sleeping, info.places_taken, info.waiting) == (0, 2, 2, 1)
    assert why(app).sentence == "1 waits; concurrency: 2 of 2 places are taken: 2 are asleep"


def test_a_workflow_that_waits_in_memory_takes_no_slot(
    app: App, family: Family, launched: Launch
) -> None:
    """The worker's slots are not what the next one waits for."""
    queue = app.queue("mail", concurrency=2)
    launched(slots=1)
    asking = [queue.enqueue(family.ask, "go") for _ in range(2)]
    waits(app, *asking)
    queue.enqueue(family.child)
    assert [r.kind for r in why(app).reasons] == [Kind.CONCURRENCY]


# -- what does a workflow wait for


@pytest.mark.parametrize("asleep", [False, True], ids=["in memory", "asleep"])
def test_each_way_to_wait_is_said(
    app: App, family: Family, launched: Launch, request: pytest.FixtureRequest, *, asleep: bool
) -> None:
    """For what, of whom, until when, and whether a worker has it in memory."""
    if asleep:
        request.getfixturevalue("sleepy")
    queue = app.queue("mail")
    launched()
    asking = queue.options(workflow_id="asking").enqueue(family.ask, "release")
    said = {
        asking: "waits for a message on topic 'release'",
        queue.enqueue(family.ask, ""): "waits for a message",
        queue.enqueue(family.nap): "sleeps",
        queue.enqueue(family.watch, "asking"): "waits for event 'paid' of workflow 'asking'",
        queue.enqueue(family.follow, "asking"): "waits for the end of workflow 'asking'",
    }
    waits(app, *said)
    if asleep:
        sleeps(app, len(said))
    for handle, sentence in said.items():
        found = why_workflow(app, handle)
        begins, ends = r"attempt 1 on worker '.+' ", ""
        if asleep:
            begins, ends = "it ", "; until then it is in no worker's memory"
        assert re.fullmatch(f"{begins}{re.escape(sentence)} {UNTIL}{ends}", found.sentence)
        (reason,) = found.reasons
        assert reason.seconds is not None
        assert 590 < reason.seconds <= 600


@pytest.mark.usefixtures("sleepy")
def test_a_wait_that_is_over_without_a_worker_is_told(
    app: App, family: Family, launched: Launch, client: Client
) -> None:
    """It would go on at once, and nobody is there; the queue says so though nothing is in line."""
    queue = app.queue("mail")
    worker = launched()
    handles = [queue.enqueue(family.ask, "go"), queue.enqueue(family.ask, "never")]
    sleeps(app, 2)
    worker.stop(drain=timedelta(0))
    client.send(handles[0].workflow_id, "now", "go")
    nobody = "no live worker serves queue 'mail'"
    assert why_workflow(client, handles[0]).sentence == f"its wait is over; {nobody}"
    assert why_workflow(client, handles[1]).sentence.endswith(f"memory; {nobody}")
    assert why(client).sentence == f"1 wait is over; {nobody}"


@pytest.mark.usefixtures("sleepy")
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "given back"])
def test_demand_counts_what_sleeps_as_nothing_and_what_wakes_as_waiting(
    app: App, family: Family, launched: Launch, client: Client, database_url: str, *, kept: bool
) -> None:
    """A pool may shrink to nothing while all sleep; a message, or the time, calls for a worker."""
    queue = app.queue("mail", concurrency=3, release_while_waiting=not kept)
    worker = launched()
    asking = queue.enqueue(family.ask, "go")
    for _ in range(2):
        queue.enqueue(family.nap)
    sleeps(app, 3)

    def counted() -> tuple[int, int, int, int]:
        found = demand(client)
        return found.running, found.waiting, found.awake, found.kept

    assert counted() == (0, 0, 0, 3 if kept else 0)
    worker.stop(drain=timedelta(0))
    client.send(asking.workflow_id, "now", "go")
    assert counted() == (0, 1, 1, 2 if kept else 0)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE towpath.wait SET due = now() WHERE kind = 'time'")
    assert counted() == (0, 3, 3, 0)
    client.enqueue("mail", "child")
    assert counted() == (0, 4, 3, 0)


# -- in which words and numbers do commands say it


@pytest.fixture
def commands(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the test's database in the environment."""
    monkeypatch.setenv("TOWPATH_DATABASE_URL", database_url)


@pytest.mark.usefixtures("commands", "sleepy")
def test_commands_show_what_a_sleeping_workflow_waits_for(
    app: App, family: Family, launched: Launch, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """In a line for people, in data for programs; with its deadline and the version that began it."""
    monkeypatch.setenv("TOWPATH_VERSION", "v1")
    queue = app.queue("mail", concurrency=1)
    launched()
    with towpath.SetWorkflowTimeout(7200):
        queue.options(workflow_id="asking").enqueue(family.watch, "other")
        queue.options(workflow_id="other").enqueue(family.child)
    sleeps(app, 1)
    said = "waits for event 'paid' of workflow 'other'"
    assert run(["workflow", "get", "asking"]) == 0
    shown = _fields(capsys)
    assert re.fullmatch(
        f"PENDING: it {said} {UNTIL}; until then it is in no worker's memory", shown["STATUS"]
    )
    assert (shown["VERSION"], shown["WORKER"]) == ("v1", "<none>")
    assert re.search(r"\(in (1h59m|2h00m)\)", shown["DEADLINE"])
    assert run(["workflow", "get", "asking", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (wait,) = found["waits"]
    until = datetime.fromisoformat(wait.pop("until"))
    assert timedelta(seconds=590) < until - datetime.now(UTC) <= timedelta(seconds=600)
    assert wait == {"kind": "event", "topic": "paid", "workflow_id": "other"}
    assert found["asleep"]
    assert re.fullmatch(f"{said} {UNTIL}", found["waits_for"])
    assert run(["workflow", "list", "-o", "wide"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[7:] == ["VERSION", "DEADLINE", "WAITS", "FOR"]
    asking, other = sorted(rows)
    assert header.index("WAITS FOR") == asking.index(said)
    assert other[header.index("WAITS FOR") :] == "<none>"
    assert run(["queue", "list"]) == 0
    cells = [line.split()[:6] for line in capsys.readouterr().out.splitlines()]
    assert cells[0] == ["NAME", "STATE", "RUNNING", "SLEEPING", "PLACES", "WAITING"]
    assert cells[1] == ["mail", "open", "0", "1", "1/1", "1"]
    assert run(["queue", "describe", "mail"]) == 0
    shown = _fields(capsys)
    assert (shown["RUNNING"], shown["SLEEPING"], shown["PLACES"]) == ("0", "1", "1/1")
    assert "stands still until the first gives up" in shown["WHY"]


def _fields(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    lines = capsys.readouterr().out.splitlines()
    return dict(line.split(maxsplit=1) for line in lines)


def test_a_workflow_that_runs_waits_for_nothing(app: App, family: Family, launched: Launch) -> None:
    """Neither does one that has ended, or one in line."""
    queue = app.queue("mail", concurrency=1)
    ended = queue.enqueue(family.child)
    launched()
    ended.get_result(timeout=20)
    asking = queue.enqueue(family.ask, "go")
    waits(app, asking)
    in_line = queue.enqueue(family.child)
    for handle in (ended, in_line):
        info = handle.get_status()
        assert (info.waits, info.waits_for, info.asleep) == ([], None, False)
    info = asking.get_status()
    assert [(w.kind, w.topic, w.workflow_id) for w in info.waits] == [("message", "go", None)]
    assert not info.asleep
    assert info.worker is not None
    app.send(asking.workflow_id, "now", "go")
    assert asking.get_result(timeout=20) == "now"
    assert asking.get_status().waits_for is None


@pytest.mark.usefixtures("commands")
def test_workers_are_listed_with_what_they_run(
    app: App,
    family: Family,
    launched: Launch,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A workflow that waits takes no slot; a worker whose lease has run out is dead."""
    assert run(["worker", "list"]) == 0
    assert "no workers in schema 'towpath'" in capsys.readouterr().err
    queue = app.queue("mail")
    worker = launched(slots=3)
    asking = queue.enqueue(family.ask, "go")
    waits(app, asking)
    with psycopg.connect(database_url) as connection:
        connection.execute(DEAD_WORKER)
    assert run(["worker", "list"]) == 0
    header, live, dead = capsys.readouterr().out.splitlines()
    columns = ["NAME", "STATE", "SLOTS", "RUNNING", "VERSION", "QUEUES", "AGE", "POOL"]
    assert header.split() == columns
    assert dead.split()[1:6] == ["dead", "0/10", "0", "v1", "mail,bulk"]
    assert live.split()[1:6] == ["live", "0/3", "1", "<none>", "mail"]
    assert run(["worker", "list", "-o", "json"]) == 0
    shown, _ = json.loads(capsys.readouterr().out)
    assert (shown["running"], shown["slots_taken"], shown["slots"]) == (1, 0, 3)
    assert sorted(shown["workflow_names"]) == ["ask", "child", "follow", "nap", "parent", "watch"]
    assert worker.ready


DEAD_WORKER = """
INSERT INTO towpath.worker (
    name, version, library, queues, names, max_recoveries, slots, started_at, lease_until)
OVERRIDING SYSTEM VALUE
VALUES ('w', 'v1', '0', '{mail,bulk}', '{}', '{}', 10, now(), now() - interval '1 s')
"""


# -- what does it cost


SLEEPERS = """
WITH written AS (
    INSERT INTO towpath.workflow (secret, created_at, queue, name, codec, input)
    SELECT n, now(), 'mail', 'ask', 'json', '' FROM generate_series(1, %(count)s::int) AS n
    RETURNING seq
), placed AS (
    INSERT INTO towpath.running (seq, worker, rank, line, started_at, attempt, recoveries, queue)
    SELECT w.seq, 0, 0, w.seq, now(), 1, 0, 'mail' FROM written w
)
INSERT INTO towpath.wait (seq, position, verb, kind, target, topic, due, asleep, queue, name, version)
SELECT w.seq, '1', 'towpath.recv', 'message', w.seq, 'go', now() + w.seq * interval '1 h', true, 'mail', 'ask', ''
FROM written w
"""


@pytest.mark.parametrize(
    "settings",
    [QueueSettings(), QueueSettings(concurrency=10, release_while_waiting=True)],
    ids=["kept", "given back"],
)
@pytest.mark.parametrize("statement", ["observe", "list_queues", "queue_demand"])
def test_what_sleeps_costs_a_look_nothing(
    app: App, database_url: str, statement: str, settings: QueueSettings
) -> None:
    """Of a hundred thousand that sleep as much is read as of twenty thousand, or as a limit asks for."""
    text = app.engine.statements[statement]
    app.engine.run(lambda s: queues.declare(s, app.engine.statements, QueueName("mail"), settings))
    read = []
    with psycopg.connect(database_url, autocommit=True) as connection:
        for count in (20_000, 80_000):
            connection.execute(SLEEPERS, {"count": count})
            connection.execute("VACUUM ANALYZE")
            read.append(_pages(connection, text))
    assert read[1] <= read[0] * 1.2 + 10, read


def _pages(connection: psycopg.Connection[Any], statement: bytes) -> int:
    """Count the pages that it reads."""
    row = connection.execute(
        b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement,
        {"queue": "mail", "seq": None, "queues": ["mail"]},
    ).fetchone()
    assert row is not None
    plan = row[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
