"""`towpath queue`: look at queues, say why they wait, and stop them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from towpath.cli.exits import CommandError, ExitCode
from towpath.cli.options import connected, connection_options, output_option
from towpath.cli.output import age, moment, print_fields, print_json, print_list, text
from towpath.cli.times import length

if TYPE_CHECKING:
    from towpath.api.app import App
    from towpath.insights.explain import Explanation
    from towpath.insights.queues import LimiterInfo, QueueInfo, RetentionInfo

TITLES = (
    *("NAME", "STATE", "RUNNING", "SLEEPING", "PLACES", "WAITING", "OLDEST", "WORKERS"),
    *("PER-WORKER", "OWNER"),
)


@click.group(help="Look at queues, and stop and start them.")
def queue() -> None:
    """Hold the commands about queues."""


@queue.command("list", short_help="List queues")
@output_option
@connection_options
def list_queues(output: str, database_url: str | None, schema: str | None) -> None:
    """List every queue with what runs and waits in it.

    STATE is open, paused (nothing starts) or closed (nothing is taken). RUNNING are in workers'
    memory, SLEEPING wait for something outside of it; PLACES are those that both take, of the
    queue's concurrency. WAITING are in line, OLDEST is the age of the first of them.
    """
    from towpath.insights import queues

    with connected(database_url, schema) as app:
        engine = app.engine
        found = engine.run(lambda session: queues.list_queues(session, engine.statements))
    none = (
        f"no queues in schema {engine.settings.schema!r}. Declare one with a Queue manifest, "
        "or Queue(...) in a worker's code."
    )
    print_list(output, found, TITLES, _row, none)


@queue.command("get", short_help="Show one queue")
@click.argument("name")
@output_option
@connection_options
def get_queue(name: str, output: str, database_url: str | None, schema: str | None) -> None:
    """Show one queue: what runs and waits in it."""
    with connected(database_url, schema) as app:
        info = _get(app, name)
    if output == "json":
        print_json(info)
        return
    print_fields(_numbers(info))


@queue.command(short_help="Show one queue with its settings, and why it waits")
@click.argument("name")
@output_option
@connection_options
def describe(name: str, output: str, database_url: str | None, schema: str | None) -> None:
    """Show one queue with all of its settings, and what holds it back now."""
    with connected(database_url, schema) as app:
        info, found = _get(app, name), _explain(app, name, None)
    if output == "json":
        print_json({"queue": info, "explanation": found})
        return
    print_fields([*_numbers(info), *_settings(info), ("WHY", found.sentence)])


EXPLAIN_HELP = """Say which limit holds a queue back now, and when that may change.

With WORKFLOW_ID it says the same of one workflow of the queue. The answer is one sentence; with
--output json there are the reasons in data too, the first to look at first.

