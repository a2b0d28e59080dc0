"""Which queues a pool serves, and why not all that it lists."""

from __future__ import annotations

from collections.abc import Mapping

from towpath.domain.queue import QueueSettings
from towpath_operator.model.conditions import Reason
from towpath_operator.model.queue import Queue
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.observed import Blocked, DatabaseObserved, WorkerPoolObserved
from towpath_operator.plan.status import ready_condition

NO_QUEUE = Blocked(reason=Reason.QUEUE_NOT_FOUND, message="There is no queue to serve.")


def served_queues(
    pool: WorkerPool, observed: WorkerPoolObserved, database: DatabaseObserved
) -> dict[str, QueueSettings]:
    """Return the limits of the queues that the pool may serve, by queueName."""
    queues = (observed.queues.get(entry.name) for entry in pool.spec.queues)
    return {
        queue.queue_name: queue.settings
        for queue in queues
        if queue is not None and _same_database(pool, queue, database) and not _lost_its_name(queue)
    }


def missing_queue(
    pool: WorkerPool, observed: WorkerPoolObserved, served: Mapping[str, QueueSettings]
) -> Blocked | None:
    """Name the first queue that the pool lists and does not serve."""
    for entry in pool.spec.queues:
        queue = observed.queues.get(entry.name)
        place = f"Queue {pool.metadata.namespace}/{entry.name}"
        if queue is None:
            return Blocked(reason=Reason.QUEUE_NOT_FOUND, message=f"{place} does not exist.")
        if _lost_its_name(queue):
            message = f"{place} does not hold its queueName {queue.queue_name!r}; see its status."
            return Blocked(reason=Reason.QUEUE_CONFLICT, message=message)
        if queue.queue_name not in served:
            message = f"{place} is of another database than this pool."
            return Blocked(reason=Reason.QUEUE_NOT_FOUND, message=message)
    return None


def _same_database(pool: WorkerPool, queue: Queue, database: DatabaseObserved) -> bool:
    found = queue.status.get("database")
    if found:
        return dict(found) == database.target.to_status()
    return queue.spec.database_ref == pool.spec.database_ref


def _lost_its_name(queue: Queue) -> bool:
    ready = ready_condition(queue.status) or {}
    return ready.get("reason") == Reason.QUEUE_CONFLICT
