"""Workflows that are claimed and wait in this worker for a slot, for a moment only."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from towpath.domain.ids import QueueName
from towpath.store.claims import Claimed

# So much work is taken ahead as ends within this time: about two round trips.
AHEAD_SECONDS = 0.01
# Prefetched workflows that wait longer than this go back: another worker may have room for them.
PATIENCE_SECONDS = 0.1
_MEMORY_SECONDS = 0.05


class Prefetched:
    """Claimed workflows without a slot, first in first out; at most `most` of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: deque[tuple[Claimed, float]] = deque()
        self._rate = 0.0
        self._rated_at = 0.0

    def ended(self, count: int, now: float) -> None:
        """Note that workflows have ended, for the rate at which slots come free."""
        decay = math.exp(-(now - self._rated_at) / _MEMORY_SECONDS)
        self._rate = self._rate * decay + count / _MEMORY_SECONDS
        self._rated_at = now

    def allowance(self, now: float) -> int:
        """How many more may be claimed ahead now: none where workflows run long."""
        rate = self._rate * math.exp(-(now - self._rated_at) / _MEMORY_SECONDS)
        return max(0, min(self._most, int(rate * AHEAD_SECONDS)) - len(self._rows))

    def put(self, rows: Sequence[Claimed], now: float) -> None:
        """Keep workflows until there are slots for them."""
        self._rows.extend((row, now) for row in rows)

    def take(self, count: int) -> list[Claimed]:
        """Take the first ones, for slots that have come free."""
        return [self._rows.popleft()[0] for _ in range(min(count, len(self._rows)))]

    def give_up(self, *, before: float = math.inf, queue: QueueName | None = None) -> list[Claimed]:
        """Take out those that wait since before a time, or of one queue, to be handed back."""
        given = [r for r, at in self._rows if at <= before and queue in (None, r.queue)]
        if given:
            gone = {(r.seq, r.attempt) for r in given}
            self._rows = deque(i for i in self._rows if (i[0].seq, i[0].attempt) not in gone)
        return given

    @property
    def rows(self) -> list[Claimed]:
        """Those that wait."""
        return [row for row, _ in self._rows]

    def __len__(self) -> int:
        return len(self._rows)
