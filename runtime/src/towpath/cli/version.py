"""`towpath version`: of this program, and the application's versions."""

from __future__ import annotations

import platform
from importlib import metadata

import click

from towpath.cli.options import connected, connection_options, output_option
from towpath.cli.output import moment, print_json, print_table

TITLES = ("VERSION", "CURRENT", "WORKERS", "DELAYED", "ENQUEUED", "PENDING", "PROMOTED")
HELP = """Print the version of this program, or look at the application's versions.

An application's version is what its workers have in TOWPATH_VERSION.
"""


@click.group(help=HELP, short_help="Print the version", invoke_without_command=True)
@output_option
@click.pass_context
def version(ctx: click.Context, output: str) -> None:
    """Print the version, and what it goes with."""
    if ctx.invoked_subcommand is not None:
        return
    number = metadata.version("towpath")
    if output == "table":
        click.echo(f"towpath {number}")
        return
    from towpath.store.migrate import LIBRARY_SCHEMA_VERSION

    print_json(
        {
            "version": number,
            "schema_version": LIBRARY_SCHEMA_VERSION,
            "python": platform.python_version(),
        }
    )


@version.command("list", short_help="List the application's versions")
@output_option
@connection_options
def list_versions(output: str, database_url: str | None, schema: str | None) -> None:
    """List the versions that were promoted, that live workers run, or that open workflows carry.

    <none> is for what carries no version. CURRENT is the version that begins what was enqueued without
    one; until one is promoted, every version does. A version without workers whose workflows have not
    ended needs a worker.
    """
    with connected(database_url, schema) as app:
        found = app.list_versions()
    if output == "json":
        print_json(found)
        return
    print_table(
        TITLES,
        [
            (
                info.name,
                info.current,
                len(info.workers),
                info.delayed,
                info.enqueued,
                info.pending,
                moment(info.promoted_at),
            )
            for info in found
        ],
    )


@version.command(short_help="Let a version begin what carries none")
@click.argument("name")
@connection_options
def promote(name: str, database_url: str | None, schema: str | None) -> None:
    """Let a version begin what is enqueued without one. Other versions go on with what they began."""
    with connected(database_url, schema) as app:
        changed = app.promote_version(name)
        runs = any(info.workers for info in app.list_versions() if info.name == name)
    click.echo(f"version {name!r} is {'now' if changed else 'already'} the current one", err=True)
    if not runs:
        click.echo(
            f"no live worker runs it: start one with TOWPATH_VERSION={name}, or new work waits",
            err=True,
        )
