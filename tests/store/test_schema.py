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
    "enqueue", "enqueue_chosen", "find_chosen_id", "complete", "lock_gate", "claim", "hold_worker", "record_steps",
    "load_steps", "results", "poll", "hand_back", "give_back", "locate_generated", "locate_chosen",
}  # fmt: skip
ARRAYS = {
    "seqs": "{1}", "attempts": "{1}", "statuses": "{SUCCESS}", "outputs": "{null}", "names": "{send}",
    "queues": "{mail}", "positions": "{1}", "failures": "{null}", "seconds": "{0}", "known": "{1}",
    "max_recoveries": "{1}",
}  # fmt: skip


@pytest.mark.parametrize("name", statement_names())
def test_every_statement_prepares_and_hot_ones_never_scan_a_table(
    database_url: str, name: str
) -> None:
    """The plan of a hot statement has no sequential scan and sorts no backlog, at 20,000 rows."""
    plan = asyncio.run(_plan(database_url, name))
    if name in HOT:
        scanned = re.findall(r"Seq Scan on (\w+)", plan)
        # one row a live worker, looked through once a poll
        assert set(scanned) <= {"worker"}, plan
        assert "Sort Key: ready" not in plan, plan


async def _plan(url: str, name: str) -> str:
    async with await open_async(Endpoint.at(url)) as connection:
        if name in HOT:
            await connection.execute(_FILL)
            await connection.execute("ANALYZE")
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        text = Statements("towpath")[name].decode()
        parameters = dict.fromkeys(re.findall(r"%\((\w+)\)s", text))
        numbered, order = text, list(parameters)
        for number, parameter in enumerate(order, 1):
            numbered = numbered.replace(f"%({parameter})s", f"${number}")
        await connection.execute(f"PREPARE tested AS {numbered}".encode())
        values: list[Any] = [ARRAYS.get(p) for p in order]
        arguments = ", ".join("NULL" if v is None else f"'{v}'" for v in values)
        call = f"EXECUTE tested ({arguments})" if order else "EXECUTE tested"
        rows = await (await connection.execute(f"EXPLAIN {call}".encode())).fetchall()
        return "\n".join(row[0] for row in rows)


_FILL = """
INSERT INTO towpath.queue (name) VALUES ('mail');
INSERT INTO towpath.gate (queue) VALUES ('mail');
WITH written AS (
    INSERT INTO towpath.workflow (secret, queue, name, codec, input, created_at)
    SELECT n, 'mail', 'send', 'json', '{}', now() FROM generate_series(1, 20000) AS n
    RETURNING seq)
INSERT INTO towpath.ready (queue, name, version, rank, line, seq)
SELECT 'mail', 'send', '', 0, seq, seq FROM written;
INSERT INTO towpath.result (seq, status, attempt, completed_at)
SELECT n, 'SUCCESS', 1, now() FROM generate_series(30001, 50000) AS n;
INSERT INTO towpath.running (seq, queue, worker, attempt, recoveries, rank, line, started_at)
SELECT n, 'mail', n % 50, 1, 0, 0, n, now() FROM generate_series(50001, 52000) AS n;
INSERT INTO towpath.step (seq, position, attempt, name, started_at, completed_at)
SELECT n, '1', 1, 's', now(), now() FROM generate_series(1, 20000) AS n;
INSERT INTO towpath.worker (name, library, queues, names, max_recoveries, slots, started_at, lease_until)
SELECT n::text, '', '{mail}', '{send}', '{100}', 10, now(), now() FROM generate_series(1, 50) AS n;
"""
