"""Plans the end of a Queue whose deletion is to delete its row: the one thing that holds an object up.

A finalizer keeps such a Queue until its workflows are gone. It is on no other object, and a database
that cannot be used holds it up for a minute at most.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from towpath.domain.deletion import Clearing
from towpath_operator.model.conditions import Reason
from towpath_operator.model.metadata import Metadata, read_metadata
from towpath_operator.model.queue import DELETE_ROWS, Queue
from towpath_operator.plan.actions import (
    ClearQueue,
    DeleteEmptyQueue,
    Event,
    Plan,
    SetFinalizers,
)
from towpath_operator.plan.database import database_trouble
from towpath_operator.plan.observed import Blocked, DatabaseTarget, QueueDeletion, QueueObserved
from towpath_operator.plan.ownership import owner_of
from towpath_operator.plan.queue_status import draft_of
from towpath_operator.plan.status import RETRY_AFTER, no, settle
from towpath_operator.ports.cluster import QUEUE, Manifest

GIVEN_UP_AFTER: Final = timedelta(seconds=60)
"""So long a database may be away before the Queue goes and its row stays."""

RUNNING_MAY_TAKE: Final = timedelta(minutes=5)
"""So long after the deletion began workflows may run on; then they are cancelled and deleted."""

LOOK_AGAIN: Final = timedelta(seconds=1)

_GONE: Final = (Reason.DATABASE_NOT_FOUND, Reason.SECRET_NOT_FOUND)

ROWS_DELETED: Final = "RowsDeleted"
ROWS_KEPT: Final = "RowsKept"


def with_finalizer(queue: Queue, plan: Plan) -> Plan:
    """Put the finalizer where a confirmed policy asks for it, and take it off where none does any more."""
    has = DELETE_ROWS in queue.metadata.finalizers
    if has == queue.deletes_rows:
        return plan
    before = queue.metadata.finalizers
    after = (*before, DELETE_ROWS) if queue.deletes_rows else _without(before)
    action = _set(queue.metadata, after)
    return replace(plan, actions=(action, *plan.actions))


def plan_deletion(queue: Queue, observed: QueueObserved, now: datetime) -> Plan:
    """Say what is to be done for a Queue that is being deleted.

    Without the finalizer that is nothing: its pool goes with it, and its row is freed with the others
    of its database when this cluster lists it no more.
    """
    if DELETE_ROWS not in queue.metadata.finalizers:
        return Plan()
    if not queue.deletes_rows:
        return _release(queue.metadata)
    target = _usable(observed)
    over = _over(queue, observed, target, now)
    if over is not None:
        return _release(queue.metadata, over)
    if isinstance(target, Blocked):
        return _waits(queue, observed, target, now)
    return _goes_on(queue, observed, target, now)


def let_go_unread(manifest: Manifest, plan: Plan) -> Plan:
    """Let a Queue go whose spec breaks a rule: nothing says any more what its deletion is to delete."""
    metadata = read_metadata(manifest)
    if not metadata.being_deleted or DELETE_ROWS not in metadata.finalizers:
        return plan
    message = "The spec breaks a rule of its CRD, so the row and the workflows are kept."
    event = Event(reason=ROWS_KEPT, message=message, warning=True)
    action = _set(metadata, _without(metadata.finalizers))
    return replace(plan, actions=(action,), status_changed=False, events=(event,))


def _goes_on(queue: Queue, observed: QueueObserved, target: DatabaseTarget, now: datetime) -> Plan:
    done, owner = observed.deletion, owner_of(queue, observed.operator.cluster_uid)
    action: ClearQueue | DeleteEmptyQueue
    if queue.spec.deletion_policy == "Delete":
        began = queue.metadata.deleted or now
        action = ClearQueue(
            target=target,
            queue_name=queue.queue_name,
            owner=owner,
            walk=done.walk,
            cancels_running=now - began >= RUNNING_MAY_TAKE,
        )
        doing = "its workflows are deleted; those that run end first"
    else:
        was_closed = (queue.status.get("effective") or {}).get("closed", False)
        action = DeleteEmptyQueue(
            target=target,
            queue_name=queue.queue_name,
            owner=owner,
            walk=done.walk,
            reopens=not was_closed,
        )
        doing = "it is looked whether it has any workflow"
    message = f"Queue {queue.queue_name!r} is closed and {doing}; then its row goes."
    draft = draft_of(queue, observed, no(Blocked(reason=Reason.DELETING, message=message)))
    return settle(
        draft,
        now,
        actions=[action],
        requeue_after=LOOK_AGAIN if done.state is Clearing.WAITS else timedelta(0),
        silent=done.state is None,
    )


def _waits(queue: Queue, observed: QueueObserved, trouble: Blocked, now: datetime) -> Plan:
    """Wait for the database, as long as that may take."""
    draft = draft_of(queue, observed, no(trouble))
    since = observed.deletion.failing_since or now
    left = max(timedelta(0), since + GIVEN_UP_AFTER - now)
    quiet = trouble.reason is Reason.RETRYING
    return settle(draft, now, requeue_after=min(RETRY_AFTER, left), silent=quiet)


def _usable(observed: QueueObserved) -> DatabaseTarget | Blocked:
    """Return the database, or what keeps it from being used.

    One that is declared no more is used as it was: it may go with the same namespace.
    """
    database = observed.database
    if isinstance(database, Blocked):
        return (observed.last_target if database.reason in _GONE else None) or database
    return database_trouble(database.target, database.state) or database.target


def _over(
    queue: Queue, observed: QueueObserved, target: DatabaseTarget | Blocked, now: datetime
) -> Event | None:
    """Return what is told when there is nothing more to do; None while there is."""
    done, name = observed.deletion, repr(queue.queue_name)
    if done.state is Clearing.GONE:
        message = f"Queue {name} is deleted from the database, with {_workflows(done.deleted)}."
        return Event(reason=ROWS_DELETED, message=message, warning=False)
    if done.state is Clearing.KEPT:
        message = (
            f"Queue {name} is not empty, so its row and its workflows are kept; code or another "
            "Queue may declare it from now on."
        )
        return Event(reason=ROWS_KEPT, message=message, warning=True)
    if done.state is Clearing.NOT_OURS:
        told = f"; {_workflows(done.deleted)} had been deleted" if done.deleted else ""
        message = f"Queue {name} has no row of this Queue's in the database{told}."
        return Event(reason=ROWS_KEPT, message=message, warning=False)
    if done.failing_since is not None and now - done.failing_since >= GIVEN_UP_AFTER:
        return _given_up(queue, done, target)
    return None


def _given_up(queue: Queue, done: QueueDeletion, target: DatabaseTarget | Blocked) -> Event:
    why = target.message if isinstance(target, Blocked) else "The operator's log says why."
    message = (
        f"For {GIVEN_UP_AFTER.seconds} s the row of queue {queue.queue_name!r} could not be deleted, "
        f"so it is kept, and the Queue goes ({_workflows(done.deleted)} deleted until then). {why} To "
        "delete the rest, apply the Queue again when the database is there, and delete it."
    )
    return Event(reason=ROWS_KEPT, message=message, warning=True)


def _workflows(number: int) -> str:
    return f"{number} workflow{'' if number == 1 else 's'}"


def _release(metadata: Metadata, *events: Event) -> Plan:
    """Take the finalizer off; the object is gone then, unless another keeps it."""
    return Plan(actions=(_set(metadata, _without(metadata.finalizers)),), events=events)


def _set(metadata: Metadata, after: tuple[str, ...]) -> SetFinalizers:
    return SetFinalizers(
        kind=QUEUE, key=metadata.key, uid=metadata.uid, before=metadata.finalizers, after=after
    )


def _without(finalizers: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(one for one in finalizers if one != DELETE_ROWS)
