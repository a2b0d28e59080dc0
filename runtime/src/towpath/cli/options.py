"""What commands share: the connection's options, the form of the output, and how they talk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from towpath.api.app import App

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Talk:
    """How the program talks to its user, and what it was asked."""

    debug: bool = False
    arguments: Sequence[str] = field(default_factory=list)


def connection_options(command: F) -> F:
    """Add --database-url and --schema."""
    url = click.option(
        "--database-url", metavar="URL", help="The database; the environment's unless given"
    )
    schema = click.option("--schema", metavar="NAME", help="The schema; towpath unless given")
    return url(schema(command))


def output_option(command: F) -> F:
    """Add --output, which is table or json."""
    return _output(command, "table", "json")


def wide_output_option(command: F) -> F:
    """Add --output, which is table, wide or json."""
    return _output(command, "table", "wide", "json")


def _output(command: F, *forms: str) -> F:
    return click.option(
        *("-o", "--output"),
        type=click.Choice(forms),
        default="table",
        help="The form of the result  [table]",
    )(command)


@contextmanager
def connected(database_url: str | None, schema: str | None) -> Iterator[App]:
    """Lend an App that is connected as the options say, and close it."""
    from towpath.api.app import App

    app = App(database_url=database_url, schema=schema)
    try:
        yield app
    finally:
        app.shutdown()
