"""Says what a refusal by the cluster means for the object whose plan asked for it."""

from __future__ import annotations

from towpath_operator.plan.actions import Action, Failure
from towpath_operator.ports.cluster import ClusterError


def explain(action: Action, error: ClusterError) -> Failure:
    """Return the failure that a cluster's refusal of an action is."""
    raise NotImplementedError
