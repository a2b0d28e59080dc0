"""Transactional steps: what a function writes through its connection and its record commit together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

import towpath
from tests.fixtures.apps import wait_until
from towpath import App, WorkflowStatus
from towpath.errors import (
    ConfigurationError,
    StepInsideTransactionError,
    SyncCallInAsyncError,
    TransactionAbortedError,
    TransactionDatabaseError,
    TransactionEndedError,
    ValueNotEncodableError,
)
from towpath.store.transactions import Isolation

Launch = Callable[..., towpath.Worker]
Own = psycopg.Connection[Any]
AsyncOwn = psycopg.AsyncConnection[Any]


class OutOfStockError(Exception):
    """An application's own error, with a field."""

    def __init__(self, item: str) -> None:
        super().__init__(f"{item} is out of stock")
        self.item = item


@pytest.fixture
def sql(database_url: str) -> Iterator[Own]:
    """Return a connection of the test's own, to the application's tables."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE public.sold (item text); CREATE TABLE public.counter (n int);"
            "INSERT INTO counter VALUES (0)"
        )
        yield connection


def sold(sql: Own) -> list[str]:
    """Return what was sold, in order."""
    return [row[0] for row in sql.execute("SELECT item FROM sold ORDER BY item").fetchall()]


def recorded(sql: Own) -> list[tuple[str, str, bool]]:
    """Return position, name and whether it failed, of every recorded step."""
    asked = "SELECT position, name, failure IS NOT NULL FROM towpath.step ORDER BY seq, position"
    return sql.execute(asked).fetchall()


def test_a_sync_transaction_commits_with_its_step(app: App, launched: Launch, sql: Own) -> None:
    """Callers omit the connection; the result is the function's."""

    @app.transaction(name="sell")
    def sell(connection: Own, item: str, *, twice: bool = False) -> dict[str, int]:
        connection.execute("INSERT INTO sold VALUES (%s)", (item,))
        if twice:
            connection.execute("INSERT INTO sold VALUES (%s)", (item,))
        row = connection.execute("SELECT count(*) FROM sold").fetchone()
        assert row is not None
        return {"sold": row[0]}

    @app.workflow(name="order")
    def order() -> list[dict[str, int]]:
        return [sell("a"), sell("b", twice=True)]

    launched()
    assert app.start_workflow(order).get_result(timeout=10) == [{"sold": 1}, {"sold": 3}]
    assert sold(sql) == ["a", "b", "b"]
    assert recorded(sql) == [("1", "sell", False), ("2", "sell", False)]


def test_an_async_transaction_commits_with_its_step(app: App, launched: Launch, sql: Own) -> None:
    """Branches of one workflow have a connection each."""

    @app.transaction(name="sell")
    async def sell(connection: AsyncOwn, item: str) -> str:
        await connection.execute("INSERT INTO sold VALUES (%s)", (item,))
        return item

    @app.workflow(name="order")
    async def order() -> list[str]:
        return list(await asyncio.gather(*(sell(item) for item in "abcdefgh")))

    launched()
    assert app.start_workflow(order).get_result(timeout=10) == list("abcdefgh")
    assert sold(sql) == list("abcdefgh")


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_the_isolation_is_what_was_asked(app: App, launched: Launch, isolation: Isolation) -> None:
    """In a workflow and outside, sync and async."""

    @app.transaction(isolation=isolation, name="ask")
    def ask(connection: Own) -> str:
        return str(connection.execute("SHOW transaction_isolation").fetchall()[0][0])

    @app.transaction(isolation=isolation, name="aask")
    async def aask(connection: AsyncOwn) -> str:
        return str(
            (await (await connection.execute("SHOW transaction_isolation")).fetchall())[0][0]
        )

    @app.workflow(name="both")
    async def both() -> list[str]:
        return [await aask(), await asyncio.to_thread(ask)]

    launched()
    found = [*app.start_workflow(both).get_result(timeout=10), ask(), asyncio.run(aask())]
    assert found == [isolation.lower()] * 4


