"""What breaks inside the library is told to whoever waits; nothing waits for ever."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.fixtures.apps import wait_until
from towpath import App, Worker
from towpath.domain.ids import QueueName, Seq, WorkerId, WorkflowName
from towpath.domain.queue import UNLIMITED
from towpath.errors import TowpathError
from towpath.executor import dispatcher
from towpath.executor.group_commit import MAX_BATCH_CHARACTERS, GroupCommit, Key
from towpath.executor.heartbeat import Heartbeat
from towpath.executor.settings import WorkerSettings
from towpath.executor.wait_hub import WaitHub
from towpath.store.claims import Claimed, Turn, TurnResult
from towpath.store.connect import Endpoint, open_async
from towpath.store.queues import StoredSettings
from towpath.store.session import AsyncSession
from towpath.store.statements import Statements
from towpath.store.steps import NewStep
from towpath.store.waits import Look, Wait, WaitKind
from towpath.store.workers import QueueSight, Sight

SCHEMA = Statements("towpath")
MAIL = QueueName("mail")


def step(seq: int, output: str = "1") -> NewStep:
    """Return the record of a step."""
    return NewStep(Seq(seq), 1, "1", "charge", output, None, timedelta(0))


def wait(number: int) -> Wait:
    """Return the wait of a process outside of workflows for an end."""
    return Wait(
        seq=Seq(0), attempt=0, position=str(number), verb="", kind=WaitKind.END, target=Seq(7)
    )


async def ended(future: concurrent.futures.Future[bool | None]) -> bool | None:
    """Await a record, with a deadline."""
    async with asyncio.timeout(5):
        return await asyncio.wrap_future(future)


def test_a_step_that_is_refused_takes_none_with_it() -> None:
    """Neither those of its commit nor those behind it: each is written, or told of its own error."""

    async def run() -> None:
        under_way = asyncio.Event()

        async def write(steps: Sequence[NewStep]) -> dict[Key, bool]:
            await under_way.wait()
            if any(s.output == "refused" for s in steps):
                raise psycopg.DataError("refused")
            return {s.key: True for s in steps}

        recorder = GroupCommit[NewStep, bool](write, asyncio.get_running_loop)
        first = recorder.add(step(1))
        await asyncio.sleep(0)
        one, refused, other = (
            recorder.add(step(2)),
            recorder.add(step(3, "refused")),
            recorder.add(step(4)),
        )
        under_way.set()
        for future in (first, one, other):
            assert await ended(future)
        with pytest.raises(psycopg.DataError):
            await ended(refused)
        assert await ended(recorder.add(step(5)))

    asyncio.run(run())


def test_a_record_after_the_loop_has_ended_counts_as_not_written() -> None:
    """A step that outlives its worker is told so, whether it came before the end or after."""

    async def never(_: Sequence[NewStep]) -> dict[Key, bool]:
        await asyncio.Event().wait()
        return {}

    loop = asyncio.new_event_loop()
    recorder = GroupCommit[NewStep, bool](never, lambda: loop)
    under_way = recorder.add(step(1))
    loop.run_until_complete(asyncio.sleep(0.01))
    assert recorder._task is not None
    recorder._task.cancel()
    loop.run_until_complete(asyncio.wait([recorder._task]))
    loop.close()
    assert under_way.result(timeout=1) is None
    assert recorder.add(step(2)).result(timeout=1) is None


def test_a_commit_of_steps_stays_below_what_postgres_takes() -> None:
    """Large outputs are split over commits; one that is larger than the bound goes alone."""
    batches: list[list[int]] = []

    async def write(steps: Sequence[NewStep]) -> dict[Key, bool]:
        batches.append([s.seq for s in steps])
        return {s.key: True for s in steps}

    async def run() -> None:
        recorder = GroupCommit[NewStep, bool](write, asyncio.get_running_loop)
        half, whole = "x" * (MAX_BATCH_CHARACTERS // 2), "x" * (MAX_BATCH_CHARACTERS + 1)
        futures = [
            recorder.add(step(n, text)) for n, text in enumerate([half, half, "1", whole, "2"])
        ]
        assert all([await ended(future) for future in futures])

    asyncio.run(run())
    assert batches == [[0, 1], [2], [3], [4]]


def test_who_waits_for_a_result_is_told_that_it_cannot_be_asked_for() -> None:
    """And who comes after that is asked for anew."""

    async def run() -> None:
        answers: list[Exception | None] = [psycopg.errors.InsufficientPrivilege("no"), None]

        async def ask(asked: Sequence[Wait]) -> dict[Key, Look]:
            answer = answers.pop(0) if answers else None
            if answer is not None:
                raise answer
            return {w.key: Look(None, None, None) for w in asked}

        hub = WaitHub(ask, listens=True)
        waits = [asyncio.create_task(hub.wait(wait(n), None)) for n in range(3)]
        done = await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), 5)
        assert [type(d) for d in done] == [psycopg.errors.InsufficientPrivilege] * 3
        again = asyncio.create_task(hub.wait(wait(1), None))
        while answers:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        again.cancel()

    asyncio.run(run())


def test_a_dropped_table_hangs_no_caller(app: App, database_url: str) -> None:
    """A programming error of the schema reaches get_result, in threads and in async code alike."""
    queue = app.queue("email")

    @app.workflow(name="send")
    def send() -> None: ...

    handle = queue.enqueue(send)
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP TABLE towpath.result")
    with pytest.raises((psycopg.errors.UndefinedTable, TowpathError)):
        handle.get_result(timeout=20)


def test_a_server_that_only_reads_is_an_outage(
    app: App, launched: Callable[..., Worker], database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A standby, or a full disk: steps and turns are written once there is one that writes."""
    caplog.set_level(logging.INFO)
    queue = app.queue("email")
    begun, go_on = threading.Event(), threading.Event()

    @app.step(name="send")
    def send(mail: int) -> int:
        begun.set()
        assert go_on.wait(20)
        return mail

    @app.workflow(name="send_all")
    def send_all() -> int:
        return sum(send(mail) for mail in range(3))

    worker = launched()
    handle = queue.enqueue(send_all)
    assert begun.wait(20)
    with psycopg.connect(database_url, autocommit=True) as switch:
        name = psycopg.sql.Identifier(switch.info.dbname)
        for setting, heard in (("on", "database unreachable"), ("off", "database reachable again")):
            command = "ALTER DATABASE {} SET default_transaction_read_only = " + setting
            switch.execute("SET default_transaction_read_only = off")
            switch.execute(psycopg.sql.SQL(command).format(name))
            switch.execute(CUT_OFF)
            go_on.set()
            wait_until(lambda heard=heard: heard in caplog.messages)  # type: ignore[misc]
    assert handle.get_result(timeout=20) == 3
    assert worker.failure is None


