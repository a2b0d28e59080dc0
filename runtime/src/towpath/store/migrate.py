"""Numbered migrations with checksums, each in one transaction, under an advisory lock.

A file is `NNNN_<phase>_<name>.sql`. The pre phase runs before new code, the post phase once no older
worker lives. What was applied is in the schema's table `migration`; a file that changed after it
was applied is an error, never a silent second schema.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import psycopg
from psycopg import sql

from towpath.domain.errors import (
    SchemaError,
    SchemaMissingError,
    SchemaOlderError,
    SchemaTooNewError,
)
from towpath.store.statements import compose

LIBRARY_SCHEMA_VERSION = 3
"""The schema version that this library is written for."""

PATIENCE_SECONDS = 60.0
LOCK_TIMEOUT = "200ms"
"""Well below Postgres's deadlock_timeout, 1 s by default."""

_random = random.SystemRandom()  # of our own: an application may have seeded the global one

_FILE = re.compile(r"(\d{4})_(pre|post)_(\w+)\.sql")
_TABLE = """
CREATE TABLE IF NOT EXISTS {schema}.migration (
    number integer PRIMARY KEY,
    phase text NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""
_APPLIED = "SELECT number, checksum FROM {schema}.migration ORDER BY number"
_RECORD = "INSERT INTO {schema}.migration (number, phase, name, checksum) VALUES (%s, %s, %s, %s)"
_VERSION = "SELECT version, serves_from FROM {schema}.schema_version"


First = Callable[[psycopg.AsyncConnection[Any]], Awaitable[None]]


async def _nothing(_: psycopg.AsyncConnection[Any]) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    number: int
    phase: str
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """The sha256 of the file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class SchemaState:
    """What a schema has, beside what this library needs. `version` is None where there is no schema."""

    schema: str
    version: int | None
    serves_from: int | None
    pending: tuple[str, ...]

    def check(self) -> None:
        """Raise the `SchemaError` that keeps this library from working with the schema, if any."""
        if self.version is None or self.serves_from is None:
            raise SchemaMissingError(schema=self.schema)
        if self.serves_from > LIBRARY_SCHEMA_VERSION:
            raise SchemaTooNewError(
                schema=self.schema, serves_from=self.serves_from, library=LIBRARY_SCHEMA_VERSION
            )
        if self.version < LIBRARY_SCHEMA_VERSION:
            raise SchemaOlderError(
                schema=self.schema, found=self.version, needed=LIBRARY_SCHEMA_VERSION
            )


@cache
def migrations() -> tuple[Migration, ...]:
    """Read the migrations in order."""
    found = []
    for file in resources.files("towpath.store").joinpath("migrations").iterdir():
        match = _FILE.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], match[3], file.read_text("utf-8")))
    return tuple(sorted(found, key=lambda m: m.number))


async def schema_state(connection: psycopg.AsyncConnection[Any], schema: str) -> SchemaState:
    """Look at a schema without changing anything."""
    applied = await _applied(connection, schema)
    pending = tuple(
        f"{m.number:04}_{m.phase}_{m.name}" for m in migrations() if m.number not in applied
    )
    if not applied:
        return SchemaState(schema, None, None, pending)
    row = await (await connection.execute(compose(_VERSION, schema))).fetchone()
    if row is None:
        raise SchemaError(
            schema=schema, reason="its table schema_version is empty", next_step="Restore the row"
        )
    return SchemaState(schema, row[0], row[1], pending)


async def pending_sql(connection: psycopg.AsyncConnection[Any], schema: str) -> str:
    """Return the SQL of what `migrate` would apply, with what it writes down, for people to review."""
    applied = await _applied(connection, schema)
    pending = [m for m in migrations() if m.number not in applied]
    parts = []
    if not applied and pending:
        name = sql.Identifier(schema).as_string()
        parts.append(f"CREATE SCHEMA IF NOT EXISTS {name};\n{_text(_TABLE, schema)};")
    for m in pending:
        record = sql.SQL(_RECORD.replace("%s", "{}")).format(
            m.number, m.phase, m.name, m.checksum, schema=sql.Identifier(schema)
        )
        parts.append(
            f"-- {m.number:04}_{m.phase}_{m.name}\nBEGIN;\n{_text(m.text, schema)}\n"
            f"{record.as_string()};\nCOMMIT;"
        )
    return "".join(f"{part}\n\n" for part in parts)


