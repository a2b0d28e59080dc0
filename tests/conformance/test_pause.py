"""Pause: nothing starts, enqueue goes on. Close: enqueue is refused, what waits goes on."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from towpath import App, Client, Queue, Workflow, WorkflowHandle
from towpath.cli.main import run
from towpath.domain.ids import QueueName
from towpath.errors import QueueClosedError
from towpath.executor import dispatcher
from towpath.store import queues

Launch = Callable[..., towpath.Worker]
MAIL = QueueName("mail")
NEVER = 3600.0
"""A polling interval that no test lives to see: what happens in time was told, not polled."""


def set_paused(app: App, *, paused: bool) -> None:
    """Pause or resume `mail`."""
    statements = app.engine.statements
    app.engine.run(lambda s: queues.set_paused(s, statements, MAIL, paused=paused))


def set_closed(app: App, *, closed: bool) -> None:
    """Close or open `mail`."""
    statements = app.engine.statements
    app.engine.run(lambda s: queues.set_closed(s, statements, MAIL, closed=closed))


@pytest.fixture
def look(database_url: str) -> Iterator[Callable[[str], list[Any]]]:
    """Return a function that reads one column."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield lambda statement: [row[0] for row in connection.execute(statement.encode())]


class Turns:
    """Another queue of the same worker: each call is some of its turns, in which it could claim."""

    def __init__(self, app: App) -> None:
        self._queue = app.queue("turns", concurrency=1, polling_interval_sec=NEVER)

        @app.workflow(name="turn")
        def turn() -> None: ...

        self._turn = turn

    def take(self, count: int = 20) -> None:
        """Let the worker claim, run and complete."""
        for _ in range(count):
            self._queue.enqueue(self._turn).get_result(timeout=20)


@pytest.mark.parametrize(
    "settings",
    [{}, {"concurrency": 1}, {"limiter": {"limit": 1000, "period": 1}}, {"partition_queue": True}],
    ids=lambda s: next(iter(s), "free"),
)
def test_nothing_starts_until_it_is_resumed(
    app: App, launched: Launch, settings: dict[str, Any]
) -> None:
    """A place comes free and workflows are enqueued, and none begins; resume is felt without a poll."""
    queue = app.queue("mail", polling_interval_sec=NEVER, **settings)
    turns = Turns(app)
    events: list[str] = []
    let_go = threading.Event()

    @app.workflow(name="hold")
    def hold(name: str) -> None:
        events.append(name)
        assert let_go.wait(30)

    def enqueue(name: str) -> WorkflowHandle[None]:
        keyed = queue.options(queue_partition_key="k") if "partition_queue" in settings else queue
        return keyed.enqueue(hold, name)

    launched(slots=2)
    first = enqueue("first")
    wait_until(lambda: events == ["first"], what="the first runs")
    set_paused(app, paused=True)
    rest = [enqueue(f"paused {n}") for n in range(3)]
    let_go.set()
    first.get_result(timeout=20)
    turns.take()
    assert events == ["first"]
    assert {handle.get_status().status for handle in rest} == {"ENQUEUED"}
    events.append("resumed")
    set_paused(app, paused=False)
    for handle in rest:
        handle.get_result(timeout=20)
    assert events[:2] == ["first", "resumed"]
    assert sorted(events[2:]) == ["paused 0", "paused 1", "paused 2"]


def test_a_paused_queue_of_a_new_worker_is_not_looked_at(app: App, launched: Launch) -> None:
    """The pause is in Postgres, not in a worker's memory."""
    queue = app.queue("mail", polling_interval_sec=NEVER)
    turns = Turns(app)

    @app.workflow(name="quick")
    def quick() -> None: ...

    handle = queue.enqueue(quick)
    set_paused(app, paused=True)
    launched()
    turns.take()
    assert handle.get_status().status == "ENQUEUED"
    set_paused(app, paused=False)
    handle.get_result(timeout=20)