def test_an_error_rolls_back_and_is_replayed(app: App, launched: Launch, sql: Own) -> None:
    """Nothing of the function stays; another attempt gets the same error without another run."""
    runs: list[str] = []
    entered, go_on = threading.Event(), threading.Event()

    @app.transaction(name="sell")
    def sell(connection: Own, item: str) -> None:
        runs.append(item)
        connection.execute("INSERT INTO sold VALUES (%s)", (item,))
        raise OutOfStockError(item)

    @app.step(name="note")
    def note(text: str) -> str:
        return text

    @app.workflow(name="order")
    def order() -> str:
        try:
            sell("a")
        except OutOfStockError as error:
            entered.set()
            assert go_on.wait(20)
            return note(f"{error.item}: {error}")
        return "sold"

    launched()
    handle = app.start_workflow(order)
    assert entered.wait(10)
    stopping = threading.Thread(target=app.shutdown, kwargs={"drain": 0})
    stopping.start()  # it hands the workflow back at its next step
    go_on.set()
    stopping.join(20)
    launched()
    assert handle.get_result(timeout=10) == "a: a is out of stock"
    assert (runs, sold(sql)) == (["a"], [])
    assert recorded(sql) == [("1", "sell", True), ("2", "note", False)]


def test_a_result_that_cannot_be_recorded_commits_nothing(
    app: App, launched: Launch, sql: Own
) -> None:
    """The value is encoded before the commit."""

    @app.transaction(name="sell")
    def sell(connection: Own) -> object:
        connection.execute("INSERT INTO sold VALUES ('a')")
        return connection

    @app.workflow(name="order")
    def order() -> None:
        sell()

    launched()
    with pytest.raises(ValueNotEncodableError):
        app.start_workflow(order).get_result(timeout=10)
    assert sold(sql) == []


def test_what_postgres_refuses_at_commit_is_the_steps_failure(
    app: App, launched: Launch, sql: Own
) -> None:
    """A deferred constraint is looked at last of all."""
    sql.execute("CREATE TABLE once (item text UNIQUE DEFERRABLE INITIALLY DEFERRED)")

    @app.transaction(name="sell")
    def sell(connection: Own) -> None:
        connection.execute("INSERT INTO once VALUES ('a'), ('a')")

    @app.workflow(name="order")
    def order() -> str:
        try:
            sell()
        except psycopg.errors.UniqueViolation:
            return "refused"
        return "sold"

    launched()
    assert app.start_workflow(order).get_result(timeout=10) == "refused"
    assert recorded(sql) == [("1", "sell", True)]
    with pytest.raises(psycopg.errors.UniqueViolation):
        sell()


def test_a_savepoint_inside_saves_the_transaction(app: App, launched: Launch, sql: Own) -> None:
    """The block of psycopg undoes what failed in it, and no more."""

    @app.transaction(name="sell")
    def sell(connection: Own) -> None:
        connection.execute("INSERT INTO sold VALUES ('a')")
        with pytest.raises(psycopg.errors.DivisionByZero), connection.transaction():
            connection.execute("INSERT INTO sold VALUES (1 / length(''))")

    @app.workflow(name="order")
    def order() -> None:
        sell()

    launched()
    app.start_workflow(order).get_result(timeout=10)
    assert sold(sql) == ["a"]


def test_serialization_conflicts_are_tried_again(app: App, launched: Launch, sql: Own) -> None:
    """A counter that 16 workflows read and write, two times each, in threads and on the loop, is exact."""

    @app.transaction(isolation="SERIALIZABLE", name="count")
    def count(connection: Own) -> int:
        ((n,),) = connection.execute("SELECT n FROM counter").fetchall()
        connection.execute("UPDATE counter SET n = %s", (n + 1,))
        return int(n) + 1

    @app.transaction(isolation="REPEATABLE READ", name="acount")
    async def acount(connection: AsyncOwn) -> int:
        ((n,),) = await (await connection.execute("SELECT n FROM counter")).fetchall()
        await connection.execute("UPDATE counter SET n = %s", (n + 1,))
        return int(n) + 1

    @app.workflow(name="twice")
    def twice() -> list[int]:
        return [count(), count()]

    @app.workflow(name="atwice")
    async def atwice() -> list[int]:
        return [await acount(), await acount()]

    launched(slots=16)
    sync = [app.start_workflow(twice) for _ in range(8)]
    suspending = [app.start_workflow(atwice) for _ in range(8)]
    seen = [n for handle in (*sync, *suspending) for n in handle.get_result(timeout=60)]
    assert sorted(seen) == list(range(1, 33))
    assert sql.execute("SELECT n FROM counter").fetchone() == (32,)


