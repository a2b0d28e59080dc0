"""What commands share: the connection's options, and how they talk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Talk:
    """How the program talks to its user."""

    debug: bool = False


def connection_options(command: F) -> F:
    """Add --database-url and --schema."""
    url = click.option(
        "--database-url", metavar="URL", help="The database; the environment's unless given"
    )
    schema = click.option("--schema", metavar="NAME", help="The schema; towpath unless given")
    return url(schema(command))
