"""Which change of numbers is worth waking an object for, and how soon."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from towpath_operator.declarations import Subject
from towpath_operator.plan.observed import QueueCounts

NUMBERS_EVERY: Final = 10.0
WORTH: Final = 0.1
"""A smaller change, in parts of the whole, is news to nobody."""


@dataclass(frozen=True, slots=True)
class _Told:
    """When an object was last woken, or is to be, and with what."""

    at: float
    wanted: int
    counts: dict[str, QueueCounts]


@dataclass(slots=True)
class Interest:
    """What each object was last woken with."""

    _told: dict[Subject, _Told] = field(default_factory=dict)

    def due(
        self, subject: Subject, counts: Mapping[str, QueueCounts], *, now: float, wanted: int = 0
    ) -> float | None:
        """Return in how many seconds to wake the object; None where there is no news for it.

        Another number of wanted pods is news at once; numbers of a status are news every 10 s.
        """
        told = self._told.get(subject)
        if told is None or wanted != told.wanted:
            after = 0.0
        elif told.at > now or not _is_news(told.counts, counts):
            return None  # nothing to tell, or the wake that is due will tell it
        else:
            after = max(0.0, told.at + NUMBERS_EVERY - now)
        self._told[subject] = _Told(now + after, wanted, dict(counts))
        return after

    def forget_all_but(self, subjects: Collection[Subject]) -> None:
        """Forget objects that are gone."""
        for subject in set(self._told) - set(subjects):
            del self._told[subject]


def _is_news(before: Mapping[str, QueueCounts], after: Mapping[str, QueueCounts]) -> bool:
    if before.keys() != after.keys():
        return True
    return any(
        _differs(before[name].waiting, counts.waiting)
        or _differs(before[name].running, counts.running)
        or (before[name].workers or 0) != (counts.workers or 0)
        for name, counts in after.items()
    )


def _differs(before: int, after: int) -> bool:
    """Tell whether a number crossed zero or changed by a tenth."""
    if (before == 0) != (after == 0):
        return True
    return abs(after - before) >= max(1.0, WORTH * before)
