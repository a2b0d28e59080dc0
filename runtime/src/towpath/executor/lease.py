"""How long a worker may believe in its lease without hearing from Postgres."""

from __future__ import annotations

import time


class Lease:
    """The lease of one row of `worker`, by this process's own clock.

    Postgres dates a renewal when it arrives and this class when it was sent, so that it lapses here
    first: a worker that was frozen or cut off begins no step that another may be running.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = 0.0

    def renew(self, sent_at: float) -> None:
        """Note that Postgres has confirmed a renewal that was sent at this `time.monotonic()`."""
        self._until = max(self._until, sent_at + self._seconds)

    @property
    def lapsed(self) -> bool:
        """Whether others may have ended it."""
        return time.monotonic() >= self._until
