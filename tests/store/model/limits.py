"""The starts of one limiter: what the store keeps of them, and all that were ever made."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from towpath.domain.queue import Limiter
from towpath.store.claims import START_MARGIN_SECONDS

MARGIN = timedelta(seconds=START_MARGIN_SECONDS)


@dataclass
class Starts:
    """`rows` is what is held: so many starts were made by then; `dates` has every one of them."""

    rows: list[tuple[int, datetime]] = field(default_factory=list)
    dates: list[datetime] = field(default_factory=list)

    def tokens(self, limiter: Limiter, now: datetime) -> int:
        """Return how many starts may be made now; what is no longer held was made at the oldest known."""
        if not self.rows:
            return limiter.limit
        outside = max([n for n, at in self.rows if at <= now - limiter.period], default=0)
        return max(0, limiter.limit - (self.rows[-1][0] - outside))

    def opens_at(self, limiter: Limiter) -> datetime | None:
        """Return when the start before the last `limit` leaves the window."""
        if not self.rows or self.rows[-1][0] < limiter.limit:
            return None
        made = self.rows[-1][0]
        return min(at for n, at in self.rows if n > made - limiter.limit) + limiter.period

    def spend(self, count: int, limiter: Limiter, now: datetime) -> None:
        """Note starts that are made now; in no window that ends with them are there too many."""
        made, last = self.rows[-1] if self.rows else (0, now)
        at = max(now + MARGIN, last)
        self.rows.append((made + count, at))
        self.dates += [at] * count
        in_window = sum(date > at - limiter.period for date in self.dates)
        assert in_window <= limiter.limit, f"{in_window} starts in {limiter}"

    def trim(self, limiter: Limiter, now: datetime) -> None:
        """Drop what no window reaches, but for the newest of it."""
        old = [n for n, at in self.rows if at <= now - limiter.period]
        self.rows = [row for row in self.rows if not old or row[0] >= old[-1]]
