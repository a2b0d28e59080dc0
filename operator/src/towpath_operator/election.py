"""Decides by a Lease which of the operators leads. It is pure: who calls it reads, writes and waits.

Whether another's Lease has run out is judged by when we saw it change, on our own clock: what the
holder's clock says of itself may be wrong by hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

DURATION_SECONDS: Final = 8.0
"""Unchanged for so long, a Lease may be taken by another."""

RENEW_DEADLINE_SECONDS: Final = 5.0
"""So long after the last renewal was sent its holder writes; the rest is for what is on its way."""

RETRY_SECONDS: Final = 1.0
"""How often the holder renews, and the others look."""

NOBODY: Final = ""
MAX_TRANSITIONS: Final = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """A Lease as the API server gave it.

    Attributes:
        uid: Another one for a Lease that was deleted and made again.
        version: Its resourceVersion: a write that is based on it fails once there is a newer one.
        created_at: When it was made, by the API server's clock.
        holder: Who leads; empty where the last one has given it up.
        transitions: How often it has gone from one holder to another.
        duration: After how many seconds without a change it may be taken.
    """

    uid: str
    version: str
    created_at: datetime
    holder: str
    transitions: int
    duration: float


@dataclass(frozen=True, slots=True)
class Sighting:
    """A Lease, and since when we have seen it unchanged; no record where there is no Lease."""

    record: LeaseRecord | None
    since: float


def see(before: Sighting | None, record: LeaseRecord | None, now: float) -> Sighting:
    """Take in what was read at a moment of our clock."""
    if before is not None and before.record == record:
        return before
    return Sighting(record, now)


def free_in(sighting: Sighting, identity: str, now: float) -> float:
    """Return after how many seconds we may take the Lease; 0 where it may be now.

    It is ours where the answer to our taking it was lost: an identity is one process's.
    """
    record = sighting.record
    if record is None or record.holder in {NOBODY, identity}:
        return 0.0
    return max(0.0, sighting.since + record.duration - now)


def next_transitions(record: LeaseRecord | None) -> int:
    """Return what a Lease that we take is to say of its transitions."""
    return 0 if record is None else record.transitions + 1


def epoch_number(record: LeaseRecord) -> int:
    """Return the number of the time of leading that a Lease stands for.

    A later holder's is larger, also where the Lease was deleted meanwhile and its count began anew.
    """
    return int(record.created_at.timestamp()) * MAX_TRANSITIONS + record.transitions
