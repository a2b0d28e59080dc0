"""Plans a Queue: its row, and by `workers` an owned WorkerPool."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from towpath_operator.model.conditions import ConditionType, Reason
from towpath_operator.model.metadata import read_metadata
from towpath_operator.model.queue import Queue
from towpath_operator.model.queue_status import effective_configuration
from towpath_operator.plan.actions import Action, DeclareQueue, DeleteObject, Plan
from towpath_operator.plan.children import is_current, plan_child
from towpath_operator.plan.database import database_trouble
from towpath_operator.plan.observed import (
    Blocked,
    DatabaseObserved,
    DatabaseTarget,
    QueueObserved,
    QueueRow,
)
from towpath_operator.plan.ownership import claim_row, owner_of
from towpath_operator.plan.status import (
    RETRY_AFTER,
    Draft,
    Verdict,
    no,
    ready_condition,
    settle,
    yes,
)
from towpath_operator.ports.cluster import WORKER_POOL
from towpath_operator.render.queue import render_worker_pool


def plan_queue(queue: Queue, observed: QueueObserved, now: datetime) -> Plan:
    """Say what brings a Queue into force, and what its status is.

    A Queue that is being deleted asks for nothing: its pool goes with it, and its row is freed with
    the others of its database when this cluster lists it no more.
    """
    if queue.metadata.being_deleted:
        return Plan()
    database = observed.database
    if isinstance(database, Blocked):
        return _waiting(queue, observed, database, now)
    trouble = database_trouble(database.target, database.state) or claim_row(queue, observed)
    if trouble is not None:
        return _waiting(queue, observed, trouble, now)
    declaration = _declaration(queue, observed, database.target)
    if declaration is not None:
        pending = f"Queue {queue.queue_name!r} is being written to {database.target.key}."
        draft = _draft(queue, observed, no(Blocked(reason=Reason.ROW_PENDING, message=pending)))
        return settle(draft, now, actions=[declaration], requeue_after=timedelta(0), silent=True)
    return _with_pool(queue, observed, _pool_action(queue, observed), now)


def _with_pool(
    queue: Queue, observed: QueueObserved, action: Action | Blocked | None, now: datetime
) -> Plan:
    """Say what a Queue needs whose row is as declared: its pool, or nothing."""
    if isinstance(action, Blocked):
        return settle(_draft(queue, observed, no(action)), now, requeue_after=RETRY_AFTER)
    draft = _draft(queue, observed, _readiness(queue, observed))
    if action is not None:
        # As for a pool's children: said is what has been seen.
        return settle(draft, now, actions=[action], requeue_after=timedelta(0), silent=True)
    return settle(draft, now)


def _waiting(queue: Queue, observed: QueueObserved, trouble: Blocked, now: datetime) -> Plan:
    """Say what the row waits for; a pool that exists already is kept as declared meanwhile."""
    action = _pool_action(queue, observed) if observed.pool is not None else None
    return settle(
        _draft(queue, observed, no(trouble)),
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


def _pool_action(queue: Queue, observed: QueueObserved) -> Action | Blocked | None:
    uid, child = queue.metadata.uid, observed.pool
    if queue.spec.workers is not None:
        manifest = render_worker_pool(queue, queue.spec.workers)
        return plan_child(WORKER_POOL, child, manifest, uid)
    if child is None:
        return None
    live = read_metadata(child.live)
    if live.controller_uid != uid or live.being_deleted:
        return None
    return DeleteObject(kind=WORKER_POOL, key=live.key, uid=live.uid)


def _readiness(queue: Queue, observed: QueueObserved) -> Verdict:
    in_force = yes(Reason.IN_FORCE, f"Queue {queue.queue_name!r} has the declared limits.")
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


def _draft(queue: Queue, observed: QueueObserved, ready: Verdict) -> Draft:
    database, counts = observed.database, observed.counts
    found = queue.status.get("database")
    if isinstance(database, DatabaseObserved):
        found = database.target.to_status()
    numbers: dict[str, Any] = {
        name: queue.status.get(name) for name in ("waiting", "waitingCapped", "running")
    }
    if counts is not None:
        numbers = {
            "waiting": counts.waiting,
            "waitingCapped": counts.waiting_capped,
            "running": counts.running,
        }
    informational = {ConditionType.WORKERS_AVAILABLE: _workers(observed)}
    paused = _paused(queue, observed)
    if paused is not None:
        informational[ConditionType.PAUSED] = paused
    return Draft(
        subject=queue,
        ready=ready,
        informational=informational,
        facts={
            "database": found,
            "queueName": queue.queue_name,
            "effective": _effective(queue, observed),
        },
        numbers=numbers,
        numbers_written_at=observed.numbers_written_at,
    )


def _asked(observed: QueueObserved) -> bool:
    """Tell whether the rows could be read."""
    return isinstance(observed.database, DatabaseObserved) and observed.database.state.migrated


def _holds_row(queue: Queue, observed: QueueObserved) -> QueueRow | None:
    """Return the row if it is this Queue's."""
    row, owner = observed.row, owner_of(queue, observed.operator.cluster_uid)
    return row if row is not None and row.owner == owner else None


def _effective(queue: Queue, observed: QueueObserved) -> Mapping[str, Any] | None:
    """Return what is in force; what was is kept while the database cannot be asked."""
    row = _holds_row(queue, observed)
    if row is not None:
        return effective_configuration(row.settings, paused=row.paused, closed=row.closed)
    return None if _asked(observed) else queue.status.get("effective")


def _paused(queue: Queue, observed: QueueObserved) -> Verdict | None:
    """Say whether anything starts; nothing is said of a row that another has."""
    row = _holds_row(queue, observed)
    if row is None:
        message = "The database could not be asked whether the queue is paused."
        unknown = Verdict(status="Unknown", reason=Reason.NOT_SAMPLED, message=message)
        return None if _asked(observed) else unknown
    closed = " The queue is closed: enqueueing is refused." if row.closed else ""
    if not row.paused:
        message = f"Workflows start as the limits allow.{closed}"
        return Verdict(status="False", reason=Reason.NOT_PAUSED, message=message)
    if queue.spec.paused:
        return yes(
            Reason.PAUSED_BY_MANIFEST, f"Nothing starts: the manifest says paused: true.{closed}"
        )
    return yes(
        Reason.PAUSED_BY_HAND,
        f"Nothing starts since `towpath queue pause {queue.queue_name}`; `towpath queue resume "
        f"{queue.queue_name}` ends that.{closed}",
    )


def _workers(observed: QueueObserved) -> Verdict:
    workers = observed.counts.workers if observed.counts is not None else None
    if workers is None:
        message = "The database could not be asked for the queue's workers."
        return Verdict(status="Unknown", reason=Reason.NOT_SAMPLED, message=message)
    if workers > 0:
        return yes(Reason.SERVED, "At least one live worker serves the queue.")
    message = "No live worker serves the queue, and no WorkerPool lists it. Add `workers` to it."
    if observed.serving:
        pools = ", ".join(sorted(observed.serving))
        message = f"No live worker serves the queue now; it is of WorkerPool {pools}."
    return Verdict(status="False", reason=Reason.NOT_SERVED, message=message)
