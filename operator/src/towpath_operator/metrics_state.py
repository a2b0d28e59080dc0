"""What is true at the moment of a scrape: the work in queues, the sizes of pools, the work queue.

It is read from what the operator knows already: a scrape asks neither the cluster nor a database. Only
the replica that leads knows anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from towpath_operator.declarations import Subject
from towpath_operator.model.database import QueueDatabase
from towpath_operator.model.queue import Queue
from towpath_operator.plan.observed import QueueCounts
from towpath_operator.plan.status import ready_condition
from towpath_operator.ports.cluster import WORKER_POOL, ObjectKey
from towpath_operator.services import Services
from towpath_operator.work_queue import WorkQueue

_QUEUE: Final = ("namespace", "queue")
_POOL: Final = ("namespace", "pool")


@dataclass(frozen=True, slots=True)
class Family:
    """A metric by its name, what it says, its labels, and its kind."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: type[GaugeMetricFamily | CounterMetricFamily] = GaugeMetricFamily

    def empty(self) -> GaugeMetricFamily | CounterMetricFamily:
        """Return it without a series."""
        return self.kind(self.name, self.help, labels=self.labels)


WAITING: Final = Family(
    "towpath_queue_waiting",
    "Workflows that wait in the queue, counted to 10,000; `queue` is the Queue's metadata.name.",
    _QUEUE,
)
RUNNING: Final = Family(
    "towpath_queue_running", "Workflows of the queue that workers have in memory.", _QUEUE
)
OLDEST: Final = Family(
    "towpath_queue_oldest_wait_seconds",
    "For how long the first in line has waited; 0 where none waits.",
    _QUEUE,
)
WORKERS: Final = Family(
    "towpath_queue_workers", "Live workers, of any pool or none, that serve the queue.", _QUEUE
)
PAUSED: Final = Family(
    "towpath_queue_paused",
    "Whether nothing of the queue starts (1), by manifest or by hand.",
    _QUEUE,
)
DESIRED: Final = Family("towpath_pool_pods_desired", "Pods that the pool is to have.", _POOL)
READY_PODS: Final = Family("towpath_pool_pods_ready", "Pods of the pool that are ready.", _POOL)
DATABASE_UP: Final = Family(
    "towpath_database_up",
    "Whether the last look at the database found it usable (1): reached, and migrated.",
    ("namespace", "database"),
)
OBJECT_READY: Final = Family(
    "towpath_object_ready",
    "Whether the object's Ready condition is True (1); its reason is in the object's status.",
    ("kind", "namespace", "name"),
)
DEPTH: Final = Family(
    "towpath_operator_workqueue_depth", "Objects that are due now and wait for their reconcile."
)
LONGEST: Final = Family(
    "towpath_operator_workqueue_longest_running_seconds",
    "For how long the reconcile has run that runs longest.",
)
ADDS: Final = Family(
    "towpath_operator_workqueue_adds",
    "Wake-ups of objects that were put into the work queue.",
    kind=CounterMetricFamily,
)
RETRIES: Final = Family(
    "towpath_operator_workqueue_retries",
    "Reconciles that are tried again, with back-off.",
    kind=CounterMetricFamily,
)
FAMILIES: Final = (
    WAITING,
    RUNNING,
    OLDEST,
    WORKERS,
    PAUSED,
    DESIRED,
    READY_PODS,
    DATABASE_UP,
    OBJECT_READY,
    DEPTH,
    LONGEST,
    ADDS,
    RETRIES,
)


class StateCollector(Collector):
    """Reads the leading operator's knowledge; to be called in the thread of its loop."""

    def __init__(self, services: Services, queue: WorkQueue[Any]) -> None:
        self._services = services
        self._queue = queue

    def describe(self) -> Iterator[Metric]:
        """Return every metric without a series."""
        return (family.empty() for family in FAMILIES)

    def collect(self) -> Iterator[Metric]:
        """Return every metric with its series."""
        metrics = {family: family.empty() for family in FAMILIES}
        for family, labels, value in self._series():
            metrics[family].add_metric(labels, value)
        return iter(metrics.values())

    def _series(self) -> Iterator[tuple[Family, list[str], float]]:
        yield DEPTH, [], self._queue.depth
        yield LONGEST, [], self._queue.longest
        yield ADDS, [], self._queue.adds
        yield RETRIES, [], self._queue.retries
        declared = self._services.declared
        for key in declared.databases:
            view = self._services.desk.view(key)
            if view is not None:
                yield DATABASE_UP, [key.namespace, key.name], float(view.usable)
        for queue in declared.queues.values():
            yield from self._of_queue(queue)
        for key in declared.pools:
            yield from _of_pool(key, declared.status(Subject(WORKER_POOL, key)))
        for subject, status in declared.statuses():
            ready = ready_condition(status)
            if ready is not None:
                labels = [subject.kind.name, subject.key.namespace, subject.key.name]
                yield OBJECT_READY, labels, float(ready.get("status") == "True")

    def _of_queue(self, queue: Queue) -> Iterator[tuple[Family, list[str], float]]:
        counts = self._counts(queue)
        if counts is None:
            return
        key = queue.metadata.key
        labels = [key.namespace, key.name]
        yield WAITING, labels, counts.waiting
        yield RUNNING, labels, counts.running
        yield PAUSED, labels, float(counts.paused)
        if counts.workers is not None:
            yield WORKERS, labels, counts.workers
        yield OLDEST, labels, counts.oldest_wait or 0.0

    def _counts(self, queue: Queue) -> QueueCounts | None:
        """Return the work of the Queue's row as it was last counted, if the row is this Queue's."""
        database = self._services.desk.find(queue)
        if not isinstance(database, QueueDatabase):
            return None
        view = self._services.desk.view(database.metadata.key)
        row = view.rows.get(queue.queue_name) if view is not None and view.usable else None
        if view is None or row is None or row.owner is None or row.owner.uid != queue.metadata.uid:
            return None
        return view.counts.get(queue.queue_name)


def _of_pool(
    key: ObjectKey, status: Mapping[str, Any]
) -> Iterator[tuple[Family, list[str], float]]:
    labels = [key.namespace, key.name]
    desired = (status.get("autoscaling") or {}).get("desired", status.get("replicas"))
    if desired is not None:
        yield DESIRED, labels, desired
        yield READY_PODS, labels, status.get("readyReplicas") or 0
