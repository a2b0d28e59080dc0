"""`towpath workflow`: start workflows, and wait for one or show it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from towpath.cli.options import connected, connection_options, output_option
from towpath.cli.output import moment, print_fields, print_json, print_value
from towpath.cli.workflow_list import list_workflows, steps
from towpath.cli.workflow_manage import cancel, delete, fork, resume, retry, set_priority
from towpath.cli.workflow_stream import stream
from towpath.domain.status import WorkflowStatus

if TYPE_CHECKING:
    from towpath.insights.workflows import WorkflowInfo


@click.group(help="Start workflows, look at them and manage them.")
def workflow() -> None:
    """Hold the commands about workflows."""


START_HELP = """Put a workflow in line and print its id.

Each of ARGS is JSON, or plain text where it is not: 42 is a number, '"42"' and hello are text. Put
-- before arguments that begin with a dash.

\b
towpath workflow start send_email a@example.org --queue email
towpath workflow start fulfil 42 '{"express": true}' --queue orders --id order-42 --wait
"""


@workflow.command(help=START_HELP, short_help="Start a workflow")
@click.argument("name")
@click.argument("args", nargs=-1)
@click.option("--queue", "queue_name", required=True, metavar="NAME", help="The queue")
@click.option(
    *("-k", "--kwarg", "kwargs"),
    multiple=True,
    metavar="NAME=VALUE",
    help="A keyword argument, its value as in ARGS; may be repeated",
)
@click.option(
    "--id", "workflow_id", help="The workflow's id; the same id again starts nothing twice"
)
@click.option("--priority", type=int, help="Higher is more urgent; on queues with priority")
@click.option("--key", "partition_key", help="The partition key; on partitioned queues")
@click.option("--deduplication-id", help="Held by one workflow of the queue at a time")
@click.option("--delay", type=float, help="Seconds before it joins the line")
@click.option("--wait", is_flag=True, help="Wait for its end and print its result as JSON")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait  [no end]")
@output_option
@connection_options
def start(
    name: str,
    args: tuple[str, ...],
    queue_name: str,
    kwargs: tuple[str, ...],
    workflow_id: str | None,
    priority: int | None,
    partition_key: str | None,
    deduplication_id: str | None,
    delay: float | None,
    timeout: float | None,
    output: str,
    database_url: str | None,
    schema: str | None,
    *,
    wait: bool,
) -> None:
    """Start one workflow."""
    from towpath.api.options import EnqueueItem, EnqueueOptions
    from towpath.api.starting import Start
    from towpath.domain.ids import WorkflowName
    from towpath.domain.queue import check_queue_name

    options = EnqueueOptions(
        priority=priority,
        queue_partition_key=partition_key,
        deduplication_id=deduplication_id,
        delay_seconds=delay,
    )
    values = [parse_value(arg) for arg in args]
    item = EnqueueItem(values, _keyword_arguments(kwargs), workflow_id, options)
    new = Start(queue=check_queue_name(queue_name), name=WorkflowName(name), items=[item])
    with connected(database_url, schema) as app:
        started = app.start(new).workflow_id
        if not wait:
            print_json({"workflow_id": started}) if output == "json" else click.echo(started)
            return
        click.echo(f"workflow {started!r} is in line on queue {queue_name!r}", err=True)
        from towpath.cli.waiting import wait_for_end

        _print_end(wait_for_end(app, started, timeout), output)


@workflow.command(short_help="Wait for a workflow and print its result")
@click.argument("workflow_id", metavar="ID")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait  [no end]")
@output_option
@connection_options
def result(
    workflow_id: str,
    timeout: float | None,
    output: str,
    database_url: str | None,
    schema: str | None,
) -> None:
    """Wait for a workflow's end and print its result as JSON.

    The exit code is 1 if it failed, was cancelled or given up, 124 if it did not end in time.
    """
    from towpath.cli.waiting import wait_for_end

    with connected(database_url, schema) as app:
        _print_end(wait_for_end(app, workflow_id, timeout), output)


@workflow.command(short_help="Show one workflow")
@click.argument("workflow_id", metavar="ID")
@output_option
@connection_options
def get(workflow_id: str, output: str, database_url: str | None, schema: str | None) -> None:
    """Show one workflow, and why it waits if it does."""
    from towpath.insights import workflows
    from towpath.insights.explain import why_it_waits

    with connected(database_url, schema) as app:
        engine = app.engine
        info = engine.run(
            lambda session: workflows.get(session, engine.statements, engine.codec, workflow_id)
        )
        why = engine.run(lambda session: why_it_waits(session, engine.statements, workflow_id))
    if output == "json":
        print_json({**_fields(info), "why_it_waits": why})
        return
    print_fields(
        [
            ("ID", info.workflow_id),
            ("NAME", info.name),
            ("QUEUE", info.queue_name),
            ("STATUS", info.status if why is None else f"{info.status}: {why}"),
            ("ATTEMPT", info.attempt),
            *_options(info),
            ("WORKER", info.worker),
            ("CREATED", moment(info.created_at)),
            ("STARTED", moment(info.started_at)),
            ("COMPLETED", moment(info.completed_at)),
            ("ARGS", list(info.args)),
            ("KWARGS", info.kwargs),
            *_ending(info),
        ]
    )


for command in (list_workflows, steps, cancel, resume, retry, fork, delete, set_priority, stream):
    workflow.add_command(command)


def parse_value(given: str) -> Any:
    """Return an argument's value: JSON where it is, else the text itself."""
    try:
        return json.loads(given, parse_constant=_refuse_constant)
    except ValueError:
        return given


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _keyword_arguments(given: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{item!r} is not NAME=VALUE.", param_hint="'--kwarg'")
        if name in found:
            raise click.BadParameter(f"{name!r} is given twice.", param_hint="'--kwarg'")
        found[name] = parse_value(value)
    return found


def _print_end(info: WorkflowInfo, output: str) -> None:
    from towpath.cli.waiting import raise_failure

    if output == "json":
        print_json(_fields(info))
    raise_failure(info)
    if output != "json":
        print_value(info.result)


def _fields(info: WorkflowInfo) -> dict[str, Any]:
    import dataclasses

    return {f.name: getattr(info, f.name) for f in dataclasses.fields(info)}


def _options(info: WorkflowInfo) -> list[tuple[str, object]]:
    """Return what was asked for beside the function and its arguments."""
    asked = (
        ("PRIORITY", info.priority),
        ("KEY", info.queue_partition_key),
        ("DEDUPED-BY", info.deduplication_id),
        ("DUE", info.due_at and moment(info.due_at)),
        ("VERSION", info.app_version or None),
        ("DEADLINE", moment(info.deadline)),
        ("PARENT", info.parent_workflow_id),
        ("FORKED-FROM", info.forked_from),
    )
    return [(title, value) for title, value in asked if value is not None]


def _ending(info: WorkflowInfo) -> list[tuple[str, object]]:
    if info.status is WorkflowStatus.SUCCESS:
        return [("RESULT", json.dumps(info.result, default=str, ensure_ascii=False))]
    return [] if info.error is None else [("ERROR", info.error)]