\b
towpath queue explain email
towpath queue explain email order-42
"""


@queue.command(help=EXPLAIN_HELP, short_help="Say why a queue, or a workflow in it, waits")
@click.argument("name")
@click.argument("workflow_id", required=False)
@output_option
@connection_options
def explain(
    name: str, workflow_id: str | None, output: str, database_url: str | None, schema: str | None
) -> None:
    """Print what holds a queue or a workflow back."""
    with connected(database_url, schema) as app:
        found = _explain(app, name, workflow_id)
    if output == "json":
        print_json(found)
    else:
        click.echo(text(found.sentence))


@queue.command(short_help="Let nothing start")
@click.argument("name")
@connection_options
def pause(name: str, database_url: str | None, schema: str | None) -> None:
    """Let nothing start from now on. What runs goes on, and enqueue does too."""
    _set_paused(name, database_url, schema, paused=True)
    click.echo(f"queue {name!r} is paused. Try: towpath queue resume {name}", err=True)


@queue.command(short_help="Let it start workflows again")
@click.argument("name")
@connection_options
def resume(name: str, database_url: str | None, schema: str | None) -> None:
    """Let a paused queue start workflows again; workers are told at once."""
    _set_paused(name, database_url, schema, paused=False)
    click.echo(f"queue {name!r} is not paused", err=True)


@queue.command(short_help="Refuse new workflows")
@click.argument("name")
@connection_options
def close(name: str, database_url: str | None, schema: str | None) -> None:
    """Refuse every enqueue from now on. What waits and runs goes on."""
    _set_closed(name, database_url, schema, closed=True)
    click.echo(f"queue {name!r} is closed. Try: towpath queue open {name}", err=True)


@queue.command("open", short_help="Take new workflows again")
@click.argument("name")
@connection_options
def open_queue(name: str, database_url: str | None, schema: str | None) -> None:
    """Let a closed queue take workflows again."""
    _set_closed(name, database_url, schema, closed=False)
    click.echo(f"queue {name!r} is not closed", err=True)


def _set_paused(name: str, database_url: str | None, schema: str | None, *, paused: bool) -> None:
    from towpath.domain.ids import QueueName
    from towpath.store.queues import set_paused

    with connected(database_url, schema) as app:
        engine = app.engine
        engine.run(lambda s: set_paused(s, engine.statements, QueueName(name), paused=paused))
        _hint_at_owner(app, name, "paused", value=paused)


def _set_closed(name: str, database_url: str | None, schema: str | None, *, closed: bool) -> None:
    from towpath.domain.ids import QueueName
    from towpath.store.queues import set_closed

    with connected(database_url, schema) as app:
        engine = app.engine
        engine.run(lambda s: set_closed(s, engine.statements, QueueName(name), closed=closed))
        _hint_at_owner(app, name, "closed", value=closed)


def _hint_at_owner(app: App, name: str, field: str, *, value: bool) -> None:
    """Say that a manifest, where it says otherwise, will have its way."""
    owner = _get(app, name).owner
    if owner is None:
        return
    namespace, _, of = owner.partition("/")
    click.echo(
        f"note: the manifest {owner} declares this queue; if its spec has {field!r}, that is put back. "
        f"Try: kubectl patch queues.towpath.dev {of} --namespace {namespace} --type merge "
        f'--patch \'{{"spec":{{"{field}":{str(value).lower()}}}}}\'',
        err=True,
    )


def _get(app: App, name: str) -> QueueInfo:
    from towpath.insights import queues

    engine = app.engine
    return engine.run(lambda session: queues.get_queue(session, engine.statements, name))


def _explain(app: App, name: str, workflow_id: str | None) -> Explanation:
    from towpath.insights.explain import explain_queue, explain_workflow

    engine = app.engine
    if workflow_id is None:
        return engine.run(lambda session: explain_queue(session, engine.statements, name))
    found = engine.run(lambda session: explain_workflow(session, engine.statements, workflow_id))
    if found.queue_name != name:
        raise CommandError(
            f"workflow {workflow_id!r} is on queue {found.queue_name!r}, not {name!r}. "
            f"Try: towpath queue explain {found.queue_name} {workflow_id}",
            ExitCode.CONFLICT,
        )
    return found


def _row(info: QueueInfo) -> tuple[object, ...]:
    return (
        info.name,
        info.state,
        info.running,
        _counted(info.sleeping, capped=info.sleeping_capped),
        _places(info),
        _counted(info.waiting, capped=info.waiting_capped),
        age(info.oldest_waiting),
        info.workers,
        info.worker_concurrency,
        info.owner or "code",
    )


def _numbers(info: QueueInfo) -> list[tuple[str, Any]]:
    return [
        ("NAME", info.name),
        ("STATE", info.state),
        ("RUNNING", info.running),
        ("SLEEPING", _counted(info.sleeping, capped=info.sleeping_capped)),
        ("PLACES", _places(info)),
        ("WAITING", _counted(info.waiting, capped=info.waiting_capped)),
        ("OLDEST", moment(info.oldest_waiting)),
        ("DELAYED", _counted(info.delayed, capped=info.delayed_capped)),
        ("WORKERS", info.workers),
        ("OWNER", info.owner or "code"),
    ]


def _settings(info: QueueInfo) -> list[tuple[str, Any]]:
    partitioned = info.partition_queue
    return [
        ("CONCURRENCY", info.concurrency),
        ("PER-WORKER", info.worker_concurrency),
        ("LIMITER", _limiter(info.limiter)),
        ("PRIORITY", info.priority_enabled),
        ("PARTITIONS", partitioned),
        *([("PER-PARTITION", info.partition_concurrency or 1)] if partitioned else []),
        *([("PARTITION-LIMITER", _limiter(info.partition_limiter))] if partitioned else []),
        ("RELEASE-WHILE-WAITING", info.release_while_waiting),
        ("POLLING", f"{info.polling_interval_sec:g} s"),
        ("KEPT", _kept(info.retention)),
    ]


def _kept(retention: RetentionInfo | None) -> str | None:
    """Say how long ended workflows are kept where the queue says it itself."""
    if retention is None:
        return None
    ends = (
        ("success", retention.succeeded_seconds),
        ("any other end", retention.failed_seconds),
    )
    return ", ".join(
        f"{length(timedelta(seconds=kept))} after {end}" for end, kept in ends if kept is not None
    )


def _limiter(limiter: LimiterInfo | None) -> str | None:
    return None if limiter is None else f"{limiter.limit} in {limiter.period_seconds:g} s"


def _places(info: QueueInfo) -> str | None:
    return None if info.concurrency is None else f"{info.places_taken}/{info.concurrency}"


def _counted(number: int, *, capped: bool) -> str:
    return f"{number}+" if capped else str(number)