def test_a_conflict_in_the_commit_is_tried_again(app: App, launched: Launch, sql: Own) -> None:
    """Also where the code raised an error of its own in the place of the driver's."""
    sql.execute("""
        CREATE SEQUENCE tries;
        CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('tries') < 3 THEN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER conflict AFTER INSERT ON sold DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION conflict()""")
    runs: list[int] = []

    @app.transaction(name="sell")
    def sell(connection: Own) -> int:
        runs.append(1)
        connection.execute("INSERT INTO sold VALUES ('a')")
        if len(runs) == 1:
            try:
                connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            except psycopg.Error as error:
                raise OutOfStockError("a") from error
        return len(runs)

    @app.workflow(name="order")
    def order() -> int:
        return sell()

    launched()
    assert app.start_workflow(order).get_result(timeout=10) == 3
    assert sold(sql) == ["a"]
    sql.execute("ALTER SEQUENCE tries RESTART")
    runs.clear()
    assert sell() == 3
    assert sold(sql) == ["a", "a"]


@pytest.mark.parametrize("verb", ["commit", "rollback", "COMMIT", "ROLLBACK", "close", "with"])
def test_a_function_that_ends_its_transaction_is_told(
    app: App, launched: Launch, sql: Own, verb: str
) -> None:
    """The methods commit nothing; text is noticed, in a workflow and in a plain call."""

    @app.transaction(name="sell")
    def sell(connection: Own) -> None:
        connection.execute("INSERT INTO sold VALUES ('a')")
        if verb == "with":
            with connection:
                return
        elif verb.isupper():
            connection.execute(verb)
        else:
            getattr(connection, verb)()

    @app.workflow(name="order")
    def order() -> None:
        sell()

    launched()
    with pytest.raises(TransactionEndedError, match="transaction 'sell'"):
        app.start_workflow(order).get_result(timeout=10)
    with pytest.raises(TransactionEndedError, match="is a savepoint"):
        sell()
    assert recorded(sql) == [("1", "sell", True)]
    assert sold(sql) == (["a", "a"] if verb == "COMMIT" else [])


def test_an_async_function_that_ends_its_transaction_is_told(
    app: App, launched: Launch, sql: Own
) -> None:
    """The same over an AsyncConnection."""

    @app.transaction(name="sell")
    async def sell(connection: AsyncOwn, verb: str) -> None:
        await connection.execute("INSERT INTO sold VALUES ('a')")
        await getattr(connection, verb)()

    @app.workflow(name="order")
    async def order(verb: str) -> None:
        await sell(verb)

    launched()
    for verb in ("commit", "rollback"):
        with pytest.raises(TransactionEndedError, match=verb):
            app.start_workflow(order, verb).get_result(timeout=10)
    assert sold(sql) == []


def test_a_function_that_swallows_a_failed_statement_is_told(
    app: App, launched: Launch, sql: Own
) -> None:
    """Postgres would commit nothing, and say so to nobody."""

    @app.transaction(name="sell")
    def sell(connection: Own) -> str:
        connection.execute("INSERT INTO sold VALUES ('a')")
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT 1 / 0")
        return "sold"

    @app.workflow(name="order")
    def order() -> str:
        return sell()

    launched()
    with pytest.raises(TransactionAbortedError, match="transaction 'sell' failed"):
        app.start_workflow(order).get_result(timeout=10)
    with pytest.raises(TransactionAbortedError, match="transaction 'sell' failed"):
        sell()
    assert sold(sql) == []


