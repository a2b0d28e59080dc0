"""The databases of tests: fresh, each for one test at a time, and gone after the session."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from towpath import App, EnqueueItem
from towpath.local import postgres
from towpath.testing import DatabaseServer, database_server, under_test
from towpath.testing.contents import Contents
from towpath.testing.server import URL_VARIABLE


def contents_of(url: str) -> dict[str, Any]:
    """Return all that is in a database, but its name."""
    with psycopg.connect(url, autocommit=True) as connection:
        return vars(Contents(connection, "towpath"))


def fill(server: DatabaseServer) -> str:
    """Use every part of the schema that an application uses; return the database's URL."""
    app = App()

    @app.schedule("* * * * *")
    @app.workflow(name="tick")
    def tick(at: object) -> None:
        assert at

    @app.workflow(name="work")
    def work() -> None:
        assert app.recv("x", timeout_seconds=1) is None
        app.send("a 1", 1, "y", idempotency_key="once")
        app.set_event("key", 1)
        app.write_stream("lines", 1)

    queue = app.queue("mail", partition_queue=True, partition_limiter={"limit": 1, "period": 60})
    with under_test(app, server) as kit:
        for key in "ab":
            queue.options(queue_partition_key=key).enqueue_many(
                work, [EnqueueItem((), {}, f"{key} 1"), EnqueueItem((), {}, f"{key} 2")]
            )
        queue.options(queue_partition_key="c", deduplication_id="c").enqueue(work)
        assert kit.clock is not None
        kit.clock.advance(90)
        return kit.database_url


def test_a_used_database_is_as_fresh_as_a_new_one(towpath_server: DatabaseServer) -> None:
    """Every row and every number is as in the template; the same one is taken again."""
    with towpath_server.database() as first, towpath_server.database() as second:
        fresh = contents_of(second)
        assert first != second
    used = fill(towpath_server)
    with towpath_server.database() as url:
        assert url == used
        assert contents_of(url) == fresh


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE public.mine (n int)",
        "CREATE SCHEMA mine",
        "ALTER TABLE towpath.queue ADD COLUMN mine int",
        "CREATE OR REPLACE FUNCTION towpath.clock() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'",
        "DROP TABLE towpath.stream",
    ],
)
def test_a_database_that_was_changed_is_not_used_again(
    towpath_server: DatabaseServer, change: str
) -> None:
    """Whatever a test has made, changed or dropped beside rows is not there for the next."""
    with (
        towpath_server.database() as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        fresh = contents_of(url)
        connection.execute(change.encode())
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)
    with towpath_server.database() as after:
        assert contents_of(after).keys() == fresh.keys()
        assert after != url


def test_a_connection_that_a_test_has_left_harms_nobody(towpath_server: DatabaseServer) -> None:
    """An open transaction with locks goes with the test."""
    with towpath_server.database() as url:
        left = psycopg.connect(url)
        left.execute("LOCK TABLE towpath.queue")
    with towpath_server.database() as after, psycopg.connect(after) as connection:
        assert connection.execute("SELECT name FROM towpath.queue").fetchall() == [("_towpath",)]
    left.close()


def test_a_session_on_a_shared_server_leaves_nothing(
    postgres_server: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions that run at the same time have names of their own."""
    monkeypatch.setenv(URL_VARIABLE, postgres_server.url)
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        before = set(connection.execute("SELECT datname FROM pg_database").fetchall())
        with (
            database_server() as one,
            database_server() as other,
            one.database() as first,
            other.database("shop") as second,
        ):
            made = set(connection.execute("SELECT datname FROM pg_database").fetchall())
            assert first != second
            assert len(made - before) == 4
        assert set(connection.execute("SELECT datname FROM pg_database").fetchall()) == before
