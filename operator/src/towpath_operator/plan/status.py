"""Makes statuses: conditions, numbers, and what a failed action leaves to say."""

from __future__ import annotations

from datetime import datetime

from towpath_operator.model.errors import ManifestError
from towpath_operator.plan.actions import Failure, Plan
from towpath_operator.plan.observed import Declared
from towpath_operator.ports.cluster import Manifest


def failed(subject: Declared, plan: Plan, failure: Failure, now: datetime) -> Plan:
    """Return the plan with the status, events and requeue that a failed action leaves."""
    raise NotImplementedError


def invalid(manifest: Manifest, error: ManifestError, now: datetime) -> Plan:
    """Return the plan (status alone) for a live object that breaks a rule of its kind.

    An older CRD or another writer may let through what the models refuse: reason InvalidSpec.
    """
    raise NotImplementedError
