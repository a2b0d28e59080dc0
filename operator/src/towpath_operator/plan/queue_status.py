"""Makes a Queue's status: what is in force, how much work there is, and what holds it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from towpath_operator.model.conditions import ConditionType, Reason
from towpath_operator.model.queue import Queue
from towpath_operator.model.queue_status import effective_configuration
from towpath_operator.plan.observed import DatabaseObserved, QueueObserved, QueueRow
from towpath_operator.plan.ownership import owner_of
from towpath_operator.plan.status import Draft, Verdict, yes

NUMBERS = ("waiting", "waitingCapped", "running", "oldestWaitSeconds", "limitedBy")


def draft_of(queue: Queue, observed: QueueObserved, ready: Verdict) -> Draft:
    """Return what is to be said about a Queue; what cannot be asked now stays as it was."""
    database = observed.database
    found = queue.status.get("database")
    if isinstance(database, DatabaseObserved):
        found = database.target.to_status()
    informational = {ConditionType.WORKERS_AVAILABLE: _workers(observed)}
    paused = _paused(queue, observed)
    if paused is not None:
        informational[ConditionType.PAUSED] = paused
    numbers, words = _work(queue, observed)
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
        words=words,
        numbers_written_at=observed.numbers_written_at,
    )


def _work(queue: Queue, observed: QueueObserved) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the numbers, and the sentence that goes with them."""
    counts, held = observed.counts, observed.held_back
    if counts is None:
        known = queue.status
        return {name: known.get(name) for name in NUMBERS}, {"why": known.get("why")}
    numbers = {
        "waiting": counts.waiting,
        "waitingCapped": counts.waiting_capped,
        "running": counts.running,
        "oldestWaitSeconds": None if counts.oldest_wait is None else int(counts.oldest_wait),
        "limitedBy": None if held is None else held.limited_by,
    }
    return numbers, {"why": None if held is None else held.sentence}


def _asked(observed: QueueObserved) -> bool:
    """Tell whether the rows could be read."""
    return isinstance(observed.database, DatabaseObserved) and observed.database.state.migrated


def _holds_row(queue: Queue, observed: QueueObserved) -> QueueRow | None:
    """Return the row if it is this Queue's."""
    row, owner = observed.row, owner_of(queue, observed.operator.cluster_uid)
    return row if row is not None and row.owner == owner else None


def _effective(queue: Queue, observed: QueueObserved) -> Mapping[str, Any] | None:
    """Return what is in force; what was is kept while the database cannot be asked.

    While the Queue is being deleted it is kept too: it tells whether the queue was open before.
    """
    row = _holds_row(queue, observed)
    if row is not None and not queue.metadata.being_deleted:
        return effective_configuration(row.settings, paused=row.paused, closed=row.closed)
    known = queue.status.get("effective")
    return None if _asked(observed) and not queue.metadata.being_deleted else known


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
    if queue.metadata.being_deleted:
        return yes(Reason.PAUSED_TO_DELETE, "Nothing starts: the Queue is being deleted.")
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
