"""The schema: migrations make what schema.sql says, once, whoever runs them; statements use indexes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

import psycopg
import pytest

from tests.fixtures.catalog import catalog
from towpath.domain.errors import SchemaError, SchemaMissingError, SchemaTooNewError
from towpath.store import migrate
from towpath.store.connect import Endpoint, check_schema, open_async
from towpath.store.statements import Statements, statement_names

HOSTILE = 'we"ird schema; DROP'


def migrated(url: str, schema: str) -> Sequence[str]:
    """Migrate a schema and return what was applied."""

    async def run() -> Sequence[str]:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            return await migrate.migrate(connection, schema)

    return asyncio.run(run())


def test_migrations_make_what_schema_sql_says(empty_database_url: str) -> None:
    """The committed dump and the migrations have equal catalogs: columns, indexes, constraints, functions."""
    migrated(empty_database_url, "by_migrations")
    dump = resources.files("towpath.store").joinpath("schema.sql").read_text("utf-8")
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(dump.encode())
        assert catalog(connection, "by_migrations") == catalog(connection, "towpath")


def test_migrating_again_and_by_many_at_once_applies_each_once(empty_database_url: str) -> None:
    """Eight processes' worth of callers: every migration is applied once, nobody fails."""

    async def one() -> Sequence[str]:
        async with await psycopg.AsyncConnection.connect(
            empty_database_url, autocommit=True
        ) as connection:
            return await migrate.migrate(connection, "towpath")

    async def all_at_once() -> list[Sequence[str]]:
        return await asyncio.gather(*(one() for _ in range(8)))

    applied = [name for names in asyncio.run(all_at_once()) for name in names]
    assert len(applied) == len(migrate.migrations())
    assert migrated(empty_database_url, "towpath") == ()


def test_a_schema_name_is_a_parameter_and_is_quoted(empty_database_url: str) -> None:
    """Two schemas in one database, one with a hostile name."""
    migrated(empty_database_url, HOSTILE)
    asyncio.run(check_schema(Endpoint.at(empty_database_url), HOSTILE))
    with pytest.raises(SchemaMissingError, match="towpath db migrate"):
        asyncio.run(check_schema(Endpoint.at(empty_database_url), "other"))


def test_a_changed_migration_is_an_error(database_url: str) -> None:
    """A text that differs from the one that was applied is told, not applied."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE towpath.migration SET checksum = 'x' WHERE number = 1")
    with pytest.raises(SchemaError, match="another text"):
        migrated(database_url, "towpath")


def test_a_schema_that_no_longer_serves_this_library_is_refused(database_url: str) -> None:
    """Newer alone is fine; only `serves_from` beyond this library is not."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE towpath.schema_version SET version = 99")
        asyncio.run(check_schema(Endpoint.at(database_url), "towpath"))
        connection.execute("UPDATE towpath.schema_version SET serves_from = 98")
    with pytest.raises(SchemaTooNewError, match="Upgrade the towpath package"):
        asyncio.run(check_schema(Endpoint.at(database_url), "towpath"))


HOT = {
    "announce", "begin_waits", "cancel", "claim", "claim_awake", "claim_partitioned", "complete",
    "drop_waits", "enqueue", "enqueue_items", "expire", "fall_asleep", "fenced_places", "fold",
    "gather", "give_back", "hand_back", "hold_settings", "hold_worker", "load_steps",
    "locate_chosen", "locate_generated", "lock_gate", "lock_worker", "look_once_more", "outlook",
    "poll", "put_to_sleep", "record_steps", "ripen", "rouse", "set_delay", "set_priority",
    "settle_waits", "tell_ends", "trim_starts", "wake_up", "workflow_status",
}  # fmt: skip
ELEMENTS = {
    "bigint[]": "{1}", "integer[]": "{1}", "text[]": "{send}", "double precision[]": "{0}",
    "boolean[]": "{false}", "timestamp with time zone[]": "{now}",
}  # fmt: skip


def test_what_is_hot_is_named() -> None:
    """A statement that is renamed stays under watch."""
    assert set(statement_names()) >= HOT


def test_every_statement_prepares_and_hot_ones_never_scan_a_table(database_url: str) -> None:
    """No plan of a hot statement has a sequential scan at 20,000 rows of everything; test_costs counts."""
    plans = asyncio.run(_plans(database_url))
    assert plans.keys() == set(statement_names())
    for name in HOT:
        scanned = re.findall(r"Seq Scan on (\w+)", plans[name])
        # one row a live worker, looked through once a poll
        assert set(scanned) <= {"worker"}, f"{name}: {plans[name]}"
        # a line is read in its order: what is sorted is what was taken from several
        assert not re.search(SORTED_BACKLOG, plans[name]), f"{name}: {plans[name]}"


