"""The port to the one Lease by which operators elect their leader. Calls block, and are short."""

from __future__ import annotations

from typing import Protocol

from towpath_operator.election import LeaseRecord


class Lease(Protocol):
    """Reads and writes the Lease. Each call raises `ClusterError` where it was not answered."""

    @property
    def name(self) -> str:
        """What names it among all Leases of all clusters."""
        ...

    def read(self) -> LeaseRecord | None:
        """Return the Lease, or None where there is none."""
        ...

    def take(self, before: LeaseRecord | None, *, holder: str) -> LeaseRecord:
        """Become its holder, unless it is not any more as it was. Raises `LeaseMovedError`."""
        ...

    def renew(self, before: LeaseRecord) -> LeaseRecord:
        """Write that its holder is alive. Raises `LeaseMovedError`."""
        ...

    def give_up(self, before: LeaseRecord) -> None:
        """Let the next one have it at once. Raises `LeaseMovedError`."""
        ...


class LeaseMovedError(Exception):
    """The Lease is not as it was read: somebody has written it, or deleted it."""
