"""The command `towpath dev`: the same manifests and the same reconcile as in a cluster, here.

Exit codes: 0 stopped by Ctrl-C or SIGTERM; 1 the folder cannot be used; 2 a wrong option or manifest;
4 another dev runs in the folder, or the schema is not this version's; 5 no Postgres, or it does not
answer; 130 stopped at once by a second Ctrl-C.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

import click

FAILED: Final = 1
USAGE: Final = 2
CONFLICT: Final = 4
UNREACHABLE: Final = 5

HELP: Final = """Run queues and workers on this machine, by the manifests that a cluster would run by.

An embedded Postgres keeps its data in .towpath/ of this folder. Programs and commands in this
folder, or below it, find it by themselves.

\b
towpath dev app.py
towpath dev --filename queue.yaml --app shop.workflows
"""
EPILOG: Final = """\b
Exit codes: 0 stopped by Ctrl-C or SIGTERM; 1 the folder cannot be used;
2 a wrong option or manifest; 4 another dev runs here, or the schema is not
this version's; 5 no Postgres; 130 stopped at once by a second Ctrl-C.
"""


@click.command(help=HELP, epilog=EPILOG, short_help="Run queues and workers on this machine")
@click.argument("app_file", required=False, metavar="[APP.PY]")
@click.option(
    *("-f", "--filename", "filenames"),
    multiple=True,
    metavar="FILE|DIR|-",
    help="Manifests of Queues, WorkerPools and QueueDatabases; applied again when they change",
)
@click.option("--app", metavar="MODULE", help="The application, in the place of those in manifests")
@click.option("--database-url", metavar="URL", help="A running server, not an embedded Postgres")
def dev(
    app_file: str | None, filenames: tuple[str, ...], app: str | None, database_url: str | None
) -> None:
    """Run one session in the current folder and exit with its code."""
    if app_file is not None:
        if app is not None:
            raise click.UsageError("name the application once: by its file or by --app")
        app = _module_of(app_file)
    sys.exit(_run(filenames, app, database_url))


def _module_of(app_file: str) -> str:
    """Return the module that a file below this folder is, as the workers will import it."""
    path = Path(app_file)
    if path.suffix != ".py":
        raise click.UsageError(
            f"{app_file} is no .py file. Name a module with --app, or manifests with --filename."
        )
    if not path.is_file():
        raise click.UsageError(f"{app_file} does not exist in {Path.cwd()}.")
    try:
        below = path.resolve().relative_to(Path.cwd())
    except ValueError:
        raise click.UsageError(
            f"{app_file} is not below this folder. Start `towpath dev` in its folder."
        ) from None
    module = ".".join(below.with_suffix("").parts)
    if not all(part.isidentifier() for part in module.split(".")):
        raise click.UsageError(f"{app_file} cannot be imported: {module!r} is no module name.")
    return module


def _run(filenames: tuple[str, ...], app: str | None, database_url: str | None) -> int:
    # The operator's parts take most of a second to load, and --help needs none of them.
    from towpath.domain.errors import SchemaError, TowpathError  # noqa: PLC0415
    from towpath.local.errors import DevRunningError  # noqa: PLC0415
    from towpath_operator.local.database import (  # noqa: PLC0415
        DatabaseDownError,
        DatabaseUrlError,
    )
    from towpath_operator.local.manifests import ManifestsError  # noqa: PLC0415
    from towpath_operator.local.screen import Screen  # noqa: PLC0415
    from towpath_operator.local.session import Options, Session  # noqa: PLC0415

    screen = Screen(sys.stderr)
    options = Options(folder=Path.cwd(), sources=filenames, app=app, database_url=database_url)

    async def run() -> int:
        return await Session(options, screen).run()

    try:
        return asyncio.run(run())
    except (ManifestsError, DatabaseUrlError) as error:
        for line in str(error).splitlines():
            screen.error(line)
        return USAGE
    except (DevRunningError, SchemaError) as error:
        screen.error(str(error))
        return CONFLICT
    except DatabaseDownError as error:
        screen.error(
            f"the database does not answer: {error}. Try: towpath dev without --database-url"
        )
        return UNREACHABLE
    except TowpathError as error:
        screen.error(str(error))
        return UNREACHABLE
    except OSError as error:
        screen.error(f"{error.strerror or error}: {error.filename or options.folder}")
        return UNREACHABLE
