"""Translates between what the store says of queues and what a plan is made from."""

from __future__ import annotations

from collections.abc import Mapping

from towpath.insights.demand import QueueDemand
from towpath.insights.explain import Explanation
from towpath.store.manifests import DeclaredRow, RowOwner
from towpath_operator.plan.observed import HeldBack, Owner, QueueCounts, QueueRow


def counts_of(demand: Mapping[str, QueueDemand]) -> dict[str, QueueCounts]:
    """Translate what was counted."""
    return {
        name: QueueCounts(
            waiting=one.waiting,
            waiting_capped=one.waiting_capped,
            awake=one.awake,
            running=one.running,
            kept=one.kept,
            workers=one.workers,
            oldest_wait=None if one.oldest_wait is None else one.oldest_wait.total_seconds(),
            paused=one.paused,
        )
        for name, one in demand.items()
    }


def held_back_by(found: Explanation) -> HeldBack:
    """Translate an explanation: its first reason as one word in the way of conditions' reasons."""
    limited_by = "".join(part.capitalize() for part in found.reasons[0].kind.split("_"))
    return HeldBack(limited_by=limited_by, sentence=found.sentence)


def row_of(row: DeclaredRow) -> QueueRow:
    """Translate a row as it was read."""
    owner = row.owner
    return QueueRow(
        queue_name=row.queue_name,
        settings=row.settings,
        paused=row.paused,
        closed=row.closed,
        owner=None
        if owner is None
        else Owner(
            cluster=owner.cluster, namespace=owner.namespace, name=owner.name, uid=owner.uid
        ),
    )


def stored_owner(owner: Owner) -> RowOwner:
    """Translate an owner as a row records it."""
    return RowOwner(
        cluster=owner.cluster, namespace=owner.namespace, name=owner.name, uid=owner.uid
    )