def test_a_delayed_workflow_comes_due_while_paused(app: App, launched: Launch) -> None:
    """It begins at resume, and not before."""
    queue = app.queue("mail", polling_interval_sec=NEVER)
    turns = Turns(app)

    @app.workflow(name="quick")
    def quick() -> None: ...

    launched()
    set_paused(app, paused=True)
    handle = queue.options(delay_seconds=0.01).enqueue(quick)
    turns.take()
    assert handle.get_status().status in {"DELAYED", "ENQUEUED"}
    set_paused(app, paused=False)
    handle.get_result(timeout=20)


def test_under_load_nothing_is_claimed_after_pause(
    app: App, launched: Launch, look: Callable[[str], list[Any]]
) -> None:
    """Nothing is claimed after pause has returned, and what waits was not begun; each runs once in the end."""
    queue = app.queue("mail", polling_interval_sec=NEVER)
    turns = Turns(app)
    begun: Counter[int] = Counter()

    @app.workflow(name="quick")
    async def quick(number: int) -> None:
        begun[number] += 1

    launched(slots=4)
    total = 4000
    handles = [h for h, _ in queue.enqueue_many(quick, [(n,) for n in range(total)])]
    for goal in (100, 1200, 2400):
        wait_until(lambda goal=goal: len(begun) >= goal, what="some have begun")  # type: ignore[misc]
        set_paused(app, paused=True)
        taken = set(
            look("SELECT seq FROM towpath.running UNION ALL SELECT seq FROM towpath.result")
        )
        wait_until(
            lambda: look("SELECT count(*) FROM towpath.running WHERE queue = 'mail'") == [0],
            what="nothing runs",
        )
        ended = set(look("SELECT r.seq FROM towpath.result r"))
        waiting = look(
            "SELECT input::json -> 'args' ->> 0 FROM towpath.ready JOIN towpath.workflow USING (seq)"
        )
        assert ended <= taken
        assert waiting
        assert not {int(number) for number in waiting} & set(begun)
        assert look("SELECT max(recoveries) FROM towpath.ready") == [0]
        turns.take(3)
        assert len(waiting) == look("SELECT count(*) FROM towpath.ready WHERE queue = 'mail'")[0]
        set_paused(app, paused=False)
    handles[-1].get_result(timeout=60)
    wait_until(lambda: len(begun) == total, what="all have run")
    assert set(begun.values()) == {1}


