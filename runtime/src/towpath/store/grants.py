"""What a login of workers may do in the schema, and the statements that grant it.

It may do what workers and applications do, and no more: it can neither migrate nor drop nor create, and
what decides over others is not its to write, as the current version and the default retention. A
migration grants anew, in its own transaction, to each login that has these rights: no worker meets a
table that it may not use yet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from towpath.domain.errors import GrantRefusedError, RoleNotFoundError, SchemaMissingError
from towpath.store.schema_lock import First, hold_schema, nothing
from towpath.store.statements import Statements

_READ: Final = ("SELECT",)
_KEEP: Final = ("SELECT", "INSERT", "DELETE")
_ALL: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")

TABLES: Final[Mapping[str, Sequence[str]]] = {
    "alarm": _KEEP,
    "awake": _ALL,
    "deadline": _ALL,
    "debounce": _ALL,
    "deduplication": _KEEP,
    "event": _KEEP,
    "gate": ("SELECT", "INSERT", "UPDATE"),
    "message": _ALL,
    "migration": _READ,
    "parked": _ALL,
    "queue": ("SELECT", "INSERT", "UPDATE"),
    "ready": _ALL,
    "result": _ALL,
    "retention": _READ,
    "running": _ALL,
    "schedule": _ALL,
    "schedule_declaration": ("SELECT", "INSERT", "UPDATE"),
    "schema_version": _READ,
    "sent": _KEEP,
    "sleeper": _KEEP,
    "start": _KEEP,
    "step": _ALL,
    "stream": _KEEP,
    "ticket": _ALL,
    "version": _READ,
    "wait": _ALL,
    "wake": _KEEP,
    "worker": _ALL,
    "workflow": _ALL,
}
"""The rights by table; a row lock needs UPDATE. What is not here is the operator's alone."""

COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "retention": ("round_began", "next_round", "looked_until"),
}
"""The columns of a table that may be updated, where the others may not."""

SEQUENCES: Final[Mapping[str, Sequence[str]]] = {"workflow_seq": ("USAGE",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What is amiss with a login's rights, in words that begin with the right: `INSERT on queue`.

    Attributes:
        missing: What it may not do and should.
        excess: What it is or may do beyond that, which makes the schema as safe as its password.
    """

    missing: tuple[str, ...] = ()
    excess: tuple[str, ...] = ()


def grant_statements(schema: str, role: str, *, among: Collection[str]) -> list[str]:
    """Return what grants a login the least that workers need, on those tables and sequences."""
    names = {"schema": sql.Identifier(schema), "role": sql.Identifier(role)}
    texts = [
        sql.SQL("REVOKE ALL ON SCHEMA {schema} FROM PUBLIC").format(**names),
        sql.SQL("REVOKE CREATE ON SCHEMA {schema} FROM {role}").format(**names),
        sql.SQL("GRANT USAGE ON SCHEMA {schema} TO {role}").format(**names),
        sql.SQL("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role}").format(**names),
        *(
            sql.SQL("GRANT {what} {object} TO {role}").format(
                what=what, object=sql.Identifier(schema, name), **names
            )
            for name, what in _granted()
            if name in among
        ),
    ]
    return [text.as_string() for text in texts]


async def grantable(connection: psycopg.AsyncConnection[Any], schema: str, role: str) -> list[str]:
    """Return the statements for what a schema holds now.

    Raises:
        SchemaMissingError: there is no such schema.
    """
    return grant_statements(schema, role, among=await _relations(connection, schema))


async def grant(
    connection: psycopg.AsyncConnection[Any], schema: str, role: str, *, first: First = nothing
) -> None:
    """Give a login what its workers need, all or nothing; again where it has it.

    `first` is called first in the transaction.

    Raises:
        RoleNotFoundError: there is no such login.
        SchemaMissingError: there is no such schema.
        GrantRefusedError: whoever connected may not grant this.
    """
    try:
        async with connection.transaction():
            await hold_schema(connection, schema, first)
            among = await _relations(connection, schema)
            if await worker_rights(connection, schema, role) is None:
                raise RoleNotFoundError(role=role)
            await _grant(connection, schema, role, among)
            left = await worker_rights(connection, schema, role)
            if left is not None and left.missing:  # Postgres only warns of what it has not granted
                raise GrantRefusedError(schema=schema, role=role)
    except psycopg.errors.InsufficientPrivilege:
        raise GrantRefusedError(schema=schema, role=role) from None


async def worker_rights(
    connection: psycopg.AsyncConnection[Any], schema: str, role: str
) -> Rights | None:
    """Compare a login's rights with what workers need; None where there is no such login."""
    columns = ("objects", "columns", "privileges")
    listed = dict(zip(columns, map(list, zip(*_listed(), strict=True)), strict=True))
    parameters = {"schema": schema, "role": role, **listed}
    found = await connection.execute(Statements(schema)["worker_rights"], parameters)
    row = await found.fetchone()
    return None if row is None else Rights(missing=tuple(row[0]), excess=tuple(row[1]))


async def grant_anew(connection: psycopg.AsyncConnection[Any], schema: str) -> None:
    """Give every login that has a worker's rights what a migration has brought, in its transaction."""
    statements = Statements(schema)
    found = await connection.execute(statements["worker_logins"], {"schema": schema})
    for (role,) in await found.fetchall():
        await _grant(connection, schema, role, await _relations(connection, schema))


async def _grant(
    connection: psycopg.AsyncConnection[Any], schema: str, role: str, among: Collection[str]
) -> None:
    for text in grant_statements(schema, role, among=among):
        await connection.execute(text.encode())


async def _relations(connection: psycopg.AsyncConnection[Any], schema: str) -> frozenset[str]:
    """Name the tables and sequences of a schema that was migrated."""
    found = await connection.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relkind IN ('r', 'S')",
        (schema,),
    )
    names = frozenset(row[0] for row in await found.fetchall())
    if "migration" not in names:
        raise SchemaMissingError(schema=schema)
    return names


def _listed() -> Iterator[tuple[str, str | None, str]]:
    """Yield every right: of what, of which column of it, and which."""
    for name, rights in (*TABLES.items(), *SEQUENCES.items()):
        yield from ((name, None, right) for right in rights)
    for name, columns in COLUMNS.items():
        yield from ((name, column, "UPDATE") for column in columns)


def _granted() -> Iterator[tuple[str, sql.Composable]]:
    """Yield each object with what is granted on it."""
    for name, rights in TABLES.items():
        yield name, sql.SQL(", ".join(rights) + " ON")
    for name, columns in COLUMNS.items():
        listed = sql.SQL(", ").join(map(sql.Identifier, columns))
        yield name, sql.SQL("UPDATE ({}) ON").format(listed)
    for name, rights in SEQUENCES.items():
        yield name, sql.SQL(", ".join(rights) + " ON SEQUENCE")
