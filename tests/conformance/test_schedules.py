"""Cron schedules through the public API, over a clock that the test moves."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from towpath import App, Client, ScheduleInfo, Workflow
from towpath.cli.main import run
from towpath.errors import (
    ConfigurationError,
    DuplicateNameError,
    QueueClosedError,
    ScheduleDeclarationError,
    ScheduleDeclaredError,
    ScheduleNotFoundError,
    UsageError,
    ValueNotEncodableError,
)
from towpath.executor.maintenance.schedules import (
    LONGEST_REST_SECONDS,
    ScheduleFiring,
    make_ticks,
)
from towpath.store import schedules

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Clock:
    """The database's clock, which stands still until it is moved, and whoever looks at it."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute("CREATE TABLE towpath.hand (now timestamptz)")
        self._connection.execute("INSERT INTO towpath.hand VALUES (%s)", (NOON,))
        self._connection.execute(
            "CREATE OR REPLACE FUNCTION towpath.clock() RETURNS timestamptz LANGUAGE sql VOLATILE "
            "AS 'SELECT now FROM towpath.hand'"
        )
        self.workers: list[towpath.Worker] = []

    def move(self, to: datetime) -> None:
        """Move it, and let every worker look."""
        self._connection.execute("UPDATE towpath.hand SET now = %s", (to,))
        for worker in self.workers:
            firing(worker).call()

    def rows(self, query: str) -> list[Any]:
        """Return the first column of a query."""
        return [row[0] for row in self._connection.execute(query.encode()).fetchall()]

    def fired(self) -> list[str]:
        """Return the ids of the ticks that have fired, in order."""
        return self.rows("SELECT id FROM towpath.workflow WHERE id LIKE 'schedule-%' ORDER BY seq")

    def close(self) -> None:
        """Close its connection."""
        self._connection.close()


def firing(worker: towpath.Worker) -> ScheduleFiring:
    """Return the service that fires schedules."""
    (found,) = [s for s in worker.services if isinstance(s, ScheduleFiring)]
    return found


@pytest.fixture
def clock(database_url: str) -> Iterator[Clock]:
    """Return a clock at noon."""
    made = Clock(database_url)
    yield made
    made.close()


class Process:
    """An App that stands for a process: a schedule of its own, launched and shut down.

    Attributes:
        ran: The ticks that its workflow was called with, over all processes that share the list.
    """

    def __init__(
        self, url: str, clock: Clock, ran: list[datetime] | None = None, **options: Any
    ) -> None:
        self.app = App(database_url=url)
        self.ran: list[datetime] = [] if ran is None else ran
        self._clock = clock

        @self.app.schedule(options.pop("cron", "* * * * *"), **options)
        @self.app.workflow(name="report")
        def report(tick: datetime) -> None:
            self.ran.append(tick)

        self.report = report

    def launch(self) -> Process:
        """Serve, and return once the schedule is declared."""
        worker = self.app.launch(slots=20)
        assert worker.wait_until_ready(20)
        self._clock.workers.append(worker)
        wait_until(lambda: worker.worker_id in self._declarers(), what="declared")
        return self

    def _declarers(self) -> list[int]:
        return self._clock.rows("SELECT worker FROM towpath.schedule_declaration")

    def shutdown(self) -> None:
        """Stop to serve."""
        self.app.shutdown(drain=0)


@pytest.fixture
def process(database_url: str, clock: Clock) -> Iterator[Callable[..., Process]]:
    """Return a function that makes a process."""
    made: list[Process] = []

    def make(**options: Any) -> Process:
        made.append(Process(database_url, clock, **options))
        return made[-1]

    yield make
    for one in made:
        one.shutdown()


def id_at(moment: datetime, name: str = "report") -> str:
    return f"schedule-{name}-{moment:%Y-%m-%dT%H:%M:%SZ}"


def the_schedule(app: App | Client) -> ScheduleInfo:
    (info,) = app.list_schedules()
    return info


