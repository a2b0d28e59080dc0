"""The port that says whether this process is the operator that may write.

Of a cluster's operators one leads, by a Lease. Who writes asks just before the request is sent, in
the thread that sends it: a leader that was frozen or cut off may wake at any line of its code, and
must begin nothing then. What changes a database carries the epoch besides, so that even a request
that was on its way changes nothing once a later leader has written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Epoch:
    """One time of leading: the Lease that it is by, and a number that only grows from one to the next."""

    lease: str
    number: int


class Fence(Protocol):
    """The right to write."""

    @property
    def leads(self) -> bool:
        """Whether this process leads now; `/readyz` and the metrics say so."""
        ...

    @property
    def epoch(self) -> Epoch | None:
        """The epoch in which it leads; None where there can be no other operator."""
        ...

    def check(self) -> None:
        """Return if a write may begin now. Raises `LeadershipLostError`, and the process ends."""
        ...

    def lose(self, why: str) -> None:
        """Begin no write from now on, and have the process end: a later leader was met."""
        ...


class LeadershipLostError(Exception):
    """This process does not lead, or no longer; it ends soon, and nothing is to be tried again."""


class AlwaysLeads:
    """The fence of an operator that is alone: `towpath dev`, whose folder is locked."""

    leads = True
    epoch = None

    def check(self) -> None:
        """Let every write begin."""

    def lose(self, why: str) -> None:
        """Cannot happen where no write carries an epoch."""
        raise LeadershipLostError(why)
