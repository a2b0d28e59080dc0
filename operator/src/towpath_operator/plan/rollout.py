"""Reads from a Deployment whether its pods are as declared: all of them, and none of an older template.

Pods that were told to go are not counted, as Kubernetes does not count them: one may be busy for as
long as its drain lasts.
"""

from __future__ import annotations

from collections.abc import Sequence

from towpath_operator.model.conditions import Reason
from towpath_operator.model.metadata import read_metadata
from towpath_operator.plan.children import is_current
from towpath_operator.plan.observed import Blocked, Child
from towpath_operator.plan.pods import pods_trouble
from towpath_operator.ports.cluster import Manifest


def rollout_obstacle(
    deployment: Child | None, pods: Sequence[Manifest], wanted: int
) -> Blocked | None:
    """Return why the pods are not yet as declared, the gravest trouble of theirs first; None if they are."""
    why = _unfinished(deployment, wanted)
    if why is None:
        return None
    trouble = pods_trouble(pods, {} if deployment is None else deployment.live)
    return trouble or Blocked(reason=Reason.PODS_STARTING, message=why)


def _unfinished(deployment: Child | None, wanted: int) -> str | None:
    if deployment is None:
        return f"0 of {wanted} pods are available."
    live = read_metadata(deployment.live)
    if live.being_deleted:
        return "The Deployment is being deleted, and is made again when it is gone."
    status = deployment.live.get("status") or {}
    if not is_current(deployment) or int(status.get("observedGeneration") or 0) < live.generation:
        # The numbers below are of the template before, and those are most often complete.
        return "The pods are about to change: the Deployment's last change has not been taken up."
    replicas, updated, available = (
        int(status.get(name) or 0) for name in ("replicas", "updatedReplicas", "availableReplicas")
    )
    if replicas > updated:
        return f"Pods of an older template that are still being replaced: {replicas - updated}."
    # All are of one template by now, so that those available are the declared ones.
    there = min(updated, available)
    return None if there >= wanted else f"{there} of {wanted} pods are available."
