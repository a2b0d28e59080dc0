"""`towpath db`: look at the schema and migrate it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from towpath.cli.db_connection import on_connection, settings_of
from towpath.cli.db_grants import grants
from towpath.cli.db_retention import retention
from towpath.cli.options import connection_options, output_option
from towpath.cli.output import print_json, print_table

if TYPE_CHECKING:
    import psycopg

    from towpath.store.migrate import Phase, SchemaState


@click.group(help="Look at the schema in the database and migrate it.")
def db() -> None:
    """Hold the commands about the database."""


db.add_command(retention)
db.add_command(grants)


@db.command(short_help="Say whether the schema serves this version")
@output_option
@connection_options
def status(output: str, database_url: str | None, schema: str | None) -> None:
    """Say whether the database can be reached and its schema serves this version.

    PRE and POST are the phases of its migrations. Before new code comes pre; post takes away what older
    code needs, and waits while a worker of an older version lives.

    The exit code is 0 only if it does: 4 says that the schema is missing, older or too new, 5 that
    the database cannot be reached.
    """
    from towpath.store.migrate import LIBRARY_SCHEMA_VERSION

    settings = settings_of(database_url, schema)
    state, pre, post, server = on_connection(settings, lambda c: _look(c, settings.schema))
    if output == "json":
        print_json(
            {
                "schema": state.schema,
                "version": state.version,
                "serves_from": state.serves_from,
                "library": LIBRARY_SCHEMA_VERSION,
                "pending": state.pending,
                "phases": {phase.name: _as_json(phase) for phase in (pre, post)},
                "server": server,
            }
        )
    else:
        print_table(
            ("SCHEMA", "VERSION", "LIBRARY", "SERVER", "PRE", "POST"),
            [(state.schema, state.version, LIBRARY_SCHEMA_VERSION, server, str(pre), str(post))],
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

    Any number of processes may do this at once: one works, the others wait for it. What older workers
    that still live need is taken away only by a later call, once they are gone; it says so.
    """
    settings = settings_of(database_url, schema)
    if dry_run:
        from towpath.store.migrate import pending_sql

        click.echo(on_connection(settings, lambda c: pending_sql(c, settings.schema)), nl=False)
        return
    applied, post = on_connection(settings, lambda c: _migrate(c, settings.schema))
    if output == "json":
        print_json({"schema": settings.schema, "applied": applied, "post": _as_json(post)})
        return
    for name in applied:
        click.echo(name)
    done = f"{len(applied)} applied" if applied else "nothing to do"
    click.echo(f"schema {settings.schema!r} is up to date: {done}", err=True)
    if post.waits_for:
        click.echo(f"later: {post}. Try again then: towpath db migrate", err=True)


async def _look(
    connection: psycopg.AsyncConnection[Any], schema: str
) -> tuple[SchemaState, Phase, Phase, str]:
    from towpath.store.migrate import phases, schema_state

    state = await schema_state(connection, schema)
    pre, post = await phases(connection, schema)
    # which Postgres answers: 18.6
    server = str(connection.info.parameter_status("server_version")).split()[0]
    return state, pre, post, server


async def _migrate(
    connection: psycopg.AsyncConnection[Any], schema: str
) -> tuple[tuple[str, ...], Phase]:
    from towpath.store.migrate import migrate as migrate_schema
    from towpath.store.migrate import phases

    applied = await migrate_schema(connection, schema)
    _, post = await phases(connection, schema)
    return applied, post


def _as_json(phase: Phase) -> dict[str, Any]:
    waits_for = [
        {"pool": one.pool, "library": one.library, "workers": one.count} for one in phase.waits_for
    ]
    return {"state": phase.state, "pending": phase.pending, "waits_for": waits_for}
