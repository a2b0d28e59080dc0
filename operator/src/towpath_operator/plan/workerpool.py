"""Plans a WorkerPool: the Secret with its database's URI, and the Deployment."""

from __future__ import annotations

from datetime import datetime

from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.actions import Plan
from towpath_operator.plan.observed import WorkerPoolObserved


def plan_worker_pool(pool: WorkerPool, observed: WorkerPoolObserved, now: datetime) -> Plan:
    """Say what brings a WorkerPool into force, and what its status is."""
    raise NotImplementedError