def test_other_verbs_are_refused_inside(app: App, launched: Launch, sql: Own) -> None:
    """Steps, transactions, starts and messages, blocking or awaited; the error names both."""
    queue = app.queue("orders")

    @app.step(name="note")
    def note() -> None: ...

    @app.step(name="anote")
    async def anote() -> None: ...

    @app.transaction(name="inner")
    def inner(connection: Own) -> None:
        connection.execute("INSERT INTO sold VALUES ('inner')")

    @app.workflow(name="other")
    def other() -> str:
        return "other"

    launched()
    started = app.start_workflow(other)
    calls: dict[str, Callable[[], object]] = {
        "step 'note'": note,
        "transaction 'inner'": inner,
        "workflow 'other'": other,
        "enqueue": lambda: queue.enqueue(other),
        "get_result": started.get_result,
        "retrieve_workflow": lambda: app.retrieve_workflow("a"),
        "send": lambda: app.send("a", 1),
        "recv": app.recv,
        "set_event": lambda: app.set_event("a", 1),
        "get_event": lambda: app.get_event("a", "b"),
        "sleep": lambda: app.sleep(1),
    }
    any_verb = "a verb of Towpath"
    awaited: list[tuple[str, Callable[[], Any]]] = [
        ("step 'anote'", anote),
        ("workflow 'other'", lambda: queue.enqueue_async(other)),
        (any_verb, lambda: app.retrieve_workflow_async("a")),
        (any_verb, lambda: app.send_async("a", 1)),
        (any_verb, app.recv_async),
        (any_verb, lambda: app.set_event_async("a", 1)),
        (any_verb, lambda: app.get_event_async("a", "b")),
        (any_verb, lambda: app.sleep_async(1)),
    ]

    @app.transaction(name="outer")
    def outer(connection: Own) -> None:
        connection.execute("INSERT INTO sold VALUES ('outer')")
        for verb, call in calls.items():
            with pytest.raises(StepInsideTransactionError) as refused:
                call()
            assert (refused.value.verb, refused.value.transaction_name) == (verb, "outer")

    @app.transaction(name="aouter")
    async def aouter(connection: AsyncOwn) -> None:
        await connection.execute("INSERT INTO sold VALUES ('aouter')")
        for verb, call in awaited:
            with pytest.raises(
                StepInsideTransactionError, match="inside transaction 'aouter'"
            ) as e:
                await call()
            assert e.value.verb == verb

    @app.workflow(name="order")
    async def order() -> None:
        await asyncio.to_thread(outer)
        await aouter()

    app.start_workflow(order).get_result(timeout=10)
    outer()
    asyncio.run(aouter())
    assert sold(sql) == ["aouter", "aouter", "outer", "outer"]
    assert len(app.list_workflows(name="other")) == 1


def test_outside_and_in_steps_it_is_a_plain_call_that_commits(
    app: App, launched: Launch, sql: Own
) -> None:
    """What it returns is not recorded, and an error rolls back."""

    @app.transaction(name="sell")
    def sell(connection: Own, item: str) -> tuple[int, towpath.Current | None]:
        connection.execute("INSERT INTO sold VALUES (%s)", (item,))
        if item == "c":
            raise OutOfStockError(item)
        return connection.info.backend_pid, towpath.current()

    @app.step(name="in_step")
    def in_step() -> bool:
        sell("b")
        return True

    @app.workflow(name="order")
    def order() -> bool:
        return in_step()

    pid, current = sell("a")
    assert current is None
    assert sell("a") == (pid, None)  # the connection is kept
    with pytest.raises(OutOfStockError):
        sell("c")
    launched()
    assert app.start_workflow(order).get_result(timeout=10)
    assert sold(sql) == ["a", "a", "b"]
    assert recorded(sql) == [("1", "in_step", False)]
    assert sell.__wrapped__.__name__ == "sell"


@pytest.mark.usefixtures("sql")
def test_what_a_function_sets_on_its_connection_is_gone_for_the_next(app: App) -> None:
    """Settings of the session, and of the driver's object."""

    @app.transaction(name="spoil")
    def spoil(connection: Own) -> int:
        connection.execute("SET search_path = nowhere")
        connection.row_factory = dict_row
        connection.cursor_factory = psycopg.ClientCursor
        return connection.info.backend_pid

    @app.transaction(name="look")
    def look(connection: Own) -> tuple[int, object]:
        cursor = connection.execute("SELECT count(*) FROM sold")
        assert type(cursor) is psycopg.Cursor
        return connection.info.backend_pid, cursor.fetchone()

    assert look()[0] == spoil()
    assert look() == (spoil(), (0,))