CUT_OFF = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class CalledWorker:
    """What a heartbeat asks of its worker; `look` waits for the lock on the worker's row."""

    settings = WorkerSettings()
    statements_channel = SCHEMA.channel
    worker_id = WorkerId(1)
    shortest_poll = 1.0

    def __init__(self, look: Callable[[AsyncSession], Coroutine[Any, Any, Sight]]) -> None:
        self.look = look
        self.heard: list[str] = []

    async def saw(self, sight: Sight, session: AsyncSession) -> None:
        """Take what a poll saw."""

    def told(self, payload: str) -> bool:
        """Take a NOTIFY; nothing in it is news."""
        self.heard.append(payload)
        return False


def test_a_notify_during_the_poll_is_heard(database_url: str) -> None:
    """It arrives while the heartbeat's statement runs on the connection that listens."""

    async def run() -> None:
        polls = 0
        async with (
            await open_async(Endpoint.at(database_url)) as beats,
            await open_async(Endpoint.at(database_url)) as other,
        ):

            async def look(session: AsyncSession) -> Sight:
                nonlocal polls
                polls += 1
                if polls == 2:
                    await other.execute("SELECT pg_advisory_lock(1)")
                    polling = asyncio.create_task(
                        session.run((b"SELECT pg_advisory_xact_lock(1)", {}))
                    )
                    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
                    while (await (await other.execute(waits)).fetchone()) != (1,):  # noqa: ASYNC110
                        await asyncio.sleep(0.001)
                    await other.execute(f"SELECT pg_notify('{SCHEMA.channel}', 'mail')")
                    await other.execute("SELECT pg_advisory_unlock(1)")
                    await polling
                return Sight(alive=True, dead=False, fenced=False, queues=())

            worker = CalledWorker(look)
            heartbeat = Heartbeat(worker, beats, AsyncSession(beats))  # type: ignore[arg-type]
            beating = asyncio.create_task(heartbeat.run())
            async with asyncio.timeout(10):
                while not worker.heard:  # noqa: ASYNC110 - the fake has no signal
                    await asyncio.sleep(0.001)
            assert (worker.heard, polls) == (["mail"], 2)  # before the next poll
            beating.cancel()
            await asyncio.wait([beating])

    asyncio.run(run())


def test_what_was_claimed_under_a_lease_that_ended_is_not_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answer of a claim comes after the worker has learned that its row is gone."""

    async def run() -> None:
        answer: asyncio.Future[TurnResult] = asyncio.get_running_loop().create_future()

        async def take_turn(_: object, __: object, turn: Turn) -> TurnResult:
            return await answer if turn.claims else TurnResult()

        monkeypatch.setattr(dispatcher, "take_turn", take_turn)
        claimed: list[Claimed] = []
        reports = dispatcher.Reports(
            lambda rows, _: claimed.extend(rows), lambda _: None, lambda _: None, lambda _: None
        )
        turns = dispatcher.Dispatcher(SCHEMA, 10, lambda: [WorkflowName("send")], reports)
        sight = QueueSight(MAIL, 1, waiting=True, stray=False, due_seconds=None, awake=False)
        assert turns.queues.saw([sight]) == [MAIL]  # its settings are not known yet
        turns.configure(
            [StoredSettings(MAIL, 1, UNLIMITED, paused=False, closed=False, owner=None)]
        )
        turns.serve_as(WorkerId(1))
        running = asyncio.create_task(turns.run(None))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        assert turns.slots.free == 0
        turns.worker_id = None  # the heartbeat has heard
        late = Claimed(Seq(1), 1, "wf-1", MAIL, WorkflowName("send"), "json", "{}", (0, 1))  # type: ignore[arg-type]
        answer.set_result(TurnResult({MAIL: [late]}))
        await asyncio.sleep(0.01)
        assert (claimed, turns.slots.free) == ([], 10)
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(run())


def test_threads_and_connections_are_gone_after_shutdown(database_url: str) -> None:
    """Ten Apps after another leave no thread behind, whatever they did."""
    before = set(threading.enumerate())
    for _ in range(10):
        app = App(database_url=database_url)
        queue = app.queue("email")

        @app.workflow(name="sync")
        def sync() -> int:
            return 1

        @app.workflow(name="coroutine")
        async def coroutine() -> int:
            return sync.__wrapped__() + 1

        app.launch()
        assert [queue.enqueue(w).get_result(20) for w in (sync, coroutine)] == [1, 2]
        app.shutdown()
    wait_until(lambda: set(threading.enumerate()) <= before, what="threads end")
    with psycopg.connect(database_url, autocommit=True) as watch:
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        wait_until(lambda: watch.execute(others).fetchone() == (1,), what="connections end")
