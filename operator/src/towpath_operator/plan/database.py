"""Plans a QueueDatabase: its schema, and rows whose Queue is gone."""

from __future__ import annotations

from datetime import datetime

from towpath_operator.model.database import QueueDatabase
from towpath_operator.plan.actions import Plan
from towpath_operator.plan.observed import QueueDatabaseObserved


def plan_queue_database(
    database: QueueDatabase, observed: QueueDatabaseObserved, now: datetime
) -> Plan:
    """Say what brings a QueueDatabase into force, and what its status is."""
    raise NotImplementedError