def test_a_sync_one_does_not_block_an_async_workflow(app: App, launched: Launch) -> None:
    """It names the way to a thread."""

    @app.transaction(name="sell")
    def sell(connection: Own) -> None:
        connection.execute("SELECT 1")

    @app.workflow(name="order")
    async def order() -> None:
        sell()

    launched()
    with pytest.raises(SyncCallInAsyncError, match=r"asyncio\.to_thread\(sell, \.\.\.\)"):
        app.start_workflow(order).get_result(timeout=10)


def test_an_unknown_isolation_is_refused(app: App) -> None:
    """Where it is declared."""
    with pytest.raises(ConfigurationError, match="'READ COMMITTED', 'REPEATABLE READ'"):
        app.transaction(isolation="CHAOS")  # type: ignore[arg-type]


def test_another_login_to_the_same_database_serves(
    app: App, launched: Launch, sql: Own, database_url: str
) -> None:
    """What it may do is its own; the record is written with it too."""
    password = psycopg.conninfo.conninfo_to_dict(database_url).get("password", "")
    sql.execute(f"CREATE ROLE seller LOGIN PASSWORD '{password}'".encode())
    sql.execute(
        "GRANT USAGE ON SCHEMA towpath TO seller; GRANT INSERT ON sold TO seller;"
        "GRANT SELECT, INSERT ON towpath.step TO seller; GRANT SELECT, UPDATE ON towpath.running TO seller"
    )
    url = psycopg.conninfo.make_conninfo(database_url, user="seller")

    @app.transaction(name="sell", database_url=url)
    def sell(connection: Own) -> str:
        connection.execute("INSERT INTO sold VALUES ('a')")
        return connection.info.user

    @app.workflow(name="order")
    def order() -> str:
        return sell()

    try:
        launched()
        assert app.start_workflow(order).get_result(timeout=10) == "seller"
        assert sold(sql) == ["a"]
    finally:
        app.shutdown(drain=0)
        sql.execute("DROP OWNED BY seller; DROP ROLE seller")


def test_a_login_to_another_database_ends_the_launch(
    app: App, new_database: Callable[[], str]
) -> None:
    """The worker serves nothing and says why; a migrated copy is another database too."""
    other = new_database()

    @app.transaction(name="sell", database_url=other)
    def sell(connection: Own) -> None: ...

    worker = app.launch()
    wait_until(lambda: worker.failure is not None)
    assert isinstance(worker.failure, TransactionDatabaseError)
    assert worker.failure.found == other.rpartition("/")[2].partition("?")[0]
    assert worker.failure.expected != worker.failure.found
    del sell


def test_a_cancelled_workflow_commits_nothing_and_is_not_waited_for(
    app: App, launched: Launch, sql: Own
) -> None:
    """Cancelling returns while the function runs, since that holds no lock of Towpath's."""
    entered, go_on = threading.Event(), threading.Event()

    @app.transaction(name="sell")
    def sell(connection: Own) -> None:
        connection.execute("INSERT INTO sold VALUES ('a')")
        entered.set()
        assert go_on.wait(20)

    @app.workflow(name="order")
    def order() -> None:
        sell()

    launched()
    handle = app.start_workflow(order)
    assert entered.wait(10)
    locks = sql.execute(
        "SELECT c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
        "JOIN pg_stat_activity a ON a.pid = l.pid "
        "WHERE c.relnamespace = 'towpath'::regnamespace AND a.state = 'idle in transaction'"
    )
    assert locks.fetchall() == []
    app.cancel_workflow(handle.workflow_id)
    assert handle.get_status().status is WorkflowStatus.CANCELLED
    go_on.set()
    app.shutdown()
    assert (sold(sql), recorded(sql)) == ([], [])
