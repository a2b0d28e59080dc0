"""`towpath worker`: run workers, and look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from towpath.cli.options import connected, connection_options, output_option
from towpath.cli.output import age, print_list

if TYPE_CHECKING:
    from towpath.insights.workers import WorkerInfo

TITLES: Final = ("NAME", "STATE", "SLOTS", "RUNNING", "VERSION", "QUEUES", "AGE", "POOL")


@click.group(help="Run workers, and look at them.")
def worker() -> None:
    """Hold the commands about workers."""


RUN_HELP = """Run the workflows of an application until SIGTERM or Ctrl-C.

Either signal stops claiming at once. Running workflows have --drain-seconds to end; then each is
handed back at its next step boundary and goes on elsewhere. 20 seconds later the process ends
whatever still runs. A second Ctrl-C ends it at once.

A flag beats its variable: TOWPATH_QUEUES, TOWPATH_SLOTS, TOWPATH_DRAIN_SECONDS, TOWPATH_SCHEMA,
TOWPATH_DATABASE_URL. TOWPATH_HTTP_PORT serves /livez and /readyz. TOWPATH_LOG_FORMAT is json or
console, TOWPATH_LOG_LEVEL is INFO unless set.

\b
towpath worker run --app shop.workflows
towpath worker run --app shop.workflows:app --queues email,reports --slots 20
"""
RUN_EPILOG = """\b
Exit codes: 0 stopped as asked; 1 the worker failed; 2 a wrong option or variable;
4 the schema is missing or does not serve this version, or the port is in use;
6 the application cannot be imported; 124 steps still ran 20 seconds after the drain;
130 ended at once by a second Ctrl-C.
"""


@worker.command("run", help=RUN_HELP, epilog=RUN_EPILOG, short_help="Run a worker")
@click.option(
    "--app",
    "application",
    required=True,
    metavar="MODULE[:ATTRIBUTE]",
    help="The application: a module, or an App in it",
)
@click.option(
    "--queues", metavar="NAMES", help="Queues to serve, comma-separated; every declared one else"
)
@click.option("--slots", type=click.IntRange(min=1), help="How many workflows run at once  [100]")
@click.option(
    "--drain-seconds",
    type=click.FloatRange(min=0, max=1e9, max_open=True),
    help="How long a stop waits for running workflows  [30]",
)
@connection_options
def run(
    application: str,
    queues: str | None,
    slots: int | None,
    drain_seconds: float | None,
    database_url: str | None,
    schema: str | None,
) -> None:
    """Become a worker."""
    from towpath.cli.worker_process import Options, run_worker

    options = Options(
        application=application,
        flags={
            "TOWPATH_QUEUES": queues,
            "TOWPATH_SLOTS": None if slots is None else str(slots),
            "TOWPATH_DRAIN_SECONDS": None if drain_seconds is None else str(drain_seconds),
        },
        database_url=database_url,
        schema=schema,
    )
    raise click.exceptions.Exit(run_worker(options))


@worker.command("list", short_help="List workers")
@output_option
@connection_options
def list_workers(output: str, database_url: str | None, schema: str | None) -> None:
    """List every worker with what it runs.

    STATE is live, draining (it takes nothing new) or dead (its lease has run out). RUNNING are in its
    memory; SLOTS are those that they take, of how many: a workflow that waits takes none.
    """
    from towpath.insights import workers

    with connected(database_url, schema) as app:
        engine = app.engine
        found = engine.run(lambda session: workers.list_workers(session, engine.statements))
    none = f"no workers in schema {engine.settings.schema!r}. Try: towpath worker run --app MODULE"
    print_list(output, found, TITLES, _row, none)


def _row(info: WorkerInfo) -> tuple[object, ...]:
    return (
        info.name,
        info.state,
        f"{info.slots_taken}/{info.slots}",
        info.running,
        info.version,
        ",".join(info.queues),
        age(info.started_at),
        info.pool,
    )
