"""Plans a Queue: its row, and by `workers` an owned WorkerPool."""

from __future__ import annotations

from datetime import datetime

from towpath_operator.model.queue import Queue
from towpath_operator.plan.actions import Plan
from towpath_operator.plan.observed import QueueObserved


def plan_queue(queue: Queue, observed: QueueObserved, now: datetime) -> Plan:
    """Say what brings a Queue into force, and what its status is."""
    raise NotImplementedError
