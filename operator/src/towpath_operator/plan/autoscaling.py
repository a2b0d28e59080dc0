"""Decides how many pods a pool has, by the work in its queues.

Up at once, also from zero. Down only to the minimum, and only when the samples of a whole minute
found nothing waiting, due or running: a busy pod is never taken away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from towpath.domain.queue import QueueSettings
from towpath_operator.model.workerpool import Autoscaling
from towpath_operator.plan.observed import DemandSample, QueueCounts, Room

IDLE_PERIOD: Final = timedelta(seconds=60)
STALE_AFTER: Final = timedelta(seconds=150)
SOONEST: Final = timedelta(seconds=1)
LOOK_FOR_ROOM: Final = timedelta(seconds=15)


class LimitedBy(StrEnum):
    """What keeps the number of pods from following the work."""

    MINIMUM = "Minimum"
    MAXIMUM = "Maximum"
    IDLE_PERIOD = "IdlePeriod"
    NO_SAMPLE = "NoSample"
    STALE_SAMPLE = "StaleSample"
    DATABASE_ERROR = "DatabaseError"
    CONNECTIONS = "Connections"

    @property
    def blind(self) -> bool:
        """Whether the work is not known, so that the size is held."""
        return self in (LimitedBy.NO_SAMPLE, LimitedBy.STALE_SAMPLE, LimitedBy.DATABASE_ERROR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How many pods there are to be, why not another number, and when to decide again."""

    desired: int
    limited_by: LimitedBy | None = None
    look_again: timedelta | None = None


def idle_since(
    previous: datetime | None, queues: Mapping[str, QueueCounts], taken_at: datetime
) -> datetime | None:
    """Carry `DemandSample.idle_since` on to a new sample of a pool's queues."""
    if not all(counts.quiet for counts in queues.values()):
        return None
    return previous or taken_at


def demand(counts: QueueCounts, settings: QueueSettings) -> int:
    """Return how many workflows of a queue could run now: those that do, and those with a place."""
    if settings.concurrency is None:
        return counts.running + counts.startable
    free = max(0, settings.concurrency - counts.running - counts.kept)
    return counts.running + min(counts.startable, free)


def pods_for(
    queues: Mapping[str, QueueSettings], counts: Mapping[str, QueueCounts], slots: int
) -> int:
    """Return the pods that the work asks for, without any bound."""
    demands = {name: demand(counts[name], queues[name]) for name in queues if name in counts}
    by_slots = math.ceil(sum(demands.values()) / slots)
    by_queue = (
        math.ceil(demands[name] / (settings.worker_concurrency or math.inf))
        for name, settings in queues.items()
        if name in demands
    )
    return max([by_slots, *by_queue])


def decide(
    policy: Autoscaling,
    *,
    slots: int,
    queues: Mapping[str, QueueSettings],
    current: int | None,
    sample: DemandSample | None,
    database_usable: bool,
    now: datetime,
) -> Decision:
    """Decide how many pods a pool is to have.

    Args:
        policy: The pool's bounds.
        slots: What one pod runs at a time.
        queues: The limits of the pool's queues, by queueName.
        current: What was decided last; None for a pool without a Deployment.
        sample: The last look at the work.
        database_usable: Whether the database could be asked just now.
        now: The time.
    """
    held = _clamp(policy, policy.min if current is None else current)
    blind = _blindness(sample, queues, now, database_usable=database_usable)
    if sample is None or blind is not None:
        return Decision(desired=held, limited_by=blind)
    wanted = pods_for(queues, sample.queues, slots)
    bounded = _clamp(policy, wanted)
    bound = _bound(wanted, bounded)
    if current is None or bounded >= current:
        return Decision(desired=bounded, limited_by=bound)
    idle_for = timedelta(0) if sample.idle_since is None else sample.taken_at - sample.idle_since
    # Measured from sample to sample: the time since the last one proves nothing.
    if sample.idle_since is not None and idle_for >= IDLE_PERIOD:
        return Decision(desired=bounded, limited_by=bound)
    if held < current:
        return Decision(desired=held, limited_by=LimitedBy.MAXIMUM)
    look_again = None
    if sample.idle_since is not None:
        look_again = max(SOONEST, sample.idle_since + IDLE_PERIOD - now)
    return Decision(desired=held, limited_by=LimitedBy.IDLE_PERIOD, look_again=look_again)


def within_room(decision: Decision, room: Room | None, current: int | None) -> Decision:
    """Bound a decision by what the database's connections leave to this pool.

    A pool grows into what is free. Where all together have more than there is, since the limit was
    lowered, each gives up what it has beyond an equal part.
    """
    held = decision.limited_by is not None and decision.limited_by.blind
    if room is None or (held and decision.desired == current):
        return decision
    most = room.pods - room.others
    if room.others + (current or 0) > room.pods:
        most = max(most, room.pods // room.pools)
    if decision.desired <= most:
        return decision
    return Decision(
        desired=max(0, most), limited_by=LimitedBy.CONNECTIONS, look_again=LOOK_FOR_ROOM
    )


def _blindness(
    sample: DemandSample | None,
    queues: Mapping[str, QueueSettings],
    now: datetime,
    *,
    database_usable: bool,
) -> LimitedBy | None:
    if not database_usable:
        return LimitedBy.DATABASE_ERROR
    if sample is None or not queues or not set(queues) <= set(sample.queues):
        return LimitedBy.NO_SAMPLE
    return LimitedBy.STALE_SAMPLE if now - sample.taken_at > STALE_AFTER else None


def _clamp(policy: Autoscaling, pods: int) -> int:
    return max(policy.min, min(policy.max, pods))


def _bound(wanted: int, bounded: int) -> LimitedBy | None:
    if wanted == bounded:
        return None
    return LimitedBy.MAXIMUM if wanted > bounded else LimitedBy.MINIMUM
