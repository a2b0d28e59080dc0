"""`towpath queue`: look at queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from towpath.cli.options import connected, connection_options, output_option
from towpath.cli.output import age, moment, print_fields, print_json, print_table

if TYPE_CHECKING:
    from towpath.insights.queues import QueueInfo

TITLES = ("NAME", "RUNNING", "WAITING", "OLDEST", "WORKERS", "PER-WORKER", "OWNER")


@click.group(help="Look at queues.")
def queue() -> None:
    """Hold the commands about queues."""


@queue.command("list", short_help="List queues")
@output_option
@connection_options
def list_queues(output: str, database_url: str | None, schema: str | None) -> None:
    """List every queue with what runs and waits in it.

    RUNNING is of how many places, OLDEST the age of the oldest that waits.
    """
    from towpath.insights import queues

    with connected(database_url, schema) as app:
        engine = app.engine
        found = engine.run(lambda session: queues.list_queues(session, engine.statements))
    if output == "json":
        print_json(found)
    elif found:
        print_table(TITLES, [_row(info) for info in found])
    else:
        click.echo(
            f"no queues in schema {engine.settings.schema!r}. Declare one with a Queue manifest, "
            "or Queue(...) in a worker's code.",
            err=True,
        )


@queue.command("get", short_help="Show one queue")
@click.argument("name")
@output_option
@connection_options
def get_queue(name: str, output: str, database_url: str | None, schema: str | None) -> None:
    """Show one queue."""
    from towpath.insights import queues

    with connected(database_url, schema) as app:
        engine = app.engine
        info = engine.run(lambda session: queues.get_queue(session, engine.statements, name))
    if output == "json":
        print_json(info)
        return
    print_fields(
        [
            ("NAME", info.name),
            ("RUNNING", _running(info)),
            ("PER-WORKER", info.worker_concurrency),
            ("WAITING", _waiting(info)),
            ("OLDEST", moment(info.oldest_waiting)),
            ("WORKERS", info.workers),
            ("OWNER", info.owner or "code"),
        ]
    )


def _row(info: QueueInfo) -> tuple[object, ...]:
    return (
        info.name,
        _running(info),
        _waiting(info),
        age(info.oldest_waiting),
        info.workers,
        info.worker_concurrency,
        info.owner or "code",
    )


def _running(info: QueueInfo) -> str:
    return str(info.running) if info.concurrency is None else f"{info.running}/{info.concurrency}"


def _waiting(info: QueueInfo) -> str:
    return f"{info.waiting}+" if info.waiting_capped else str(info.waiting)
