"""Makes statuses: conditions, numbers, and what a failed action leaves to say."""

from __future__ import annotations

from datetime import datetime

from towpath_operator.plan.actions import Failure, Plan
from towpath_operator.plan.observed import Declared


def failed(subject: Declared, plan: Plan, failure: Failure, now: datetime) -> Plan:
    """Return the plan with the status, events and requeue that a failed action leaves."""
    raise NotImplementedError
