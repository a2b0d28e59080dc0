"""The Databases port on a real Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import psycopg

from towpath.domain.queue import (
    MAX_LIMIT,
    MAX_PERIOD,
    MAX_RETENTION,
    MIN_PERIOD,
    MIN_RETENTION,
    Limiter,
    QueueSettings,
    Retention,
)
from towpath.store.statements import Statements
from towpath_operator.adapters.postgres import PostgresDatabases
from towpath_operator.plan.observed import DatabaseTarget, Owner, QueueRow
from towpath_operator.ports.cluster import ObjectKey
from towpath_operator.ports.database import DatabaseError

OURS = Owner(cluster="here", namespace="shop", name="mail", uid="uid-1")
THEIRS = Owner(cluster="there", namespace="shop", name="mail", uid="uid-2")


def target_of(url: str) -> DatabaseTarget:
    """Return the target of a test's database."""
    return DatabaseTarget(key=ObjectKey("shop", "default"), schema="towpath", uri=url)


@asynccontextmanager
async def databases() -> AsyncIterator[PostgresDatabases]:
    """Lend the adapter, and close what it opened."""
    opened = PostgresDatabases()
    try:
        yield opened
    finally:
        await opened.close()


def run(scenario: Callable[[PostgresDatabases], Awaitable[None]]) -> None:
    """Run a scenario with an adapter of its own."""

    async def whole() -> None:
        async with databases() as opened:
            await scenario(opened)

    asyncio.run(whole())


async def migrated(opened: PostgresDatabases, target: DatabaseTarget) -> None:
    """Migrate, and wait for what goes on after the call."""
    while True:
        await opened.migrate(target)
        look = await opened.look(target, cluster="here", queue_names=[])
        if not look.state.schema.migrating:
            return


