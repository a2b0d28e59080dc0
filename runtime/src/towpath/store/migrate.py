"""Numbered migrations with checksums, each in one transaction, under an advisory lock.

A file is `NNNN_<phase>_<name>.sql`. The pre phase runs before new code. The post phase takes away what
older code needs: it waits while a worker lives whose library is older than the file's first line says,
`-- since 0.4.0`. What was applied is in the schema's table `migration`; a file that changed after it was
applied is an error, never a silent second schema.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final, Literal

import psycopg
from psycopg import sql

from towpath.domain.errors import (
    SchemaError,
    SchemaMissingError,
    SchemaNotGrantedError,
    SchemaOlderError,
    SchemaTooNewError,
)
from towpath.store.grants import grant_anew
from towpath.store.schema_lock import First, hold_schema, nothing
from towpath.store.statements import Statements, compose

LIBRARY_SCHEMA_VERSION = 3
"""The schema version that this library is written for."""

PATIENCE_SECONDS = 60.0
LOCK_TIMEOUT = "200ms"
"""Well below Postgres's deadlock_timeout, 1 s by default."""

_random = random.SystemRandom()  # of our own: an application may have seeded the global one

PRE: Final = "pre"
POST: Final = "post"

_SINCE = re.compile(r"-- since (\S+)\n")
_RELEASE = re.compile(r"\d+(\.\d+)*")
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

    @property
    def since(self) -> str:
        """The first release of the library that goes on without what a post migration takes away."""
        match = _SINCE.match(self.text)
        if match is None:
            raise ValueError(f"migration {self} must begin with the line: -- since RELEASE")
        return match[1]

    def __str__(self) -> str:
        return f"{self.number:04}_{self.phase}_{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OlderWorkers:
    """Live workers of a library that still needs what a post migration takes away.

    `pool` is their WorkerPool, as namespace/name; None where they are of none.
    """

    pool: str | None
    library: str
    count: int

    def __str__(self) -> str:
        workers = "1 worker" if self.count == 1 else f"{self.count} workers"
        of = f"of pool {self.pool}" if self.pool else "of no pool"
        return f"{workers} {of} with towpath {self.library}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """How far one phase of the migrations is: which are pending, and for whom they wait."""

    name: Literal["pre", "post"]
    pending: tuple[str, ...] = ()
    waits_for: tuple[OlderWorkers, ...] = ()

    @property
    def state(self) -> Literal["Applied", "Pending", "Waits"]:
        """The phase in one word."""
        if not self.pending:
            return "Applied"
        return "Waits" if self.waits_for else "Pending"

    def __str__(self) -> str:
        names = ", ".join(self.pending)
        if not self.waits_for:
            return f"{names} pending" if names else "all applied"
        whom = "; ".join(map(str, self.waits_for))
        return f"{names} waits until no older worker lives: {whom}"


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
    """Look at a schema without changing anything.

    Raises:
        SchemaNotGrantedError: this login may not use it.
        SchemaError: it is not as migrations leave it.
    """
    try:
        return await _state(connection, schema)
    except psycopg.errors.InsufficientPrivilege:
        raise SchemaNotGrantedError(schema=schema, role=connection.info.user) from None


async def _state(connection: psycopg.AsyncConnection[Any], schema: str) -> SchemaState:
    applied = await _applied(connection, schema)
    pending = tuple(str(m) for m in migrations() if m.number not in applied)
    if not applied:
        return SchemaState(schema, None, None, pending)
    row = await (await connection.execute(compose(_VERSION, schema))).fetchone()
    if row is None:
        raise SchemaError(
            schema=schema, reason="its table schema_version is empty", next_step="Restore the row"
        )
    return SchemaState(schema, row[0], row[1], pending)


async def phases(
    connection: psycopg.AsyncConnection[Any],
    schema: str,
    *,
    known: Sequence[Migration] | None = None,
) -> tuple[Phase, Phase]:
    """Say how far each phase is, without changing anything."""
    applied = await _applied(connection, schema)
    pending = [m for m in known or migrations() if m.number not in applied]
    pre = tuple(str(m) for m in pending if m.phase == PRE)
    post = [m for m in pending if m.phase == POST]
    waits_for = await _older_workers(connection, schema, post[0]) if post and applied else ()
    return (
        Phase(name=PRE, pending=pre),
        Phase(name=POST, pending=tuple(map(str, post)), waits_for=waits_for),
    )


async def _older_workers(
    connection: psycopg.AsyncConnection[Any], schema: str, migration: Migration
) -> tuple[OlderWorkers, ...]:
    """Return the live workers for which a post migration waits."""
    since = _release(migration.since)
    found = await connection.execute(Statements(schema)["live_libraries"])
    workers = (
        OlderWorkers(pool=pool, library=library, count=count)
        for pool, library, count in await found.fetchall()
    )
    return tuple(one for one in workers if _release(one.library) < since)


def _release(version: str) -> tuple[int, ...]:
    """Return a version's numbers, without what follows; what is no version is older than any."""
    match = _RELEASE.match(version)
    return tuple(map(int, match[0].split("."))) if match else ()


async def pending_sql(connection: psycopg.AsyncConnection[Any], schema: str) -> str:
    """Return the SQL of what `migrate` would apply, with what it writes down, for people to review."""
    applied = await _applied(connection, schema)
    _, post = await phases(connection, schema)
    pending = [
        m
        for m in _in_order(migrations())
        if m.number not in applied and (m.phase == PRE or not post.waits_for)
    ]
    parts = [f"-- {post}"] if post.waits_for else []
    if not applied and pending:
        name = sql.Identifier(schema).as_string()
        parts.append(f"CREATE SCHEMA IF NOT EXISTS {name};\n{_text(_TABLE, schema)};")
    for m in pending:
        record = sql.SQL(_RECORD.replace("%s", "{}")).format(
            m.number, m.phase, m.name, m.checksum, schema=sql.Identifier(schema)
        )
        parts.append(f"-- {m}\nBEGIN;\n{_text(m.text, schema)}\n{record.as_string()};\nCOMMIT;")
    return "".join(f"{part}\n\n" for part in parts)


def _text(text: str, schema: str) -> str:
    return compose(text, schema).decode().strip()


def _in_order(known: Sequence[Migration]) -> list[Migration]:
    """Put the pre phase before the post phase: a pre migration waits for no older worker."""
    return sorted(known, key=lambda m: (m.phase == POST, m.number))


async def migrate(
    connection: psycopg.AsyncConnection[Any],
    schema: str,
    *,
    first: First = nothing,
    known: Sequence[Migration] | None = None,
) -> tuple[str, ...]:
    """Bring a schema up to date and return the names of what was applied.

    Any number of processes may call it at once: one works, the others wait and find nothing to do.
    Workers go on meanwhile; a post migration is left for later while one of them is older (`phases` says
    which). The connection must be in autocommit. `first` is called first in each of the transactions;
    what it raises ends the migration there.

    Raises:
        SchemaTooNewError: the schema no longer serves a library this old.
        SchemaError: an applied migration's text has changed since, or its tables stayed locked.
    """
    done = []
    for migration in _in_order(known or migrations()):
        if migration.phase == POST and await _older_workers(connection, schema, migration):
            break
        if await _apply_beside_workers(connection, schema, migration, first):
            done.append(str(migration))
    return tuple(done)


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
                await hold_schema(connection, schema)
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
    await grant_anew(connection, schema)
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
