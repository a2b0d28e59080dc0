"""Decides whether a Queue may have the row of its queueName."""

from __future__ import annotations

from datetime import UTC, datetime

from towpath_operator.model.conditions import Reason
from towpath_operator.model.queue import Queue
from towpath_operator.plan.observed import Blocked, Owner, QueueObserved, QueueRow

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


def owner_of(queue: Queue, cluster: str) -> Owner:
    """Return what a row records of a Queue."""
    metadata = queue.metadata
    return Owner(
        cluster=cluster, namespace=metadata.namespace, name=metadata.name, uid=metadata.uid
    )


def claim_row(queue: Queue, observed: QueueObserved) -> Blocked | None:
    """Return what keeps a Queue from its row; None where it has it or may take it.

    A row is free when it records no owner, or one that this cluster no longer lists. Of several
    Queues that find it free, the oldest gets it, so that all of them come to the same answer.
    """
    holder = observed.row.owner if observed.row is not None else None
    mine = (observed.operator.cluster_uid, queue.metadata.uid)
    if holder is not None and (holder.cluster, holder.uid) != mine:
        held = _held(queue, holder, observed)
        if held is not None:
            return held
    elif holder is not None:
        return None
    elder = min((*observed.rivals, queue), key=_age)
    if elder.metadata.uid == queue.metadata.uid:
        return None
    return _conflict(queue, f"Queue {elder.metadata.key}, which is older")


def taken_meanwhile(row: QueueRow) -> Blocked:
    """Say that a row that was seen free has another owner by now; the next look says the rest."""
    return Blocked(
        reason=Reason.ROW_PENDING,
        message=f"queue {row.queue_name!r} was taken by Queue {row.owner} at this moment.",
    )


def _held(queue: Queue, holder: Owner, observed: QueueObserved) -> Blocked | None:
    if holder.cluster != observed.operator.cluster_uid:
        return _conflict(queue, f"Queue {holder} of another cluster ({holder.cluster})")
    if observed.queue_uids is None:
        return Blocked(
            reason=Reason.ROW_PENDING,
            message=f"queue {queue.queue_name!r} is recorded for Queue {holder}; whether that still "
            "exists is being found out.",
        )
    seen = holder.uid in observed.queue_uids
    if seen or not observed.operator.watches(holder.namespace):
        return _conflict(queue, f"Queue {holder}")
    return None


def _age(queue: Queue) -> tuple[datetime, str]:
    return (queue.metadata.created or _BEFORE_ALL, queue.metadata.uid)


def _conflict(queue: Queue, holder: str) -> Blocked:
    return Blocked(
        reason=Reason.QUEUE_CONFLICT,
        message=f"queueName {queue.queue_name!r} is held by {holder}. Give this Queue another "
        "queueName or database, or delete the other.",
    )
