"""Transactional steps take effect once: whatever is killed, frozen, cut off or overtaken, and when."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from tests.fixtures.gate import Gate
from tests.fixtures.lossy import Loss, LossyProxy
from tests.fixtures.workers import worker_processes
from towpath import App, Workflow
from towpath.errors import WorkflowInterrupted
from towpath.store.transactions import Isolation

Launch = Callable[..., towpath.Worker]
Own = psycopg.Connection[Any]
Act = Callable[[int, int], None]
"""What happens in a run of the function: its number, and its connection's process on the server."""


class OutOfStockError(Exception):
    """An application's own error."""


@pytest.fixture
def sql(database_url: str) -> Iterator[Own]:
    """Return a connection of the test's own, to the application's tables."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.sold (item text); CREATE SEQUENCE public.runs")
        yield connection


def sold(sql: Own) -> list[str]:
    """Return what was sold."""
    return [row[0] for row in sql.execute("SELECT item FROM sold").fetchall()]


def steps(sql: Own) -> list[tuple[str, bool]]:
    """Return position, and whether it failed, of every recorded step."""
    asked = "SELECT position, failure IS NOT NULL FROM towpath.step ORDER BY position"
    return sql.execute(asked).fetchall()


def nothing(_run: int, _pid: int) -> None:
    """Let it run."""


class Shop:
    """A workflow of one transaction, sync or async, whose runs are counted."""

    def __init__(
        self,
        app: App,
        *,
        url: str | None = None,
        isolation: Isolation = "READ COMMITTED",
        act: Act = nothing,
    ) -> None:
        self.runs = 0
        self.act = act
        self.told: BaseException | None = None

        @app.transaction(name="sell", database_url=url, isolation=isolation)
        def sell(connection: Own, item: str) -> int:
            connection.execute("INSERT INTO sold VALUES (%s)", (item,))
            self._run(connection.info.backend_pid)
            connection.execute("SELECT 1")
            return self.runs

        @app.transaction(name="asell", database_url=url, isolation=isolation)
        async def asell(connection: psycopg.AsyncConnection[Any], item: str) -> int:
            await connection.execute("INSERT INTO sold VALUES (%s)", (item,))
            self._run(connection.info.backend_pid)
            await connection.execute("SELECT 1")
            return self.runs

        @app.workflow(name="sync")
        def order() -> int:
            try:
                return sell("a")
            except BaseException as error:
                self.told = error
                raise

        @app.workflow(name="async")
        async def aorder() -> int:
            try:
                return await asell("a")
            except BaseException as error:
                self.told = error
                raise

        self.workflows: dict[str, Workflow[[], Any]] = {"sync": order, "async": aorder}

    def _run(self, pid: int) -> None:
        self.runs += 1
        self.act(self.runs, pid)


kinds = pytest.mark.parametrize("kind", ["sync", "async"])


def terminate(sql: Own, pid: int) -> None:
    """End a connection's process on the server, and wait until it is gone."""
    sql.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))


@kinds
def test_a_connection_that_dies_in_the_function_runs_it_again(
    app: App, launched: Launch, sql: Own, kind: str
) -> None:
    """Nothing of the first run stays."""

    def act(run: int, pid: int) -> None:
        if run < 3:
            terminate(sql, pid)

    shop = Shop(app, act=act)
    launched()
    assert app.start_workflow(shop.workflows[kind]).get_result(timeout=20) == 3
    assert (sold(sql), steps(sql)) == (["a"], [("1", False)])


@kinds
def test_a_connection_that_dies_in_the_commit_runs_it_again(
    app: App, launched: Launch, sql: Own, kind: str
) -> None:
    """The server ends it while it commits, before that is done."""
    sql.execute("""
        CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('runs') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER die AFTER INSERT ON sold DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION die()""")
    shop = Shop(app)
    launched()
    assert app.start_workflow(shop.workflows[kind]).get_result(timeout=20) == 2
    assert (sold(sql), steps(sql)) == (["a"], [("1", False)])


