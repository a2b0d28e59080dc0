"""`towpath version`."""

from __future__ import annotations

import platform
from importlib import metadata

import click

from towpath.cli.options import output_option
from towpath.cli.output import print_json


@click.command(help="Print the version of this program.", short_help="Print the version")
@output_option
def version(output: str) -> None:
    """Print the version, and what it goes with."""
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