def test_what_was_claimed_ahead_goes_back_at_once(
    app: App, launched: Launch, look: Callable[[str], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing else would send it back: it was not begun, and counts no recovery."""
    monkeypatch.setattr(dispatcher, "PATIENCE_SECONDS", NEVER)
    queue = app.queue("mail", polling_interval_sec=NEVER)
    begun: Counter[int] = Counter()
    held: set[int] = set()
    gate = threading.Event()

    @app.workflow(name="quick")
    def quick(number: int) -> None:
        begun[number] += 1
        held.add(number)
        assert gate.wait(60)
        held.discard(number)

    total, slots = 6000, 4
    queue.enqueue_many(quick, [(n,) for n in range(total)])
    launched(slots=slots)
    ahead = 0
    while not ahead:
        goal = len(begun) + 100
        gate.set()
        wait_until(lambda goal=goal: len(begun) >= goal, what="some have begun")  # type: ignore[misc]
        gate.clear()
        wait_until(lambda: len(held) == slots, what="the slots are taken")
        ahead = look("SELECT count(*) FROM towpath.running")[0] - slots
    set_paused(app, paused=True)
    wait_until(
        lambda: look("SELECT count(*) FROM towpath.running") == [slots], what="the rest went back"
    )
    assert len(held) == slots
    assert look("SELECT recoveries FROM towpath.ready WHERE attempt > 0") == [0] * ahead
    gate.set()
    set_paused(app, paused=False)
    wait_until(lambda: len(begun) == total, seconds=60, what="all have run")
    assert set(begun.values()) == {1}


def refused(call: Callable[[], object]) -> QueueClosedError:
    """Return the error of an enqueue that a closed queue refuses."""
    with pytest.raises(QueueClosedError) as raised:
        call()
    assert raised.value.queue_name == MAIL
    return raised.value


def ways_in(queue: Queue, quick: Workflow[[], None], client: Client) -> list[Callable[[], object]]:
    """Return the ways to enqueue by Python."""
    return [
        lambda: queue.enqueue(quick),
        lambda: queue.options(delay_seconds=5).enqueue(quick),
        lambda: queue.options(workflow_id="before").enqueue(quick),
        lambda: queue.enqueue_many(quick, [(), ()]),
        lambda: client.enqueue(MAIL, "quick"),
    ]


def test_a_closed_queue_refuses_in_the_same_words_everywhere(
    app: App, launched: Launch, database_url: str, look: Callable[[str], list[Any]]
) -> None:
    """Python, Client and SQL; what waited before it was closed runs, and open takes again."""
    queue = app.queue("mail")

    @app.workflow(name="quick")
    def quick() -> None: ...

    before = queue.options(workflow_id="before").enqueue(quick)
    set_closed(app, closed=True)
    with Client(database_url) as client:
        said = {str(refused(call)) for call in ways_in(queue, quick, client)}
        with pytest.raises(psycopg.Error) as raised:
            look("SELECT towpath.enqueue('mail', 'quick')")
        diagnostics = raised.value.diag
        said.add(f"{diagnostics.message_primary} {diagnostics.message_hint}")
        assert said == {
            "queue 'mail' is closed: it takes no new workflows. Try: towpath queue open mail"
        }
        assert look("SELECT count(*) FROM towpath.workflow") == [1]
        launched()
        before.get_result(timeout=20)
        set_closed(app, closed=False)
        for call in ways_in(queue, quick, client):
            call()
    look("SELECT towpath.enqueue('mail', 'quick')")
    assert look("SELECT count(*) FROM towpath.workflow") == [7]


def test_a_worker_declares_a_closed_and_paused_queue_and_leaves_it_so(
    app: App, launched: Launch, look: Callable[[str], list[Any]]
) -> None:
    """Code declares limits; whether the queue is open is not its business."""
    app.queue("mail", concurrency=3)
    app.engine.run(lambda s: queues.declare(s, app.engine.statements, MAIL, None))
    set_paused(app, paused=True)
    set_closed(app, closed=True)
    launched()
    wait_until(
        lambda: look("SELECT concurrency_global FROM towpath.queue WHERE name = 'mail'") == [3],
        what="the worker has declared",
    )
    assert look("SELECT paused AND closed FROM towpath.queue WHERE name = 'mail'") == [True]


def test_the_commands_change_what_the_list_shows(
    app: App, database_url: str, look: Callable[[str], list[Any]],
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Each says what it did on stderr; twice is as good as once."""
    monkeypatch.setenv("TOWPATH_DATABASE_URL", database_url)
    app.engine.run(lambda s: queues.declare(s, app.engine.statements, MAIL, None))
    states = []
    for verb in ("pause", "pause", "close", "resume", "open"):
        assert run(["queue", verb, "mail"]) == 0
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("queue 'mail' is ")
        assert run(["queue", "list"]) == 0
        states.append(capsys.readouterr().out.splitlines()[1].split()[1])
    assert states == ["paused", "paused", "paused,closed", "closed", "open"]
    look(
        "UPDATE towpath.queue SET owner_cluster = 'c', owner_namespace = 'shop', owner_name = 'q',"
        " owner_uid = 'u' WHERE name = 'mail' RETURNING name"
    )
    assert run(["queue", "pause", "mail"]) == 0
    hint = capsys.readouterr().err.splitlines()[0]
    assert hint.startswith("note: the manifest shop/q declares this queue;")
    assert '\'{"spec":{"paused":true}}\'' in hint