def execute(url: str, statement: str) -> None:
    """Run a statement in the test's database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def enqueue(url: str, workflows: int) -> None:
    """Enqueue some workflows of two names on the queue `mail`."""
    statements = Statements("towpath")
    with psycopg.connect(url, autocommit=True) as connection:
        for number in range(workflows):
            parameters = {
                "queue": "mail",
                "id": None,
                "secret": number,
                "name": f"work-{number % 2}",
                "codec": "json",
                "input": "{}",
                "channel": statements.channel,
                "always_notify": False,
            }
            connection.execute(statements["enqueue"], parameters)


async def declared(
    opened: PostgresDatabases,
    target: DatabaseTarget,
    settings: QueueSettings,
    *,
    owner: Owner = OURS,
    replaces: str | None = None,
    paused: bool | None = None,
    closed: bool | None = None,
) -> QueueRow:
    """Declare the queue `mail`."""
    return await opened.declare(
        target,
        queue_name="mail",
        settings=settings,
        paused=paused,
        closed=closed,
        owner=owner,
        replaces=replaces,
    )


def test_a_database_without_the_schema_is_looked_at_and_migrated(empty_database_url: str) -> None:
    """No schema is a state, not a problem; a second migration finds nothing to do."""
    target = target_of(empty_database_url)

    async def scenario(opened: PostgresDatabases) -> None:
        look = await opened.look(target, cluster="here", queue_names=["mail"])
        assert look.state.problem is None
        assert look.state.schema_version is None
        await migrated(opened, target)
        await opened.migrate(target)
        look = await opened.look(target, cluster="here", queue_names=["mail"])
        assert look.state.migrated
        assert dict(look.rows) == {}

    run(scenario)


def test_a_row_is_taken_only_from_the_owner_that_was_observed(database_url: str) -> None:
    """Of two who find it free one has it; to replace an owner takes knowing it."""
    target = target_of(database_url)

    async def scenario(opened: PostgresDatabases) -> None:
        limits = QueueSettings(concurrency=3, worker_concurrency=1)

        async def declare(owner: Owner, replaces: str | None, settings: QueueSettings) -> object:
            row = await declared(opened, target, settings, owner=owner, replaces=replaces)
            return row.owner, row.settings

        assert await declare(OURS, None, limits) == (OURS, limits)
        other = QueueSettings(concurrency=9)
        assert await declare(THEIRS, None, other) == (OURS, limits)
        assert await declare(THEIRS, "uid-1", other) == (THEIRS, other)
        await opened.release(target, queue_name="mail", owner=OURS)
        look = await opened.look(target, cluster="here", queue_names=["mail"])
        assert look.rows["mail"].owner == THEIRS
        await opened.release(target, queue_name="mail", owner=THEIRS)
        look = await opened.look(target, cluster="here", queue_names=["mail"])
        assert (look.rows["mail"].owner, look.rows["mail"].settings) == (None, other)

    run(scenario)


def test_a_revision_rises_and_workers_are_told_only_by_a_changed_limit(database_url: str) -> None:
    """The same declaration again writes nothing; a new owner alone changes no limit."""
    target = target_of(database_url)

    async def scenario(opened: PostgresDatabases) -> None:
        assert await opened.listen(target)

        async def revision(owner: Owner, places: int) -> int:
            limits = QueueSettings(concurrency=places)
            await declared(opened, target, limits, owner=owner, replaces=OURS.uid)
            with psycopg.connect(database_url) as connection:
                found = connection.execute("SELECT revision FROM towpath.queue WHERE name = 'mail'")
                return int((found.fetchone() or [0])[0])

        first = await revision(OURS, 1)
        assert await asyncio.wait_for(opened.heard(target), timeout=10)
        assert await revision(OURS, 1) == first
        assert await revision(THEIRS, 1) == first
        assert await revision(THEIRS, 2) == first + 1

    run(scenario)


EVERYTHING = QueueSettings(
    concurrency=9,
    worker_concurrency=4,
    partition_concurrency=2,
    limiter=Limiter(MAX_LIMIT, MAX_PERIOD),
    partition_limiter=Limiter(1, MIN_PERIOD),
    priority_enabled=True,
    partition_queue=True,
    polling_interval=timedelta(microseconds=1_234_567),
    release_while_waiting=True,
    retention=Retention(succeeded=MIN_RETENTION, failed=MAX_RETENTION),
)


def test_every_limit_is_read_as_it_was_written(database_url: str) -> None:
    """Else the operator would find another row than it wrote, and write it for ever."""
    target = target_of(database_url)

    async def scenario(opened: PostgresDatabases) -> None:
        assert (await declared(opened, target, EVERYTHING)).settings == EVERYTHING
        look = await opened.look(target, cluster="here", queue_names=["mail"])
        assert look.rows["mail"].settings == EVERYTHING

    run(scenario)


def test_paused_and_closed_are_left_alone_where_the_manifest_says_nothing(
    database_url: str,
) -> None:
    """What a person has set stays through a change of limits; what the manifest says is written."""
    target = target_of(database_url)

    async def scenario(opened: PostgresDatabases) -> None:
        async def row(places: int, **switches: Any) -> tuple[bool, bool]:
            limits = QueueSettings(concurrency=places)
            found = await declared(opened, target, limits, **switches)
            counts = await opened.count(target, ["mail"])
            assert counts["mail"].paused == found.paused
            return found.paused, found.closed

        assert await row(1) == (False, False)
        execute(database_url, "UPDATE towpath.queue SET paused = true, closed = true")
        assert await row(2) == (True, True)
        assert await row(2, paused=False) == (False, True)
        assert await row(2, closed=False) == (False, False)
        assert await row(2, paused=True, closed=True) == (True, True)

    run(scenario)


def test_the_work_of_a_queue_is_counted_to_ten_thousand(database_url: str) -> None:
    """Beyond that only the fact that there is more is known; a queue without a row is left out."""
    target = target_of(database_url)
    execute(database_url, "INSERT INTO towpath.queue (name) VALUES ('mail'), ('idle')")
    enqueue(database_url, 3)

    async def scenario(opened: PostgresDatabases) -> None:
        counts = await opened.count(target, ["mail", "idle", "nowhere"])
        assert set(counts) == {"mail", "idle"}
        assert (counts["mail"].waiting, counts["mail"].waiting_capped) == (3, False)
        assert counts["idle"].quiet
        execute(
            database_url,
            "INSERT INTO towpath.ready (queue, name, version, rank, line, seq)"
            " SELECT 'mail', 'more', '', 0, n, n FROM generate_series(100, 10200) n",
        )
        counts = await opened.count(target, ["mail"])
        assert (counts["mail"].waiting, counts["mail"].waiting_capped) == (10_000, True)

    run(scenario)


def test_an_enqueue_is_heard_where_it_was_asked_for_and_nowhere_else(database_url: str) -> None:
    """The operator stands in the table of sleepers for the queues of idle pools alone."""
    target = target_of(database_url)
    execute(database_url, "INSERT INTO towpath.queue (name) VALUES ('mail'), ('idle')")

    async def scenario(opened: PostgresDatabases) -> None:
        await opened.listen(target)
        await opened.ask_for_notify(target, ["mail", "idle"], no_longer=[])
        await opened.ask_for_notify(target, ["mail"], no_longer=["idle"])
        with psycopg.connect(database_url) as connection:
            found = connection.execute("SELECT queue, listener FROM towpath.sleeper").fetchall()
        assert found == [("mail", 0)]
        await asyncio.to_thread(enqueue, database_url, 1)
        assert not await asyncio.wait_for(opened.heard(target), timeout=10)

    run(scenario)


def test_a_rotated_uri_closes_what_the_old_one_opened(
    new_database: Callable[[], str],
) -> None:
    """Nothing goes to the old place once the Secret names another."""
    first, second = new_database(), new_database()
    execute(second, "INSERT INTO towpath.queue (name) VALUES ('here')")

    async def scenario(opened: PostgresDatabases) -> None:
        assert await opened.count(target_of(first), ["here"]) == {}
        assert set(await opened.count(target_of(second), ["here"])) == {"here"}

    run(scenario)
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'towpath-operator'"
    with psycopg.connect(first) as connection:
        assert connection.execute(query.encode()).fetchone() == (0,)


def test_calls_that_wait_when_the_uri_is_rotated_open_nothing_by_the_old_one(
    new_database: Callable[[], str],
) -> None:
    """The one under way ends on what it has; the others fail, and are made again by the new one."""
    first, second = new_database(), new_database()

    async def scenario(opened: PostgresDatabases) -> None:
        await opened.count(target_of(first), [])
        late = [asyncio.create_task(opened.count(target_of(first), [])) for _ in range(3)]
        await asyncio.sleep(0)
        moved = [opened.count(target_of(second), []) for _ in range(3)]
        assert await asyncio.gather(*moved) == [{}, {}, {}]
        done, *failed = await asyncio.gather(*late, return_exceptions=True)
        assert done == {}
        assert [type(one) for one in failed] == [DatabaseError, DatabaseError]
        await opened.count(target_of(second), [])
        for url, most in ((first, 0), (second, 1)):
            assert await asyncio.to_thread(connections_of_ours, url) <= most

    run(scenario)


def connections_of_ours(url: str) -> int:
    """Count the operator's connections to a database."""
    query = (
        "SELECT count(*)::integer FROM pg_stat_activity "
        "WHERE application_name = 'towpath-operator' AND datname = current_database()"
    )
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])
