"""Durations as manifests write them, such as 1m30s: read, written and bounded in one place.

The API server's CEL reads the same texts by Go's rules, to the nanosecond; so does this.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from pydantic import Field

from towpath_operator.model.base import Rule

DURATION_PATTERN: Final = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
LONGEST_TEXT: Final = 32

_PART = re.compile(r"([0-9]+)(?:\.([0-9]+))?(ms|s|m|h)")
_UNITS: Final = {"h": 3_600_000_000_000, "m": 60_000_000_000, "s": 1_000_000_000, "ms": 1_000_000}
_MICROSECOND: Final = 1_000
_LONGEST: Final = 2**63 - 1


def nanoseconds(text: str) -> int:
    """Read a duration exactly; what is smaller than a nanosecond is left out."""
    return sum(
        int(whole + fraction) * _UNITS[unit] // 10 ** len(fraction)
        for whole, fraction, unit in _PART.findall(text)
    )


def parse_duration(text: str) -> timedelta:
    """Read a duration; what is smaller than a microsecond is left out.

    >>> parse_duration("1m30s")
    datetime.timedelta(seconds=90)
    """
    return timedelta(microseconds=min(nanoseconds(text), _LONGEST) // _MICROSECOND)


def format_duration(duration: timedelta) -> str:
    """Write a duration that is not negative, without any unit that it has none of.

    >>> format_duration(timedelta(seconds=90))
    '1m30s'
    """
    rest = duration // timedelta(microseconds=1) * _MICROSECOND
    parts = []
    for unit, size in _UNITS.items():
        whole, rest = divmod(rest, size)
        fraction = f".{rest // _MICROSECOND:03d}".rstrip("0") if unit == "ms" and rest else ""
        if whole or fraction:
            parts.append(f"{whole}{fraction}{unit}")
    return "".join(parts) or "0s"


def duration_field(*, description: str, **options: Any) -> Any:
    """Return the field of a duration."""
    return Field(
        max_length=LONGEST_TEXT, pattern=DURATION_PATTERN, description=description, **options
    )


def duration_rule(
    field: str,
    read: Callable[[Any], str | None],
    *,
    message: str,
    most: timedelta,
    least: timedelta = timedelta(0),
) -> Rule:
    """Bound a duration, which `read` takes from the object; the bounds are allowed themselves.

    A duration that is left out breaks no rule.
    """

    def holds(part: Any) -> bool:
        text = read(part)
        within = (nanoseconds(shortest), nanoseconds(longest))
        return text is None or within[0] <= nanoseconds(text) <= within[1]

    shortest, longest = format_duration(least), format_duration(most)
    bounds = [f"duration(self) >= duration('{shortest}')"] if least else []
    bounds.append(f"duration(self) <= duration('{longest}')")
    return Rule(
        field=field,
        message=message,
        cel=" && ".join(bounds),
        of_value=True,
        holds=holds,
    )