SORTED_BACKLOG = r"Sort Key: .*\n\s+-> +\w[\w ]* on (ready|ticket|wake|parked|start)\b"


async def _plans(url: str) -> dict[str, str]:
    async with await open_async(Endpoint.at(url)) as connection:
        await connection.execute(_FILL)
        await connection.execute("ANALYZE")
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        return {name: await _plan(connection, name) for name in statement_names()}


async def _plan(connection: psycopg.AsyncConnection[Any], name: str) -> str:
    text = Statements("towpath")[name].decode()
    order = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", text)))
    for number, parameter in enumerate(order, 1):
        text = text.replace(f"%({parameter})s", f"${number}")
    await connection.execute(f"PREPARE {name} AS {text}".encode())
    found = await connection.execute(
        "SELECT unnest(parameter_types)::text FROM pg_prepared_statements WHERE name = %s", [name]
    )
    values: list[Any] = [ELEMENTS.get(row[0]) for row in await found.fetchall()]
    arguments = ", ".join("NULL" if v is None else f"'{v}'" for v in values)
    call = f"EXECUTE {name} ({arguments})" if order else f"EXECUTE {name}"
    rows = await (await connection.execute(f"EXPLAIN {call}".encode())).fetchall()
    return "\n".join(row[0] for row in rows)


_FILL = """
INSERT INTO towpath.queue (name, partitioning_enabled, limiter_limit, limiter_period)
VALUES ('mail', true, 1000, '1 h');
INSERT INTO towpath.gate (queue) VALUES ('mail');
WITH written AS (
    INSERT INTO towpath.workflow (secret, queue, name, codec, input, created_at, key)
    SELECT n, 'mail', 'send', 'json', '{}', now(), CASE WHEN n % 2 = 0 THEN 'k' || n END
    FROM generate_series(1, 20000) AS n
    RETURNING seq, key)
INSERT INTO towpath.ready (queue, name, version, rank, line, seq, key)
SELECT 'mail', 'send', '', 0, seq, seq, key FROM written;
INSERT INTO towpath.ticket (rank, turn, queue, name, version, key)
SELECT 0, now(), queue, name, version, key FROM towpath.ready WHERE key IS NOT NULL;
INSERT INTO towpath.wake (rank, turn, queue, key)
SELECT 0, now(), queue, key FROM towpath.ready WHERE key IS NOT NULL;
INSERT INTO towpath.alarm (queue, due, turn, key)
SELECT queue, now() + seq * interval '1 s', now(), key FROM towpath.ready WHERE key IS NOT NULL;
INSERT INTO towpath.start (n, at, queue, key)
SELECT n, now() + n * interval '1 ms', 'mail', '' FROM generate_series(1, 20000) AS n;
INSERT INTO towpath.deduplication (queue, id, seq)
SELECT 'mail', n::text, n FROM generate_series(1, 20000) AS n;
INSERT INTO towpath.parked (seq, rank, due, queue, key)
SELECT n, 0, now() + n * interval '1 s', 'mail', 'k' FROM generate_series(60001, 80000) AS n;
INSERT INTO towpath.result (seq, status, attempt, completed_at)
SELECT n, 'SUCCESS', 1, now() FROM generate_series(30001, 50000) AS n;
INSERT INTO towpath.running (seq, queue, worker, attempt, recoveries, rank, line, started_at)
SELECT n, 'mail', n % 50, 1, 0, 0, n, now() FROM generate_series(50001, 52000) AS n;
INSERT INTO towpath.step (seq, position, attempt, name, started_at, completed_at)
SELECT n, '1', 1, 's', now(), now() FROM generate_series(1, 20000) AS n;
INSERT INTO towpath.wait (seq, position, verb, kind, target, topic, due, asleep, queue, name, version)
SELECT n, '1', 'towpath.recv', 'message', n, '', now() + n * interval '1 s', n % 2 = 0, 'mail', 'send', ''
FROM generate_series(30001, 50000) AS n;
INSERT INTO towpath.awake (seq, queue, name, version)
SELECT n, 'mail', 'send', '' FROM generate_series(50001, 52000) AS n;
INSERT INTO towpath.message (seq, sent_at, codec, value)
SELECT n, now(), 'json', '1' FROM generate_series(30001, 50000) AS n;
INSERT INTO towpath.event (seq, key, position, set_at, codec, value)
SELECT n, 'k', '1', now(), 'json', '1' FROM generate_series(30001, 50000) AS n;
INSERT INTO towpath.deadline (seq, due)
SELECT n, now() + n * interval '1 s' FROM generate_series(30001, 50000) AS n;
INSERT INTO towpath.worker (name, library, queues, names, max_recoveries, slots, started_at, lease_until)
SELECT n::text, '', '{mail}', '{send}', '{100}', 10, now(), now() FROM generate_series(1, 50) AS n;
"""