def test_eight_workers_fire_every_tick_exactly_once(
    process: Callable[..., Process], clock: Clock
) -> None:
    """Whatever the clock does: to a tick, between two, over one, and over many at once."""
    ran: list[datetime] = []
    processes = [process(ran=ran) for _ in range(8)]
    threads = [threading.Thread(target=p.launch) for p in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    due: list[datetime] = []
    for minutes in (1.0, 1.5, 2.0, 2.9, 3.1, 10.0, 11.0, 250.5, 251.0):
        moment = NOON + minutes * MINUTE
        while (following := NOON + (len(due) + 1) * MINUTE) <= moment:
            due.append(following)
        clock.move(moment)
        wait_until(lambda: len(ran) == len(due), what=f"{len(due)} runs at {moment}")
    assert sorted(ran) == due
    assert clock.fired() == [id_at(moment) for moment in due]
    info = the_schedule(processes[0].app)
    assert (info.state, len(info.workers)) == ("active", 8)
    assert (info.last_tick, info.next_tick) == (due[-1], due[-1] + MINUTE)


def test_a_worker_looks_again_at_the_nearest_tick(
    process: Callable[..., Process], clock: Clock
) -> None:
    """By the database's clock, and every two seconds, since that one may be moved."""
    process().launch()
    (worker,) = clock.workers
    engine = worker._engine

    def rest() -> float:
        return engine.io.submit(firing(worker)._look()).result(10)

    clock.move(NOON + timedelta(seconds=59.75))
    assert rest() == pytest.approx(0.25)
    clock.move(NOON + timedelta(seconds=60.25))
    wait_until(lambda: clock.fired() == [id_at(NOON + MINUTE)])
    assert rest() == LONGEST_REST_SECONDS


def test_a_scheduled_workflow_gets_the_tick_and_arguments_and_is_a_workflow_still(
    app: App, clock: Clock, launched: Callable[..., towpath.Worker]
) -> None:
    """It may be called and enqueued; an async one is scheduled alike, on a queue of its own."""
    queue, seen = app.queue("reports", concurrency=1), []

    @app.schedule(
        "0 9 * * 1-5", timezone="Europe/Berlin", queue=queue, name="mornings", args=("de",)
    )
    @app.schedule("30 12 * * *", queue="other")
    @app.workflow(name="report")
    async def report(tick: datetime, language: str = "en") -> str:
        seen.append((tick, language))
        return language

    worker = launched()
    clock.workers.append(worker)
    wait_until(lambda: len(app.list_schedules()) == 2)
    wait_until(lambda: all(not info.orphaned for info in app.list_schedules()))
    assert "other" in worker.queues
    assert queue.enqueue(report, NOON, language="fr").get_result(timeout=10) == "fr"
    clock.move(NOON + timedelta(days=3))
    wait_until(lambda: len(seen) == 5)
    monday = datetime(2026, 5, 4, 7, tzinfo=UTC)
    half_past = [NOON + timedelta(days=d, minutes=30) for d in range(3)]
    assert sorted(seen) == sorted(
        [(NOON, "fr"), (monday, "de"), *((moment, "en") for moment in half_past)]
    )
    assert all(tick.utcoffset() == timedelta(0) for tick, _ in seen)
    assert app.retrieve_workflow(id_at(monday, "mornings")).get_result(timeout=10) == "de"
    queues = {info.name: info.queue_name for info in app.list_schedules()}
    assert queues == {"mornings": "reports", "report": "other"}


@pytest.mark.parametrize("backfill", [False, True])
def test_what_no_worker_looked_after_is_missed_or_backfilled(
    process: Callable[..., Process], clock: Clock, *, backfill: bool
) -> None:
    """Of a night without a worker nothing fires later, also not the newest, unless it backfills."""
    first = process(cron="0 * * * *", backfill=backfill).launch()
    clock.move(NOON + timedelta(hours=1))
    wait_until(lambda: len(first.ran) == 1)
    first.shutdown()
    clock.workers.clear()
    clock.move(NOON + timedelta(hours=4, minutes=30))
    second = process(cron="0 * * * *", backfill=backfill).launch()
    if backfill:
        wait_until(lambda: len(second.ran) == 3)
    clock.move(NOON + timedelta(hours=5))
    hours = [2, 3, 4, 5] if backfill else [5]
    wait_until(lambda: NOON + timedelta(hours=5) in second.ran)
    assert sorted(second.ran) == [NOON + timedelta(hours=h) for h in hours]


def test_a_worker_that_was_cut_off_missed_what_was_due_meanwhile(
    process: Callable[..., Process], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage beyond a lease is as if no worker had lived; a shorter one only delays a tick."""
    one = process().launch()
    with monkeypatch.context() as patch:
        patch.setattr("towpath.executor.maintenance.schedules.LAPSE_SECONDS", 0.0)
        clock.move(NOON + 3 * MINUTE)
        since = "SELECT since FROM towpath.schedule_declaration"
        wait_until(lambda: clock.rows(since) == [NOON + 3 * MINUTE])
    clock.move(NOON + 5 * MINUTE)
    wait_until(lambda: len(one.ran) == 2)
    assert sorted(one.ran) == [NOON + 4 * MINUTE, NOON + 5 * MINUTE]


def test_a_paused_schedule_fires_nothing_and_goes_on_from_its_resume(
    process: Callable[..., Process], clock: Clock
) -> None:
    """Also with backfill; a run out of turn is possible meanwhile."""
    one = process(backfill=True).launch()
    one.app.pause_schedule("report")
    one.app.pause_schedule("report")
    clock.move(NOON + 5 * MINUTE)
    info = the_schedule(one.app)
    assert (info.state, info.next_tick) == ("paused", None)
    asyncio.run(one.app.trigger_schedule_async("report")).workflow_id  # noqa: B018
    wait_until(lambda: one.ran == [NOON + 5 * MINUTE], what="the run out of turn")
    one.app.resume_schedule("report")
    clock.move(NOON + 6 * MINUTE)
    wait_until(lambda: len(one.ran) == 2)
    assert clock.fired() == [id_at(NOON + 6 * MINUTE)]


def test_no_tick_fires_once_pause_has_returned(
    process: Callable[..., Process], clock: Clock, database_url: str
) -> None:
    """A firing under way is waited for; one that was computed before the pause does not happen."""
    one = process().launch()
    (worker,) = clock.workers
    engine, worker_id = one.app.engine, worker.worker_id
    assert worker_id is not None  # in its name this test fires; the clock stands still
    _, (watched,) = engine.run(
        lambda s: schedules.look(s, engine.statements, worker_id, ["report"])
    )
    (tick,) = make_ticks(engine, watched.schedule, [NOON + MINUTE])
    fire = engine.statements["fire_schedule"]
    values = {
        "schedule": "report", "worker": worker_id, "revision": watched.schedule.revision,
        "after": NOON, "ticks": [tick.at], "ids": [tick.workflow_id], "inputs": [tick.input],
        "secrets": [tick.secret],
    }  # fmt: skip
    pausing = threading.Thread(target=one.app.pause_schedule, args=("report",))
    with psycopg.connect(database_url) as connection:
        assert [row[1] for row in connection.execute(fire, values)] == ["created"]
        pausing.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        wait_until(lambda: clock.rows(waiting) == [1], what="pause waits")
        assert pausing.is_alive()
    pausing.join(20)
    assert clock.fired() == [id_at(NOON + MINUTE)]

    one.app.resume_schedule("report")
    _, (watched,) = engine.run(
        lambda s: schedules.look(s, engine.statements, worker_id, ["report"])
    )
    ticks = make_ticks(engine, watched.schedule, [NOON + 2 * MINUTE])
    one.app.pause_schedule("report")
    assert (
        engine.run(
            lambda s: schedules.fire(s, engine.statements, worker_id, watched.schedule, ticks)
        )
        == []
    )
    assert clock.fired() == [id_at(NOON + MINUTE)]


def test_a_worker_whose_row_is_gone_fires_nothing(
    process: Callable[..., Process], clock: Clock
) -> None:
    """Its lease was ended; it registers anew, and only then goes on."""
    one = process().launch()
    (worker,) = clock.workers
    engine, gone = one.app.engine, worker.worker_id
    assert gone is not None
    _, (watched,) = engine.run(lambda s: schedules.look(s, engine.statements, gone, ["report"]))
    clock._connection.execute("DELETE FROM towpath.worker")
    assert clock.rows("SELECT worker FROM towpath.schedule_declaration") in ([], [worker.worker_id])
    ticks = make_ticks(engine, watched.schedule, [NOON + MINUTE])
    assert (
        engine.run(lambda s: schedules.fire(s, engine.statements, gone, watched.schedule, ticks))
        == []
    )
    wait_until(lambda: worker.worker_id not in (None, gone), what="registered anew")
    wait_until(lambda: worker.worker_id in one._declarers(), what="declared anew")
    clock.move(NOON + MINUTE)
    wait_until(lambda: one.ran == [NOON + MINUTE])


def test_an_orphan_is_shown_and_deleted_and_a_declared_one_is_not(
    process: Callable[..., Process], clock: Clock, database_url: str
) -> None:
    """Deleted while its worker seemed dead, it is declared anew."""
    one = process().launch()
    with pytest.raises(ScheduleDeclaredError, match="towpath schedule pause report") as caught:
        one.app.delete_schedule("report")
    assert len(caught.value.workers) == 1
    clock._connection.execute("DELETE FROM towpath.schedule")
    firing(clock.workers[0]).call()
    wait_until(lambda: [i.orphaned for i in one.app.list_schedules()] == [False])
    one.shutdown()
    with Client(database_url) as client:
        info = the_schedule(client)
        assert (info.state, info.workers, info.next_tick) == ("orphaned", (), None)
        clock.workers.clear()
        clock.move(NOON + MINUTE)
        assert clock.fired() == []
        client.delete_schedule("report")
        assert client.list_schedules() == []
        with pytest.raises(ScheduleNotFoundError, match="'report' was not found"):
            client.delete_schedule("report")


def test_of_processes_that_differ_the_last_launched_wins_and_says_in_what(
    process: Callable[..., Process], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Ticks of the new expression begin then; all workers fire what is in force."""
    ran: list[datetime] = []
    first = process(ran=ran, cron="0 * * * *").launch()
    clock.move(NOON + timedelta(minutes=30))
    caplog.set_level(logging.WARNING, "towpath.schedules")
    process(ran=ran, cron="*/20 * * * *", backfill=True).launch()
    (said,) = [r for r in caplog.records if "declared otherwise" in r.message]
    assert (said.schedule, said.fields) == ("report", ["cron", "backfill"])  # type: ignore[attr-defined]
    assert the_schedule(first.app).cron == "*/20 * * * *"
    clock.move(NOON + timedelta(hours=1))
    wait_until(lambda: len(ran) == 2)
    assert sorted(ran) == [NOON + timedelta(minutes=m) for m in (40, 60)]


def test_a_backfill_fires_each_tick_of_a_time_once(
    process: Callable[..., Process], clock: Clock, database_url: str
) -> None:
    """From a program without the code, as often as it is asked, up to now; in both faces."""
    one = process().launch()
    clock.move(NOON + 2 * MINUTE)
    wait_until(lambda: len(one.ran) == 2)
    with Client(database_url) as client:
        fired = client.backfill_schedule("report", NOON - 2 * MINUTE, NOON + 10 * MINUTE)
        moments = [NOON + m * MINUTE for m in range(-2, 3)]
        assert [handle.workflow_id for handle, _ in fired] == [id_at(m) for m in moments]
        assert [created for _, created in fired] == [True, True, True, False, False]
        for handle, _ in fired:
            handle.get_result(timeout=10)
        again = asyncio.run(client.backfill_schedule_async("report", moments[0], moments[3]))
        assert [(h.workflow_id, c) for h, c in again] == [(id_at(m), False) for m in moments[:3]]
        assert client.backfill_schedule("report", NOON, NOON) == []
    assert sorted(one.ran) == moments
    assert the_schedule(one.app).last_tick == NOON + 2 * MINUTE


def test_what_verbs_refuse(
    process: Callable[..., Process], clock: Clock, database_url: str
) -> None:
    """Each in its own words, with the next step."""
    one = process(queue="reports").launch()
    app, naive = one.app, datetime(2026, 1, 1)  # noqa: DTZ001
    refusals: list[tuple[type[Exception], Callable[[], object], str]] = [
        (ScheduleNotFoundError, lambda: app.pause_schedule("reprot"), "Did you mean 'report'"),
        (ScheduleNotFoundError, lambda: app.resume_schedule("a\0"), "towpath schedule list"),
        (ScheduleNotFoundError, lambda: app.trigger_schedule("other"), "was not found"),
        (ConfigurationError, lambda: app.backfill_schedule("report", naive, NOON), "start is date"),
        (
            ConfigurationError,
            lambda: app.backfill_schedule("report", NOON, naive),
            "end is datetime",
        ),
        (
            UsageError,
            lambda: app.backfill_schedule("report", NOON - timedelta(days=365), NOON),
            "more than 10000 ticks.*Backfill a shorter time",
        ),
    ]
    for kind, verb, words in refusals:
        with pytest.raises(kind, match=words):
            verb()
    clock._connection.execute("UPDATE towpath.queue SET closed = true WHERE name = 'reports'")
    with pytest.raises(QueueClosedError):
        app.trigger_schedule("report")
    with pytest.raises(QueueClosedError):
        app.backfill_schedule("report", NOON - MINUTE, NOON)
    clock._connection.execute("UPDATE towpath.schedule SET codec = 'other'")
    with (
        Client(database_url) as client,
        pytest.raises(UsageError, match="declared with codec 'other'"),
    ):
        client.trigger_schedule("report")
    assert one.ran == []


@pytest.mark.parametrize("backfill", [False, True])
def test_a_queue_that_takes_nothing_is_said_and_misses_ticks_or_keeps_them(
    process: Callable[..., Process],
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    *,
    backfill: bool,
) -> None:
    """A closed queue: its ticks are let go, or fire once it is open where the schedule backfills."""
    caplog.set_level(logging.WARNING, "towpath.schedules")
    one = process(queue="reports", backfill=backfill).launch()
    clock._connection.execute("UPDATE towpath.queue SET closed = true WHERE name = 'reports'")
    clock.move(NOON + MINUTE)
    wait_until(lambda: any("could not fire" in r.message for r in caplog.records))
    clock._connection.execute("UPDATE towpath.queue SET closed = false WHERE name = 'reports'")
    clock.move(NOON + 2 * MINUTE)
    wait_until(lambda: NOON + 2 * MINUTE in one.ran)
    assert sorted(one.ran) == [NOON + m * MINUTE for m in ([1, 2] if backfill else [2])]


def _declare(app: App, workflow: Workflow[..., Any], **options: Any) -> None:
    app.schedule(options.pop("cron", "* * * * *"), **options)(workflow)


def test_what_cannot_be_a_schedule_is_refused_when_it_is_declared(app: App) -> None:
    """With the field and the next step, before anything is launched."""

    @app.workflow(name="none")
    def none() -> None: ...

    @app.workflow(name="one")
    def one(tick: datetime) -> None: ...

    @app.workflow(name="two")
    def two(tick: datetime, language: str) -> None: ...

    app.queue("parts", partition_queue=True)
    plain: Any = lambda tick: tick  # noqa: E731
    refusals: list[tuple[type[Exception], Callable[[], None], str]] = [
        (
            ScheduleDeclarationError,
            lambda: _declare(app, none),
            "workflow is 'none'.*Change its par",
        ),
        (ScheduleDeclarationError, lambda: _declare(app, two), "missing a required argument"),
        (ScheduleDeclarationError, lambda: _declare(app, one, args=["x"]), "and 1 of args="),
        (ScheduleDeclarationError, lambda: _declare(app, one, cron="0 0 30 2 *"), "it never fires"),
        (
            ScheduleDeclarationError,
            lambda: _declare(app, one, timezone="Europe/Berln"),
            "Did you mean",
        ),
        (ScheduleDeclarationError, lambda: _declare(app, one, name=""), "name is ''"),
        (ScheduleDeclarationError, lambda: _declare(app, one, queue="parts"), "it is partitioned"),
        (ValueNotEncodableError, lambda: _declare(app, two, args=[object()]), "cannot be recorded"),
        (UsageError, lambda: _declare(app, plain), "above @towpath.workflow"),
    ]
    for kind, declare, words in refusals:
        with pytest.raises(kind, match=words):
            declare()
    assert app.registry.schedules() == []
    _declare(app, one)
    _declare(app, one)
    with pytest.raises(DuplicateNameError, match="schedule 'one' is registered twice"):
        _declare(app, one, cron="0 * * * *")
    with pytest.raises(DuplicateNameError):
        _declare(app, two, name="one", args=["de"])


def test_the_commands_about_schedules(
    process: Callable[..., Process],
    clock: Clock,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """List, pause, resume, trigger, backfill and delete; errors are one line with a code."""
    one = process().launch()
    assert clock.fired() == []
    at = ["--database-url", database_url]

    def said(*arguments: str, code: int = 0) -> str:
        assert run([*arguments, *at]) == code
        talk = capsys.readouterr()
        return talk.out if code == 0 else talk.err

    shown = said("schedule", "list").splitlines()[1].split("   ")
    due = "2026-05-01T12:01:00+00:00"
    assert [cell.strip() for cell in shown if cell] == [
        "report", "active", "* * * * *", "UTC", "report", "_towpath", "<none>", due, "1",
    ]  # fmt: skip
    said("schedule", "pause", "report")
    (listed,) = json.loads(said("schedule", "list", "-o", "json"))
    assert (listed["name"], listed["paused"], listed["orphaned"]) == ("report", True, False)
    said("schedule", "resume", "report")
    triggered = said("schedule", "trigger", "report").strip()
    one.app.retrieve_workflow(triggered).get_result(timeout=10)
    begin, end = "2026-05-01T13:58:00+02:00", "2026-05-01T12:00:00Z"
    fired = said("schedule", "backfill", "report", begin, end).split()
    assert fired == [id_at(NOON - 2 * MINUTE), id_at(NOON - MINUTE)]
    assert said("schedule", "backfill", "report", begin, end) == ""
    assert "START is 'noon'" in said("schedule", "backfill", "report", "noon", end, code=2)
    assert "towpath schedule pause report" in said("schedule", "delete", "report", code=4)
    assert "was not found" in said("schedule", "trigger", "nothing", code=3)
    one.shutdown()
    said("schedule", "delete", "report")
    assert json.loads(said("schedule", "list", "-o", "json")) == []
