"""`towpath db grants`: the rights of a login that workers connect by."""

from __future__ import annotations

import click

from towpath.cli.db_connection import on_connection, settings_of
from towpath.cli.options import connection_options

HELP = """Print what grants a login the rights that workers need, and no more.

The schema's owner, or whoever administers the server, runs it: `towpath db migrate` and the operator
grant anew whatever a later version needs. The login is made by the latter:

\b
CREATE ROLE shop_worker LOGIN PASSWORD '...'
towpath db grants --role shop_worker | psql ...
towpath db grants --role shop_worker --apply
"""


@click.command(help=HELP, short_help="Print or grant the rights of a workers' login")
@click.option("--role", metavar="NAME", required=True, help="The login that workers connect by")
@click.option("--apply", is_flag=True, help="Grant them, instead of printing the SQL")
@connection_options
def grants(role: str, database_url: str | None, schema: str | None, *, apply: bool) -> None:
    """Print the statements, or run them as one transaction."""
    from towpath.store.grants import grant, grantable

    settings = settings_of(database_url, schema)
    if apply:
        on_connection(settings, lambda connection: grant(connection, settings.schema, role))
        click.echo(f"{role} has the rights of workers in schema {settings.schema}", err=True)
        return
    texts = on_connection(settings, lambda connection: grantable(connection, settings.schema, role))
    click.echo("".join(f"{text};\n" for text in ("BEGIN", *texts, "COMMIT")), nl=False)