def _text(text: str, schema: str) -> str:
    return compose(text, schema).decode().strip()


async def migrate(
    connection: psycopg.AsyncConnection[Any], schema: str, *, first: First = _nothing
) -> tuple[str, ...]:
    """Bring a schema up to date and return the names of what was applied.

    Any number of processes may call it at once: one works, the others wait and find nothing to do.
    Workers go on meanwhile. The connection must be in autocommit. `first` is called first in each of
    the transactions; what it raises ends the migration there.

    Raises:
        SchemaTooNewError: the schema no longer serves a library this old.
        SchemaError: an applied migration's text has changed since, or its tables stayed locked.
    """
    done = [m for m in migrations() if await _apply_beside_workers(connection, schema, m, first)]
    return tuple(f"{m.number:04}_{m.phase}_{m.name}" for m in done)


async def _apply_beside_workers(
    connection: psycopg.AsyncConnection[Any], schema: str, migration: Migration, first: First
) -> bool:
    """Apply one migration unless it is there, in a moment when nobody holds its tables.

    It lets go of what it has locked before Postgres looks for deadlocks, and tries again: it is never
    a worker's turn that is ended, and nobody waits behind it for a transaction that stays open.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            async with connection.transaction():
                await connection.execute(
                    "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
                    (f"towpath.migrate.{schema}",),
                )
                await connection.execute(
                    "SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,)
                )
                await first(connection)
                return await _apply(connection, schema, migration)
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() > deadline:
                raise SchemaError(
                    schema=schema,
                    reason=f"migration {migration.number:04} waits for tables that others have locked",
                    next_step="End the open transactions in pg_stat_activity, and migrate again",
                ) from None
            await asyncio.sleep(_random.uniform(0.05, 0.2))


async def _apply(
    connection: psycopg.AsyncConnection[Any], schema: str, migration: Migration
) -> bool:
    """Apply one migration unless it is there; the caller holds the lock and the transaction."""
    applied = await _applied(connection, schema)
    if applied.get(migration.number) == migration.checksum:
        return False
    if migration.number in applied:
        raise SchemaError(
            schema=schema,
            reason=f"migration {migration.number:04} was applied with another text",
            next_step="Use the towpath version that applied it, or restore the file",
        )
    if applied:
        row = await (await connection.execute(compose(_VERSION, schema))).fetchone()
        if row is not None and row[1] > LIBRARY_SCHEMA_VERSION:
            raise SchemaTooNewError(
                schema=schema, serves_from=row[1], library=LIBRARY_SCHEMA_VERSION
            )
    else:
        await _create(connection, schema)
    await connection.execute(compose(migration.text, schema))
    await connection.execute(
        compose(_RECORD, schema),
        (migration.number, migration.phase, migration.name, migration.checksum),
    )
    return True


async def _create(connection: psycopg.AsyncConnection[Any], schema: str) -> None:
    """Make the schema and its table of migrations, asking for no right that is not needed."""
    exists = await connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,))
    if await exists.fetchone() is None:
        await connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    await connection.execute(compose(_TABLE, schema))


async def _applied(connection: psycopg.AsyncConnection[Any], schema: str) -> dict[int, str]:
    """Map the number of each applied migration to its checksum; empty where there is no schema."""
    found = await connection.execute(
        "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = 'migration'",
        (schema,),
    )
    if await found.fetchone() is None:
        return {}
    rows = await (await connection.execute(compose(_APPLIED, schema))).fetchall()
    return dict(rows)
