"""The two phases of migrations: pre at once, post once no worker lives that needs what it takes away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import psycopg
import pytest

from towpath.cli.main import run
from towpath.store import migrate as migrating
from towpath.store.migrate import Migration, OlderWorkers, Phase, migrate, migrations, phases

T = TypeVar("T")
Sql = psycopg.Connection[Any]

TAKE = Migration(90, "post", "take", "-- since 0.4.0\nDROP TABLE {schema}.old;\n")
TAKE_MORE = Migration(91, "post", "take_more", "-- since 0.5.0\nSELECT 1;\n")
BRING = Migration(92, "pre", "bring", "CREATE TABLE {schema}.fresh (n int);\n")
KNOWN = (*migrations(), TAKE, TAKE_MORE, BRING)


@pytest.fixture
def sql(database_url: str) -> Iterator[Sql]:
    """Return a connection to a database with a table that a post migration drops."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE towpath.old (n int)")
        yield connection


def done(url: str, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]) -> T:
    """Do some work on a connection."""

    async def run_it() -> T:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            return await work(connection)

    return asyncio.run(run_it())


def migrated(url: str) -> tuple[str, ...]:
    """Migrate, with what is known here."""
    return done(url, lambda connection: migrate(connection, "towpath", known=KNOWN))


def looked(url: str) -> tuple[Phase, Phase]:
    """Look at the phases of what is known here."""
    return done(url, lambda connection: phases(connection, "towpath", known=KNOWN))


def register(sql: Sql, library: str, *, pool: str | None = None, seconds: int = 60) -> None:
    """Let a worker be registered, with so much of its lease left."""
    sql.execute(
        "INSERT INTO towpath.worker (name, pool, library, queues, names, max_recoveries, slots,"
        " started_at, lease_until) VALUES ('w', %s, %s, '{}', '{}', '{}', 1, clock_timestamp(),"
        " clock_timestamp() + %s * interval '1 second')",
        (pool, library, seconds),
    )


def test_without_older_workers_both_phases_are_applied_pre_first(
    database_url: str, sql: Sql
) -> None:
    """A pre migration waits for no post migration, whatever their numbers."""
    register(sql, "0.5.0")
    register(sql, "0.1.0", seconds=-1)  # a lease that ran out: nobody lives there
    pre, post = looked(database_url)
    assert (pre.state, post.state) == ("Pending", "Pending")
    assert migrated(database_url) == ("0092_pre_bring", "0090_post_take", "0091_post_take_more")
    assert [phase.state for phase in looked(database_url)] == ["Applied", "Applied"]
    assert migrated(database_url) == ()


def test_the_post_phase_waits_for_older_workers_and_names_their_pools(
    database_url: str, sql: Sql
) -> None:
    """What they need stays; the pre phase is applied beside them; once they are gone it goes on."""
    register(sql, "0.3.9", pool="shop/mail")
    register(sql, "0.3.9", pool="shop/mail")
    register(sql, "unknown")
    register(sql, "0.4.0.dev1+local", pool="shop/new")
    assert migrated(database_url) == ("0092_pre_bring",)
    sql.execute("SELECT * FROM towpath.old")
    pre, post = looked(database_url)
    assert (pre.state, post.state) == ("Applied", "Waits")
    assert post.waits_for == (
        OlderWorkers(pool="shop/mail", library="0.3.9", count=2),
        OlderWorkers(pool=None, library="unknown", count=1),
    )
    assert str(post) == (
        "0090_post_take, 0091_post_take_more waits until no older worker lives: "
        "2 workers of pool shop/mail with towpath 0.3.9; 1 worker of no pool with towpath unknown"
    )
    sql.execute("DELETE FROM towpath.worker WHERE library IN ('0.3.9', 'unknown')")
    # the second one waits for those that the first one does not need to
    assert migrated(database_url) == ("0090_post_take",)
    _, post = looked(database_url)
    assert (post.state, post.pending) == ("Waits", ("0091_post_take_more",))
    sql.execute("DELETE FROM towpath.worker")
    assert migrated(database_url) == ("0091_post_take_more",)


def test_a_post_migration_says_since_when_nobody_needs_what_it_takes() -> None:
    """By its first line; those of the library do."""
    assert TAKE.since == "0.4.0"
    with pytest.raises(ValueError, match="0090_post_take must begin with the line: -- since"):
        _ = Migration(90, "post", "take", "DROP TABLE {schema}.old;").since
    assert all(one.since for one in migrations() if one.phase == "post")


def test_the_commands_say_what_is_left_for_later(
    database_url: str,
    sql: Sql,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`migrate` does what may be done and says the rest; a dry run shows the same; `status` too."""
    monkeypatch.setattr(migrating, "migrations", lambda: KNOWN)
    monkeypatch.setenv("TOWPATH_DATABASE_URL", database_url)
    register(sql, "0.3.9", pool="shop/mail")
    assert run(["db", "migrate", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "0092_pre_bring" in shown
    assert "DROP TABLE" not in shown
    assert shown.startswith("-- 0090_post_take, 0091_post_take_more waits until")
    assert run(["db", "migrate"]) == 0
    said = capsys.readouterr()
    assert said.out == "0092_pre_bring\n"
    assert "later: 0090_post_take, 0091_post_take_more waits until" in said.err
    assert "pool shop/mail with towpath 0.3.9" in said.err
    assert run(["db", "status", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["phases"] == {
        "pre": {"state": "Applied", "pending": [], "waits_for": []},
        "post": {
            "state": "Waits",
            "pending": ["0090_post_take", "0091_post_take_more"],
            "waits_for": [{"pool": "shop/mail", "library": "0.3.9", "workers": 1}],
        },
    }
    assert run(["db", "status"]) == 0
    assert "waits until no older worker lives" in capsys.readouterr().out


def test_the_command_prints_the_grants_or_makes_them(
    database_url: str,
    login: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What it prints does what it does; a role that is not there is 3, a schema of another's 4."""
    monkeypatch.setenv("TOWPATH_DATABASE_URL", database_url)
    registered = f"SELECT has_table_privilege('{login}', 'towpath.worker', 'INSERT')"
    with psycopg.connect(database_url, autocommit=True) as owners:
        assert run(["db", "grants", "--role", login]) == 0
        printed = capsys.readouterr().out
        assert owners.execute(registered.encode()).fetchone() == (False,)
        owners.execute(printed.encode())
        assert owners.execute(registered.encode()).fetchone() == (True,)
        owners.execute(f'DROP OWNED BY "{login}"'.encode())
        assert run(["db", "grants", "--role", login, "--apply"]) == 0
        assert owners.execute(registered.encode()).fetchone() == (True,)
    capsys.readouterr()
    assert run(["db", "grants", "--role", "nobody", "--apply"]) == 3
    assert "CREATE ROLE" in capsys.readouterr().err
    assert run(["db", "grants", "--role", login, "--schema", "nowhere"]) == 4
    assert "towpath db migrate" in capsys.readouterr().err
