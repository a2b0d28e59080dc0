"""Plans a Queue: its row, and by `workers` an owned WorkerPool."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from towpath_operator.model.annotations import CONFIRM_DELETE
from towpath_operator.model.conditions import Reason
from towpath_operator.model.metadata import read_metadata
from towpath_operator.model.queue import RETAIN, Queue
from towpath_operator.plan.actions import Action, DeclareQueue, Plan
from towpath_operator.plan.children import is_current
from towpath_operator.plan.database import database_trouble
from towpath_operator.plan.deletion import plan_deletion, with_finalizer
from towpath_operator.plan.observed import (
    Blocked,
    DatabaseTarget,
    QueueObserved,
    QueueRow,
)
from towpath_operator.plan.ownership import claim_row, owner_of
from towpath_operator.plan.queue_pool import plan_queue_pool
from towpath_operator.plan.queue_status import draft_of
from towpath_operator.plan.row_changes import told_of_write
from towpath_operator.plan.status import (
    RETRY_AFTER,
    Verdict,
    no,
    ready_condition,
    settle,
    yes,
)


def plan_queue(queue: Queue, observed: QueueObserved, now: datetime) -> Plan:
    """Say what brings a Queue into force, or to its end, and what its status is."""
    if queue.metadata.being_deleted:
        return plan_deletion(queue, observed, now)
    return with_finalizer(queue, _plan(queue, observed, now))


def _plan(queue: Queue, observed: QueueObserved, now: datetime) -> Plan:
    database = observed.database
    if isinstance(database, Blocked):
        return _waiting(queue, observed, database, now)
    trouble = database_trouble(database.target, database.state) or claim_row(queue, observed)
    if trouble is not None:
        return _waiting(queue, observed, trouble, now)
    declaration = _declaration(queue, observed, database.target)
    if declaration is not None:
        pending = f"Queue {queue.queue_name!r} is being written to {database.target.key}."
        draft = draft_of(queue, observed, no(Blocked(reason=Reason.ROW_PENDING, message=pending)))
        return settle(
            draft,
            now,
            actions=[declaration],
            events=told_of_write(queue, observed.row, declaration.owner),
            requeue_after=timedelta(0),
            silent=True,
        )
    return _with_pool(queue, observed, plan_queue_pool(queue, observed.pool), now)


def _with_pool(
    queue: Queue, observed: QueueObserved, action: Action | Blocked | None, now: datetime
) -> Plan:
    """Say what a Queue needs whose row is as declared: its pool, or nothing."""
    if isinstance(action, Blocked):
        return settle(draft_of(queue, observed, no(action)), now, requeue_after=RETRY_AFTER)
    draft = draft_of(queue, observed, _readiness(queue, observed))
    if action is not None:
        # As for a pool's children: said is what has been seen.
        return settle(draft, now, actions=[action], requeue_after=timedelta(0), silent=True)
    return settle(draft, now)


def _waiting(queue: Queue, observed: QueueObserved, trouble: Blocked, now: datetime) -> Plan:
    """Say what the row waits for; a pool that exists already is kept as declared meanwhile."""
    action = plan_queue_pool(queue, observed.pool) if observed.pool is not None else None
    return settle(
        draft_of(queue, observed, no(trouble)),
        now,
        actions=[] if action is None or isinstance(action, Blocked) else [action],
        requeue_after=RETRY_AFTER,
    )


def _declaration(
    queue: Queue, observed: QueueObserved, target: DatabaseTarget
) -> DeclareQueue | None:
    row, owner = observed.row, owner_of(queue, observed.operator.cluster_uid)
    if row is not None and row.owner == owner and _as_declared(queue, row):
        return None
    return DeclareQueue(
        target=target,
        queue_name=queue.queue_name,
        settings=queue.settings,
        paused=queue.spec.paused,
        closed=queue.spec.closed,
        owner=owner,
        replaces=row.owner.uid if row is not None and row.owner is not None else None,
    )


def _as_declared(queue: Queue, row: QueueRow) -> bool:
    """Tell whether a row says what the manifest says; what that leaves open is as it is."""
    spec = queue.spec
    return (
        row.settings == queue.settings
        and spec.paused in (None, row.paused)
        and spec.closed in (None, row.closed)
    )


def _readiness(queue: Queue, observed: QueueObserved) -> Verdict:
    unconfirmed = "" if queue.deletes_rows else _unconfirmed(queue)
    message = f"Queue {queue.queue_name!r} has the declared limits.{unconfirmed}"
    in_force = yes(Reason.IN_FORCE, message)
    if queue.spec.workers is None:
        return in_force
    pool = observed.pool
    if pool is None:
        return _pool_not_ready(queue, "it is being applied")
    live = read_metadata(pool.live)
    if live.being_deleted:
        return _pool_not_ready(queue, "it is being deleted, and is made again when it is gone")
    ready = ready_condition(pool.live.get("status") or {}) or {}
    if not is_current(pool) or ready.get("observedGeneration") != live.generation:
        return _pool_not_ready(queue, "it has not been looked at yet")
    if ready.get("status") == "True":
        return in_force
    return _pool_not_ready(queue, str(ready.get("message", "")), ready)


def _pool_not_ready(queue: Queue, why: str, ready: Mapping[str, Any] | None = None) -> Verdict:
    """Carry the pool's reason up, so that one look at the Queue says what to do.

    All but QueueConflict: the pool has that from this Queue's status of before, and each would keep
    it for the other's sake.
    """
    reason = (ready or {}).get("reason")
    carried = set(Reason) - {Reason.QUEUE_CONFLICT}
    known = Reason(reason) if reason in carried else Reason.POOL_NOT_READY
    return no(Blocked(reason=known, message=f"WorkerPool {queue.metadata.name}: {why}"))


def _unconfirmed(queue: Queue) -> str:
    """Say what a policy waits for that deletes rows."""
    policy = queue.spec.deletion_policy
    if policy == RETAIN:
        return ""
    return (
        f" deletionPolicy {policy} is not confirmed, so a deletion keeps the row: it takes the "
        f"annotation {CONFIRM_DELETE}: {queue.queue_name}"
    )
