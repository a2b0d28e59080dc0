"""Decides how many pods a pool has, by the work in its queues."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from towpath_operator.plan.observed import QueueCounts


def idle_since(
    previous: datetime | None, queues: Mapping[str, QueueCounts], taken_at: datetime
) -> datetime | None:
    """Carry `DemandSample.idle_since` on to a new sample of a pool's queues."""
    if not all(counts.quiet for counts in queues.values()):
        return None
    return previous or taken_at
