"""Times as people write them in options: a length such as 90m or 1d12h, and a moment."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import click

_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LENGTH: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_length(given: str) -> timedelta:
    """Return the length of time.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        if _LENGTH.fullmatch(given):
            return timedelta(seconds=sum(float(n) * _SECONDS[u] for n, u in _PART.findall(given)))
    except OverflowError:
        pass
    raise click.BadParameter(f"{given!r} is no length of time, such as 90m or 1d12h.")


def parse_moment(given: str) -> datetime:
    """Return the moment that is a length of time ago, or an ISO time: local where it names no zone.

    Raises:
        click.BadParameter: it is neither.
    """
    try:
        if _LENGTH.fullmatch(given):
            return datetime.now(UTC) - parse_length(given)
        return datetime.fromisoformat(given).astimezone()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{given!r} is neither a time such as 2030-12-31T18:00 nor one ago: 90m, 1d12h, ..."
        ) from None


def length(value: timedelta) -> str:
    """Write a length of time as options take it.

    >>> length(timedelta(days=1, minutes=90))
    '1d1h30m'
    """
    left, parts = value.total_seconds(), []
    for unit in ("d", "h", "m"):
        count, left = divmod(left, _SECONDS[unit])
        parts += [f"{count:g}{unit}"] if count else []
    return "".join([*parts, f"{left:g}s"] if left or not parts else parts)
