"""Numbers in words: durations, counts, names in a row."""

from __future__ import annotations

import math
from typing import Final

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
COUNTED_TO: Final = 10_000


def duration(seconds: float) -> str:
    """Return a duration, never shorter than it is: 0.1 s, 3.2 s, 42 s, 4m12s, 1h02m, 3d4h.

    >>> duration(3.14), duration(59.5), duration(252), duration(0)
    ('3.2 s', '1m00s', '4m12s', '0 s')
    """
    tenths = math.ceil(round(max(seconds, 0) * 10, 6)) / 10
    if tenths < MINUTE / 6:
        return f"{tenths:g} s"
    whole = math.ceil(tenths)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE}m{whole % MINUTE:02}s"
    if whole < DAY:
        return f"{whole // HOUR}h{whole % HOUR // MINUTE:02}m"
    return f"{whole // DAY}d{whole % DAY // HOUR}h"


def period(seconds: float) -> str:
    """Return a setting as it was given: 0.5 s, 10 s, 90 s, 5 m, 24 h.

    >>> period(10), period(0.5), period(90), period(300), period(86400)
    ('10 s', '0.5 s', '90 s', '5 m', '24 h')
    """
    for unit, name in ((HOUR, "h"), (MINUTE, "m")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s"


def starts(limit: int, seconds: float, opens: float) -> tuple[str, float]:
    """Return how a limiter stands that lets nothing start, and the seconds until it does.

    >>> starts(5, 10, 3.14)
    ('5 of 5 started in the last 10 s, next start in 3.2 s', 3.14)
    """
    opens = max(opens, 0.0)
    sentence = (
        f"{limit:,} of {limit:,} started in the last {period(seconds)}, "
        f"next start in {duration(opens)}"
    )
    return sentence, opens


def count(number: int) -> str:
    """Return a number that was counted to one more than 10,000.

    >>> count(41), count(10_001)
    ('41', 'more than 10,000')
    """
    return f"{number:,}" if number <= COUNTED_TO else f"more than {COUNTED_TO:,}"


def agree(number: int, one: str, many: str) -> str:
    """Return a count with the form of its word.

    >>> agree(1, "waits", "wait"), agree(3, "waits", "wait")
    ('1 waits', '3 wait')
    """
    return f"{count(number)} {one if number == 1 else many}"
