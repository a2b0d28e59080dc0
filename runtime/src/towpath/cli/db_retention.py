"""`towpath db retention`: how long ended workflows are kept where their queue does not say."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import click

from towpath.cli.options import connected, connection_options
from towpath.cli.times import length, parse_length

HELP = """Show or set how long ended workflows are kept where their queue does not say.

\b
towpath db retention --succeeded 7d --failed 30d
towpath db retention --succeeded never
"""


def parse_kept(given: str) -> timedelta | None:
    """Return a length of time; None for never, which deletes nothing."""
    return None if given == "never" else parse_length(given)


@click.command(help=HELP, short_help="Show or set how long ended workflows are kept")
@click.option("--succeeded", metavar="LENGTH", help="After a SUCCESS: 7d, 12h, ..., or never")
@click.option("--failed", metavar="LENGTH", help="After any other end")
@connection_options
def retention(
    succeeded: str | None, failed: str | None, database_url: str | None, schema: str | None
) -> None:
    """Print the default after it was changed as the options say."""
    from towpath.domain.queue import check_retention
    from towpath.store.managing import default_retention, set_default_retention

    with connected(database_url, schema) as app:
        engine = app.engine
        kept = engine.run(lambda session: default_retention(session, engine.statements))
        if succeeded is not None:
            kept = replace(kept, succeeded=parse_kept(succeeded))
        if failed is not None:
            kept = replace(kept, failed=parse_kept(failed))
        check_retention(kept)
        if succeeded is not None or failed is not None:
            engine.run(lambda session: set_default_retention(session, engine.statements, kept))
    for end in ("succeeded", "failed"):
        time: timedelta | None = getattr(kept, end)
        said = "for ever" if time is None else f"for {length(time)}"
        click.echo(f"{end} workflows are kept {said}")
