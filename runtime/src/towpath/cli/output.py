"""What commands print: tables for people, JSON for programs; both on stdout."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final, TypeVar

import click

T = TypeVar("T")

NONE: Final = "<none>"
MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
DAYS_WITHOUT_HOURS: Final = 10


def print_json(value: object) -> None:
    """Print a value as JSON; the keys are the Python names."""
    click.echo(json.dumps(value, default=_plain, ensure_ascii=False, indent=2))


def print_value(value: object) -> None:
    """Print a workflow's result as one line of JSON."""
    click.echo(json.dumps(value, default=_plain, ensure_ascii=False))


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.value if isinstance(value, Enum) else str(value)


def print_table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns, without borders; nothing is cut or wrapped."""
    table = [list(titles), *([text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(titles))]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("   ".join(cells).rstrip())


def print_list(
    output: str,
    found: Sequence[T],
    titles: Sequence[str],
    row: Callable[[T], Sequence[object]],
    none: str,
) -> None:
    """Print what was found as JSON or as a table; `none` is said on stderr where a table has no row."""
    if output == "json":
        print_json(found)
    elif found:
        print_table(titles, [row(each) for each in found])
    else:
        click.echo(none, err=True)


def print_fields(fields: Sequence[tuple[str, object]]) -> None:
    """Print one thing, a field a line."""
    width = max(len(title) for title, _ in fields)
    for title, value in fields:
        click.echo(f"{title.ljust(width)}   {text(value)}".rstrip())


def text(value: object) -> str:
    """Return a cell's text, on one line."""
    if value is None or value == "":
        return NONE
    if isinstance(value, list | tuple | dict | bool):
        return json.dumps(value, default=_plain, ensure_ascii=False)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def age(since: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago a moment was: 12s, 4m12s, 1h02m, 3d4h, 12d."""
    if since is None:
        return NONE
    seconds = max(0, int(((now or datetime.now(UTC)) - since).total_seconds()))
    if seconds < MINUTE:
        return f"{seconds}s"
    if seconds < HOUR:
        return f"{seconds // MINUTE}m{seconds % MINUTE:02}s"
    if seconds < DAY:
        return f"{seconds // HOUR}h{seconds % HOUR // MINUTE:02}m"
    days, hours = seconds // DAY, seconds % DAY // HOUR
    return f"{days}d" if days >= DAYS_WITHOUT_HOURS else f"{days}d{hours}h"


def moment(value: datetime | None) -> str | None:
    """Return a time with its age, or how long it is until then, in the local time zone."""
    if value is None:
        return None
    now = datetime.now(UTC)
    away = f"in {age(now, value)}" if value > now else f"{age(value, now)} ago"
    return f"{value.astimezone().isoformat(sep=' ', timespec='seconds')} ({away})"
