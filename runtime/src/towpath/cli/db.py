"""`towpath db`: look at the schema and migrate it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

from towpath.cli.db_retention import retention
from towpath.cli.exits import CommandError, ExitCode
from towpath.cli.options import connection_options, output_option
from towpath.cli.output import print_json, print_table
from towpath.domain.errors import DatabaseUnreachableError

if TYPE_CHECKING:
    import psycopg

    from towpath.executor.engine import EngineSettings
    from towpath.store.migrate import SchemaState

T = TypeVar("T")


@click.group(help="Look at the schema in the database and migrate it.")
def db() -> None:
    """Hold the commands about the database."""


db.add_command(retention)


@db.command(short_help="Say whether the schema serves this version")
@output_option
@connection_options
def status(output: str, database_url: str | None, schema: str | None) -> None:
    """Say whether the database can be reached and its schema serves this version.

    The exit code is 0 only if it does: 4 says that the schema is missing, older or too new, 5 that
    the database cannot be reached.
    """
    from towpath.store.migrate import LIBRARY_SCHEMA_VERSION

    settings = _settings(database_url, schema)
    state, server = _run(_look(settings))
    if output == "json":
        print_json(
            {
                "schema": state.schema,
                "version": state.version,
                "serves_from": state.serves_from,
                "library": LIBRARY_SCHEMA_VERSION,
                "pending": state.pending,
                "server": server,
            }
        )
    else:
        pending = ", ".join(state.pending)
        print_table(
            ("SCHEMA", "VERSION", "LIBRARY", "SERVER", "PENDING"),
            [(state.schema, state.version, LIBRARY_SCHEMA_VERSION, server, pending)],
        )
    state.check()


@db.command(short_help="Bring the schema up to date")
@click.option(
    "--dry-run", is_flag=True, help="Print the SQL of what is pending, and change nothing"
)
@output_option
@connection_options
def migrate(output: str, database_url: str | None, schema: str | None, *, dry_run: bool) -> None:
    """Make the schema where it is missing, and bring it up to date.

    Any number of processes may do this at once: one works, the others wait for it.
    """
    settings = _settings(database_url, schema)
    if dry_run:
        click.echo(_run(_pending(settings)), nl=False)
        return
    applied = _run(_migrate(settings))
    if output == "json":
        print_json({"schema": settings.schema, "applied": applied})
        return
    for name in applied:
        click.echo(name)
    done = f"{len(applied)} applied" if applied else "nothing to do"
    click.echo(f"schema {settings.schema!r} is up to date: {done}", err=True)


def _run(work: Coroutine[Any, Any, T]) -> T:
    import asyncio

    return asyncio.run(work)


def _settings(database_url: str | None, schema: str | None) -> EngineSettings:
    from towpath.api.connection import find_engine_settings

    return find_engine_settings(database_url, schema)


async def _open(settings: EngineSettings) -> psycopg.AsyncConnection[Any]:
    from towpath.store.connect import open_async

    try:
        return await open_async(settings.endpoint)
    except DatabaseUnreachableError as error:
        # the error's own hint is this very command
        raise CommandError(
            f"the database cannot be reached: {error.reason}. Look at the server, and at the host, "
            "port, user and password of its URL.",
            ExitCode.UNREACHABLE,
        ) from None


async def _look(settings: EngineSettings) -> tuple[SchemaState, str]:
    from towpath.store.migrate import schema_state

    async with await _open(settings) as connection:
        state = await schema_state(connection, settings.schema)
        return state, _server(connection)


async def _pending(settings: EngineSettings) -> str:
    from towpath.store.migrate import pending_sql

    async with await _open(settings) as connection:
        return await pending_sql(connection, settings.schema)


async def _migrate(settings: EngineSettings) -> tuple[str, ...]:
    from towpath.store.migrate import migrate as migrate_schema

    async with await _open(settings) as connection:
        return await migrate_schema(connection, settings.schema)


def _server(connection: Any) -> str:
    """Say which Postgres answers: 18.6."""
    return str(connection.info.parameter_status("server_version")).split()[0]
