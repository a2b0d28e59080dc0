"""`towpath workflow cancel`, `resume`, `retry`, `fork`, `delete` and `set-priority`."""

from __future__ import annotations

from typing import Any

import click

from towpath.cli.options import connected, connection_options
from towpath.cli.workflow_list import filter_options, filters_of
from towpath.domain.status import WorkflowStatus


@click.command(short_help="Cancel a workflow")
@click.argument("workflow_id", metavar="ID")
@click.option("--cascade", is_flag=True, help="Also all that it has started, and they have")
@connection_options
def cancel(
    workflow_id: str, database_url: str | None, schema: str | None, *, cascade: bool
) -> None:
    """Cancel a workflow that has not ended; running code ends at its next step boundary."""
    with connected(database_url, schema) as app:
        done = app.cancel_workflow(workflow_id, cascade=cascade)
    if done.changed:
        said = f"is cancelled; it was {done.was}"
    elif done.was is WorkflowStatus.CANCELLED:
        said = "is cancelled already"
    else:
        said = f"is {done.was}: it has ended, and stays so"
    children = f"; {done.children} of its children are cancelled" if cascade else ""
    click.echo(f"workflow {workflow_id!r} {said}{children}", err=True)


@click.command(short_help="Resume a cancelled workflow")
@click.argument("workflow_id", metavar="ID")
@connection_options
def resume(workflow_id: str, database_url: str | None, schema: str | None) -> None:
    """Put a cancelled or given-up workflow at the end of its queue's line; its steps are kept."""
    with connected(database_url, schema) as app:
        status = app.resume_workflow(workflow_id).get_status().status
    click.echo(f"workflow {workflow_id!r} is {status}", err=True)


RETRY_HELP = """Put failed workflows at the end of their queues' lines: they go on from the step that failed.

Workflows are named, or a filter says which; --all are all that have failed.

\b
towpath workflow retry order-42
towpath workflow retry --queue email --since 1d
"""


@click.command(help=RETRY_HELP, short_help="Retry failed workflows")
@click.argument("workflow_ids", metavar="[ID]...", nargs=-1)
@filter_options
@click.option("--limit", type=click.IntRange(1), help="At most so many, the oldest first")
@click.option("--all", "every", is_flag=True, help="All that have failed")
@connection_options
def retry(
    workflow_ids: tuple[str, ...],
    limit: int | None,
    database_url: str | None,
    schema: str | None,
    *,
    every: bool,
    **given: Any,
) -> None:
    """Retry those that are named, or all that the filters let through."""
    asked = filters_of(given)
    if bool(workflow_ids) == bool(asked or every) or (workflow_ids and limit):
        raise click.UsageError("Name workflows, or give a filter or --all.")
    with connected(database_url, schema) as app:
        for workflow_id in workflow_ids:
            status = app.retry_workflow(workflow_id).get_status().status
            click.echo(f"workflow {workflow_id!r} is {status}", err=True)
        if not workflow_ids:
            retried = app.retry_workflows(limit=limit, **asked)
            click.echo(f"{retried} workflows are in line again", err=True)


FORK_HELP = """Enqueue a new workflow that begins where another has recorded something, and print its id.

It has the other's input, and all that it recorded before a step; from there on it runs anew. The
other one stays as it is.

\b
towpath workflow steps order-42
towpath workflow fork order-42 --from-step 3
"""


@click.command(help=FORK_HELP, short_help="Fork a workflow from a step")
@click.argument("workflow_id", metavar="ID")
@click.option(
    "--from-step",
    required=True,
    metavar="POSITION",
    help="The first step that runs anew, or start for all of them",
)
@click.option(
    "--queue", "queue_name", metavar="NAME", help="The queue; the workflow's own unless given"
)
@click.option("--version", "app_version", help="The application version that alone may run it")
@click.option("--id", "new_workflow_id", help="The id of the new workflow")
@connection_options
def fork(
    workflow_id: str,
    from_step: str,
    queue_name: str | None,
    app_version: str | None,
    new_workflow_id: str | None,
    database_url: str | None,
    schema: str | None,
) -> None:
    """Fork one workflow."""
    with connected(database_url, schema) as app:
        handle = app.fork_workflow(
            workflow_id,
            from_step,
            queue_name=queue_name,
            app_version=app_version,
            new_workflow_id=new_workflow_id,
        )
    click.echo(handle.workflow_id)


@click.command(short_help="Delete a workflow")
@click.argument("workflow_id", metavar="ID")
@connection_options
def delete(workflow_id: str, database_url: str | None, schema: str | None) -> None:
    """Delete a workflow and all that it recorded; one that has not ended is cancelled first."""
    with connected(database_url, schema) as app:
        app.delete_workflow(workflow_id)
    click.echo(f"workflow {workflow_id!r} is deleted", err=True)


@click.command("set-priority", short_help="Change a waiting workflow's priority")
@click.argument("workflow_id", metavar="ID")
@click.argument("priority", type=int)
@connection_options
def set_priority(
    workflow_id: str, priority: int, database_url: str | None, schema: str | None
) -> None:
    """Change the priority of a workflow that waits: 1 to 2147483647, higher is more urgent."""
    with connected(database_url, schema) as app:
        app.set_priority(workflow_id, priority)
    click.echo(f"workflow {workflow_id!r} has priority {priority}", err=True)
