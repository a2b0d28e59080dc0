"""`towpath workflow list` and `steps`, and the filters that they share with `retry`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from towpath.cli.options import (
    connected,
    connection_options,
    output_option,
    wide_output_option,
)
from towpath.cli.output import age, moment, print_json, print_table
from towpath.cli.times import parse_moment
from towpath.domain.status import WorkflowStatus

if TYPE_CHECKING:
    from towpath.domain.workflow_filter import FilterOptions
    from towpath.insights.steps import StepInfo
    from towpath.insights.workflows import WorkflowInfo

F = TypeVar("F", bound=Callable[..., Any])

TITLES: Final = ("ID", "NAME", "QUEUE", "STATUS", "ATTEMPT", "AGE", "WORKER")
WIDE_TITLES: Final = (*TITLES, "VERSION", "DEADLINE", "WAITS FOR")
STEP_TITLES: Final = ("POSITION", "NAME", "ATTEMPT", "TOOK", "CHILD", "RESULT")
SHOWN_CHARACTERS: Final = 80
"""Of a step's result in the table; JSON has all of it."""


def filter_options(command: F) -> F:
    """Add the filters, under the names that `FilterOptions` has for them."""
    for option in reversed(
        [
            click.option("--queue", "queue_name", multiple=True, metavar="NAME", help="Of a queue"),
            click.option("--name", multiple=True, metavar="NAME", help="Of a function"),
            click.option("--key", "queue_partition_key", multiple=True, help="Of a partition key"),
            click.option(
                "--version", "app_version", multiple=True, help="Of an application version"
            ),
            click.option(
                "--parent", "parent_workflow_id", multiple=True, metavar="ID", help="Started by it"
            ),
            click.option("--forked-from", multiple=True, metavar="ID", help="Forked from it"),
            click.option("--prefix", "workflow_id_prefix", help="Whose ids begin so"),
            click.option("--deduplication-id", multiple=True, help="Enqueued with it, held or not"),
            click.option(
                "--since",
                "created_after",
                type=parse_moment,
                metavar="WHEN",
                help="Enqueued from then on: 90m, 1d, ...",
            ),
            click.option(
                "--until",
                "created_before",
                type=parse_moment,
                metavar="WHEN",
                help="Enqueued before",
            ),
            click.option(
                "--ended-since",
                "completed_after",
                type=parse_moment,
                metavar="WHEN",
                help="Ended since then",
            ),
            click.option(
                "--ended-until",
                "completed_before",
                type=parse_moment,
                metavar="WHEN",
                help="Ended before",
            ),
        ]
    ):
        command = option(command)
    return command


def filters_of(given: Mapping[str, Any]) -> FilterOptions:
    """Return the filters that were given; an option that may be repeated is a tuple, empty if it was not."""
    asked = {name: value for name, value in given.items() if value not in (None, ())}
    return cast("FilterOptions", asked)


LIST_HELP = """List workflows, newest first. A filter that is given twice lets both through.

\b
towpath workflow list --status ERROR --queue email --since 1d
towpath workflow list --status ENQUEUED --status PENDING --limit 100 --after order-42
"""


@click.command("list", help=LIST_HELP, short_help="List workflows")
@filter_options
@click.option(
    "--status",
    type=click.Choice([str(status) for status in WorkflowStatus], case_sensitive=False),
    multiple=True,
    help="Of a status",
)
@click.option("--oldest-first", is_flag=True, help="Oldest first")
@click.option("--after", metavar="ID", help="The last one of the page before")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, help="At most so many  [50]")
@wide_output_option
@connection_options
def list_workflows(
    limit: int,
    after: str | None,
    output: str,
    database_url: str | None,
    schema: str | None,
    *,
    oldest_first: bool,
    **given: Any,
) -> None:
    """Print a page of workflows."""
    whole = output == "json"
    with connected(database_url, schema) as app:
        found = app.list_workflows(
            limit=limit,
            after=after,
            order="oldest" if oldest_first else "newest",
            load_input=whole,
            load_output=whole,
            **filters_of(given),
        )
    if whole:
        print_json(found)
    elif found:
        wide = output == "wide"
        rows = [(*_row(info), *(_more(info) if wide else ())) for info in found]
        print_table(WIDE_TITLES if wide else TITLES, rows)
    else:
        click.echo("no workflows", err=True)


@click.command(short_help="List the steps of a workflow")
@click.argument("workflow_id", metavar="ID")
@output_option
@connection_options
def steps(workflow_id: str, output: str, database_url: str | None, schema: str | None) -> None:
    """List the steps that a workflow has recorded, and the workflows that they started."""
    with connected(database_url, schema) as app:
        found = app.list_workflow_steps(workflow_id)
    if output == "json":
        print_json(found)
    elif found:
        print_table(STEP_TITLES, [_step_row(step) for step in found])
    else:
        click.echo("no steps", err=True)


def _row(info: WorkflowInfo) -> tuple[object, ...]:
    return (
        info.workflow_id,
        info.name,
        info.queue_name,
        info.status,
        info.attempt,
        age(info.created_at),
        info.worker,
    )


def _more(info: WorkflowInfo) -> tuple[object, ...]:
    return (info.app_version, moment(info.deadline), info.waits_for)


def _step_row(step: StepInfo) -> tuple[object, ...]:
    shown = json.dumps(step.output, default=str, ensure_ascii=False)
    if step.error is not None:
        shown = step.error
    if len(shown) > SHOWN_CHARACTERS:
        shown = f"{shown[: SHOWN_CHARACTERS - 3]}..."
    took = (step.completed_at - step.started_at).total_seconds()
    return (step.position, step.name, step.attempt, f"{took:.3f} s", step.child_workflow_id, shown)
