"""Which keys of a queue have changed, which may start something, and since when they were not served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Sight:
    """A key as it is found when it is looked at anew."""

    waits: bool
    opens_at: datetime | None


@dataclass
class Partitions:
    """`wakes`, `tickets` and `alarms` have the turn of each key: since when it was not served."""

    wakes: dict[str, datetime] = field(default_factory=dict)
    tickets: dict[str, datetime] = field(default_factory=dict)
    alarms: dict[tuple[datetime, str], datetime] = field(default_factory=dict)

    def wake(self, key: str | None, turn: datetime) -> None:
        """Something changed at a key."""
        if key is not None:
            self.wakes[key] = min(turn, self.wakes.get(key, turn))

    def fold(self, look: Callable[[str], Sight], now: datetime) -> None:
        """Look anew at the keys in which something changed, or whose limiter opens."""
        for due, key in [a for a in self.alarms if a[0] <= now]:
            self.wake(key, self.alarms.pop((due, key)))
        changed, self.wakes = self.wakes, {}
        for key, turn in changed.items():
            sight = look(key)
            if sight.waits and (sight.opens_at is None or sight.opens_at <= now):
                self.tickets.setdefault(key, turn)
                continue
            self.tickets.pop(key, None)
            if sight.waits and sight.opens_at is not None:
                self.alarms.setdefault((sight.opens_at, key), turn)

    def look_at_all(self) -> None:
        """Let keys that the limits before held back be looked at again."""
        for (_, key), turn in self.alarms.items():
            self.wake(key, turn)
