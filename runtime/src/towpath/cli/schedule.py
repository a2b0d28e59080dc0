"""`towpath schedule`: look at schedules, stop them, and run them out of turn."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from towpath.cli.options import connected, connection_options, output_option
from towpath.cli.output import print_json, print_list

if TYPE_CHECKING:
    from towpath.insights.schedules import ScheduleInfo

TITLES = ("NAME", "STATE", "CRON", "TIMEZONE", "WORKFLOW", "QUEUE", "LAST", "NEXT", "WORKERS")


@click.group(help="Look at schedules, stop them, and run them out of turn.")
def schedule() -> None:
    """Hold the commands about schedules."""


@schedule.command("list", short_help="List schedules")
@output_option
@connection_options
def list_schedules(output: str, database_url: str | None, schema: str | None) -> None:
    """List every schedule.

    STATE is active, paused (no tick fires) or orphaned (no live worker declares it, so that no tick
    fires either); LAST and NEXT are ticks.
    """
    with connected(database_url, schema) as app:
        found = app.list_schedules()
    none = (
        f"no schedules in schema {app.engine.settings.schema!r}. Declare one with "
        "@towpath.schedule(...) in a worker's code."
    )
    print_list(output, found, TITLES, _row, none)


@schedule.command(short_help="Let no tick fire")
@click.argument("name")
@connection_options
def pause(name: str, database_url: str | None, schema: str | None) -> None:
    """Let no tick fire from now on. What has fired goes on."""
    with connected(database_url, schema) as app:
        app.pause_schedule(name)
    click.echo(f"schedule {name!r} is paused. Try: towpath schedule resume {name}", err=True)


@schedule.command(short_help="Let ticks fire again")
@click.argument("name")
@connection_options
def resume(name: str, database_url: str | None, schema: str | None) -> None:
    """Let the ticks of a paused schedule fire from now on; those of the pause do not."""
    with connected(database_url, schema) as app:
        app.resume_schedule(name)
    click.echo(f"schedule {name!r} is not paused", err=True)


@schedule.command(short_help="Start its workflow now")
@click.argument("name")
@output_option
@connection_options
def trigger(name: str, output: str, database_url: str | None, schema: str | None) -> None:
    """Start a schedule's workflow now, out of turn, and print its id."""
    with connected(database_url, schema) as app:
        started = app.trigger_schedule(name).workflow_id
    print_json({"workflow_id": started}) if output == "json" else click.echo(started)


BACKFILL_HELP = """Fire the ticks from START on and before END that have not fired; print their ids.

START and END are dates with times and a time zone. Ticks that are not due yet are left to come.

\b
towpath schedule backfill report 2026-03-01T00:00:00Z 2026-03-08T00:00:00+01:00
"""


@schedule.command(help=BACKFILL_HELP, short_help="Fire ticks of the past")
@click.argument("name")
@click.argument("start")
@click.argument("end")
@output_option
@connection_options
def backfill(
    name: str, start: str, end: str, output: str, database_url: str | None, schema: str | None
) -> None:
    """Fire the ticks of a time."""
    begin, until = _read_moment("START", start), _read_moment("END", end)
    with connected(database_url, schema) as app:
        fired = app.backfill_schedule(name, begin, until)
    created = [handle.workflow_id for handle, is_new in fired if is_new]
    if output == "json":
        print_json([{"workflow_id": h.workflow_id, "created": is_new} for h, is_new in fired])
        return
    for workflow_id in created:
        click.echo(workflow_id)
    before = len(fired) - len(created)
    click.echo(f"{len(created)} ticks fired; {before} had fired before", err=True)


@schedule.command(short_help="Delete an orphaned schedule")
@click.argument("name")
@connection_options
def delete(name: str, database_url: str | None, schema: str | None) -> None:
    """Delete a schedule that no live worker declares. Workflows that it has started stay."""
    with connected(database_url, schema) as app:
        app.delete_schedule(name)
    click.echo(f"schedule {name!r} is deleted", err=True)


def _read_moment(name: str, text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.utcoffset() is None:
        raise click.UsageError(
            f"{name} is {text!r}; allowed is a date with time and zone, such as 2026-03-01T09:00:00Z."
        )
    return found


def _row(info: ScheduleInfo) -> tuple[object, ...]:
    return (
        info.name,
        info.state,
        info.cron,
        info.timezone,
        info.workflow_name,
        info.queue_name,
        _tick(info.last_tick),
        _tick(info.next_tick),
        len(info.workers),
    )


def _tick(tick: datetime | None) -> str | None:
    return None if tick is None else tick.isoformat()