@kinds
@pytest.mark.parametrize(("loss", "runs"), [("before", 2), ("answered", 1)])
def test_a_connection_that_is_lost_around_the_commit_takes_effect_once(
    app: App, launched: Launch, sql: Own, database_url: str, kind: str, loss: Loss, runs: int
) -> None:
    """A commit whose answer is lost is found and not run again; one that never came is."""
    proxy = LossyProxy(database_url, loss)
    shop = Shop(app, url=proxy.url)
    launched()
    assert app.start_workflow(shop.workflows[kind]).get_result(timeout=20) == runs
    assert proxy.lost.is_set()
    assert (sold(sql), steps(sql)) == (["a"], [("1", False)])
    proxy.close()


@kinds
def test_a_commit_that_is_under_way_when_the_connection_is_lost_counts(
    app: App, launched: Launch, sql: Own, database_url: str, kind: str
) -> None:
    """The next run finds no record and waits at its own: once the first is there, it rolls back."""
    sql.execute("""
        CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('runs') = 1 THEN PERFORM pg_advisory_xact_lock(1); END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER hold AFTER INSERT ON towpath.step FOR EACH ROW EXECUTE FUNCTION hold()""")
    sql.execute("SELECT pg_advisory_lock(1)")
    proxy = LossyProxy(database_url, "sent")
    shop = Shop(app, url=proxy.url)
    launched()
    handle = app.start_workflow(shop.workflows[kind])

    def both_wait() -> bool:
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('advisory', 'transactionid')"
        return sql.execute(waits).fetchall() == [(2,)]

    wait_until(both_wait)
    assert (shop.runs, sold(sql)) == (2, [])
    sql.execute("SELECT pg_advisory_unlock(1)")
    assert handle.get_result(timeout=20) == 1
    assert (sold(sql), steps(sql)) == (["a"], [("1", False)])
    proxy.close()


def test_a_deferred_trigger_that_waits_holds_up_nobody(
    app: App, launched: Launch, sql: Own
) -> None:
    """It is fired before the place is locked: its workflow can be cancelled, and then commits nothing."""
    sql.execute("""
        CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM pg_advisory_xact_lock(1);
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON sold DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION hold()""")
    sql.execute("SELECT pg_advisory_lock(1)")
    shop = Shop(app)
    launched()
    handle = app.start_workflow(shop.workflows["sync"])
    waits = "SELECT FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
    wait_until(lambda: sql.execute(waits).rowcount == 1)
    app.cancel_workflow(handle.workflow_id)
    sql.execute("SELECT pg_advisory_unlock(1)")
    app.shutdown()
    assert isinstance(shop.told, WorkflowInterrupted)
    assert (shop.runs, sold(sql), steps(sql)) == (1, [], [])


@kinds
def test_a_failure_whose_record_is_cut_off_is_not_run_again(
    sql: Own, database_url: str, kind: str
) -> None:
    """What remains is to record it."""

    def act(_run: int, _pid: int) -> None:
        raise OutOfStockError("a")

    for loss in ("before", "answered"):
        again = App(database_url=database_url)
        proxy = LossyProxy(database_url, loss)
        shop = Shop(again, url=proxy.url, act=act)
        assert again.launch().wait_until_ready(20)
        with pytest.raises(OutOfStockError):
            again.start_workflow(shop.workflows[kind]).get_result(timeout=20)
        again.shutdown()
        proxy.close()
        assert (shop.runs, proxy.lost.is_set(), sold(sql)) == (1, True, [])
    assert steps(sql) == [("1", True)] * 2


def test_a_timeout_of_the_functions_own_is_its_failure(
    app: App, launched: Launch, sql: Own
) -> None:
    """It would end the same way each time."""
    runs: list[int] = []

    @app.transaction(name="slow")
    def slow(connection: Own) -> None:
        runs.append(1)
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = '20ms'")
        pid = connection.info.backend_pid
        there = "SELECT FROM pg_stat_activity WHERE pid = %s"
        wait_until(lambda: sql.execute(there, (pid,)).rowcount == 0)
        connection.execute("SELECT 1")

    @app.workflow(name="order")
    def order() -> None:
        slow()

    launched()
    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
        app.start_workflow(order).get_result(timeout=10)
    assert (runs, steps(sql)) == ([1], [("1", True)])


