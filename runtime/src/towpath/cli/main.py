"""The program `towpath`: its commands, and how a command's error becomes one line and a code."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from typing import Final, NoReturn

import click

from towpath.cli.exits import CommandError, ExitCode, exit_code_of
from towpath.cli.lazy import LazyCommand, LazyGroup, Plugin
from towpath.cli.options import Talk
from towpath.domain.errors import TowpathError

COMMANDS: Final = {
    "db": LazyCommand("towpath.cli.db", "db", "Look at the schema and migrate it"),
    "queue": LazyCommand("towpath.cli.queue", "queue", "Look at queues"),
    "schedule": LazyCommand("towpath.cli.schedule", "schedule", "Look at schedules"),
    "version": LazyCommand("towpath.cli.version", "version", "Print the version"),
    "worker": LazyCommand("towpath.cli.worker", "worker", "Run workers and look at them"),
    "workflow": LazyCommand("towpath.cli.workflow", "workflow", "Start workflows and look at them"),
}
PLUGINS: Final = {
    "crds": Plugin("Print the CRDs, to install or upgrade them", extra="operator"),
    "dev": Plugin("Run queues and workers on this machine", extra="local"),
    "plan": Plugin("Print what the operator would change", extra="operator"),
}
HELP: Final = """Durable workflow queues on Kubernetes and Postgres.

The database is --database-url, else TOWPATH_DATABASE_URL_FILE or TOWPATH_DATABASE_URL, else that of
the `towpath dev` of this folder or a parent.
"""

# A group without a command; click 8.1 shows its help by itself and raises nothing.
_NO_COMMAND: Final = getattr(click.exceptions, "NoArgsIsHelpError", ())


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    plugins=PLUGINS,
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(None, "--version", package_name="towpath", message="towpath %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error")
@click.pass_obj
def cli(talk: Talk, *, debug: bool) -> None:
    """Take the options that stand before the command."""
    talk.debug = talk.debug or debug


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with its code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; an error is one line on stderr."""
    talk = Talk(arguments=sys.argv[1:] if arguments is None else arguments)
    try:
        code = cli.main(
            None if arguments is None else list(arguments),
            prog_name="towpath",
            standalone_mode=False,
            obj=talk,
        )
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # the reader, such as head, has gone; without this the interpreter complains at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except Exception as error:  # noqa: BLE001 - no traceback reaches a user of the command line
        return _report(error, talk)
    return code if isinstance(code, int) else ExitCode.OK


def _report(error: Exception, talk: Talk) -> int:
    from towpath.telemetry.logs import redact

    if talk.debug:
        click.echo(redact("".join(traceback.format_exception(error))), err=True, nl=False)
    if isinstance(error, _NO_COMMAND):
        click.echo(str(error), err=True)
        return ExitCode.USAGE
    click.echo(redact(f"error: {' '.join(_said(error, talk).split())}"), err=True)
    if isinstance(error, click.ClickException):
        return ExitCode.USAGE
    return (
        ExitCode.UNREACHABLE if _is_from_driver(error, "OperationalError") else exit_code_of(error)
    )


def _said(error: Exception, talk: Talk) -> str:
    """Say for people what went wrong, and what to do."""
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx is not None else "towpath"
        return f"{error.format_message()} Try: {path} --help"
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, TowpathError | CommandError):
        return str(error)
    if _is_from_driver(error, "Error"):
        return f"the database refused: {error}. Try: towpath db status"
    return (
        f"unexpected {type(error).__name__}: {error}. "
        f"Try: towpath --debug {shlex.join(talk.arguments)}"
    )


def _is_from_driver(error: Exception, kind: str) -> bool:
    """Tell whether psycopg raised it; where it is not loaded it did not."""
    driver = sys.modules.get("psycopg")
    return driver is not None and isinstance(error, getattr(driver, kind))
