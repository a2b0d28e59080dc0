"""`towpath workflow stream`: what a workflow writes, while it does."""

from __future__ import annotations

import click

from towpath.cli.options import connected, connection_options
from towpath.cli.output import print_value

HELP = """Print the values of a workflow's stream, each as one line of JSON, from the first on.

It goes on until the stream is closed or the workflow has ended.
"""


@click.command(help=HELP, short_help="Print a workflow's stream as it comes")
@click.argument("workflow_id", metavar="ID")
@click.argument("key")
@connection_options
def stream(workflow_id: str, key: str, database_url: str | None, schema: str | None) -> None:
    """Read a stream."""
    with connected(database_url, schema) as app:
        for value in app.read_stream(workflow_id, key):
            print_value(value)