@kinds
def test_an_outage_in_the_function_is_survived(
    app: App, launched: Launch, sql: Own, database_url: str, kind: str
) -> None:
    """It is run again once the server is there."""
    gate = Gate(database_url)
    gate.open()
    shut = threading.Event()

    def act(run: int, _pid: int) -> None:
        if run == 1:
            gate.shut()
            shut.set()

    shop = Shop(app, url=gate.url, act=act)
    launched()
    handle = app.start_workflow(shop.workflows[kind])
    assert shut.wait(10)
    with pytest.raises(towpath.errors.ResultTimeoutError):
        handle.get_result(timeout=0.3)
    gate.open()
    assert handle.get_result(timeout=20) == 2
    assert sold(sql) == ["a"]
    gate.shut()


@kinds
@pytest.mark.parametrize("end", ["returns", "raises"])
@pytest.mark.parametrize("isolation", ["READ COMMITTED", "SERIALIZABLE"])
def test_an_attempt_that_was_overtaken_changes_nothing(
    app: App, launched: Launch, sql: Own, kind: str, isolation: Isolation, end: str
) -> None:
    """Whether its function returns or raises; it is told, and ends without an outcome."""

    def act(_run: int, _pid: int) -> None:
        # its place is not locked while the function runs
        sql.execute("SET lock_timeout = '2s'; UPDATE towpath.running SET attempt = attempt + 1")
        if end == "raises":
            raise OutOfStockError("a")

    shop = Shop(app, isolation=isolation, act=act)
    launched()
    app.start_workflow(shop.workflows[kind])
    wait_until(lambda: shop.runs == 1)
    app.shutdown()
    assert (shop.runs, sold(sql), steps(sql)) == (1, [], [])
    assert isinstance(shop.told, WorkflowInterrupted)
    assert sql.execute("SELECT count(*) FROM towpath.result").fetchone() == (0,)


SHOP = """
import os
import time
import towpath
from towpath import Queue

orders = Queue("orders")

@towpath.transaction()
def sell(connection, item):
    ((run,),) = connection.execute("SELECT nextval('runs')").fetchall()
    connection.execute("INSERT INTO sold VALUES (%s)", (item,))
    while run == 1 and not os.path.exists("go_on"):
        time.sleep(0.01)
    return run

@towpath.workflow()
def order(item):
    return sell(item)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_freezes_in_the_function_is_not_waited_for(
    database_url: str, sql: Own, tmp_path: Path, number: signal.Signals
) -> None:
    """Another one runs it; a frozen one that wakes up inside its open transaction commits nothing."""
    (tmp_path / "shop.py").write_text(SHOP)
    environ = {"TOWPATH_DATABASE_URL": database_url, "TOWPATH_LEASE_SECONDS": "1"}
    sql.execute(
        "INSERT INTO towpath.queue (name) VALUES ('orders'); INSERT INTO towpath.gate (queue) VALUES ('orders')"
    )

    def in_function() -> bool:
        return sql.execute("SELECT is_called FROM runs").fetchall() == [(True,)]

    def open_transactions() -> int:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
        return int(sql.execute(asked).fetchall()[0][0])

    with towpath.Client(database_url) as client:
        handle = client.enqueue("orders", "order", "a")
        with worker_processes(1, "shop", tmp_path, environ, tmp_path) as (first,):
            wait_until(in_function, seconds=60)
            first.kill(number)
            with worker_processes(1, "shop", tmp_path, environ, tmp_path):
                assert handle.get_result(timeout=60) == 2
            (tmp_path / "go_on").touch()
            if number is signal.SIGSTOP:
                assert open_transactions() == 1
                first.kill(signal.SIGCONT)
            wait_until(lambda: open_transactions() == 0)
    assert (sold(sql), steps(sql)) == (["a"], [("1", False)])
