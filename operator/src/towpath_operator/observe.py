"""Reads the facts that a plan is made from. It decides nothing; what it cannot read it says so."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from towpath_operator.declarations import Subject
from towpath_operator.desk import View
from towpath_operator.model.database import QueueDatabase
from towpath_operator.model.queue import Queue
from towpath_operator.model.uri_parts import DatabaseUri
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.observed import (
    Blocked,
    Child,
    DatabaseTarget,
    QueueDatabaseObserved,
    QueueObserved,
    WorkerPoolObserved,
)
from towpath_operator.ports.cluster import (
    DEPLOYMENT,
    POD,
    QUEUE,
    QUEUE_DATABASE,
    SECRET,
    WORKER_POOL,
    Kind,
    ObjectKey,
)
from towpath_operator.services import Services

POOL_LABEL: Final = "towpath.dev/pool"


def observe_queue_database(database: QueueDatabase, services: Services) -> QueueDatabaseObserved:
    """Look at a database: its Secret, its server, its rows of this cluster."""
    subject = Subject(QUEUE_DATABASE, database.metadata.key)
    view = services.desk.current(database, subject)
    state = view.look.state if view.look is not None else None
    cluster = services.operator.cluster_uid
    owned = (r for r in view.rows.values() if r.owner is not None and r.owner.cluster == cluster)
    return QueueDatabaseObserved(
        operator=services.operator,
        target=view.target,
        state=state,
        owned=tuple(owned),
        queue_uids=services.declared.queue_uids,
    )


async def observe_queue(queue: Queue, services: Services) -> QueueObserved:
    """Look at a queue's row and work, at who else wants the row, and at its pool."""
    key = queue.metadata.key
    view = _view_of(queue, Subject(QUEUE, key), services, [queue.queue_name])
    usable = isinstance(view, View) and view.usable
    return QueueObserved(
        operator=services.operator,
        database=view.observed if isinstance(view, View) else view,
        row=view.rows.get(queue.queue_name) if isinstance(view, View) else None,
        rivals=_rivals(queue, services),
        queue_uids=services.declared.queue_uids,
        counts=view.counts.get(queue.queue_name) if isinstance(view, View) and usable else None,
        pool=await _child(WORKER_POOL, key, services),
        serving=_serving(queue, services),
        numbers_written_at=services.memory.numbers_written_at.get(Subject(QUEUE, key)),
    )


async def observe_worker_pool(pool: WorkerPool, services: Services) -> WorkerPoolObserved:
    """Look at a pool's queues and their work, and at its children."""
    key = pool.metadata.key
    queues = services.desk.queue_names_of(pool)
    names = [queue.queue_name for queue in queues.values()]
    view = _view_of(pool, Subject(WORKER_POOL, key), services, names)
    secret_key = ObjectKey(key.namespace, f"{key.name}-database")
    return WorkerPoolObserved(
        operator=services.operator,
        database=view.observed if isinstance(view, View) else view,
        queues=queues,
        sample=services.memory.samples.get(key),
        deployment=await _child(DEPLOYMENT, key, services),
        secret=await _child(SECRET, secret_key, services),
        pods=tuple(
            await services.cluster.list(POD, namespace=key.namespace, labels={POOL_LABEL: key.name})
        ),
        numbers_written_at=services.memory.numbers_written_at.get(Subject(WORKER_POOL, key)),
    )


def _view_of(
    asking: Queue | WorkerPool, subject: Subject, services: Services, names: Collection[str]
) -> View | Blocked:
    database = services.desk.find(asking)
    if isinstance(database, Blocked):
        return database
    return services.desk.current(database, subject, names)


async def _child(kind: Kind, key: ObjectKey, services: Services) -> Child | None:
    return services.memory.child(kind, key, await services.cluster.get(kind, key))


def _rivals(queue: Queue, services: Services) -> tuple[Queue, ...]:
    """Return the other Queues that ask for the same row of the same database."""
    mine = services.desk.find(queue)
    return tuple(
        other
        for other in services.declared.queues.values()
        if other.queue_name == queue.queue_name
        and other.metadata.key != queue.metadata.key
        and _same_schema(mine, services.desk.find(other), services)
    )


def _same_schema(
    mine: QueueDatabase | Blocked, theirs: QueueDatabase | Blocked, services: Services
) -> bool:
    """Tell whether two Queues would write one row: by name, or two names of one schema of a server."""
    if isinstance(mine, Blocked) or isinstance(theirs, Blocked):
        return False
    if mine.metadata.key == theirs.metadata.key:
        return True
    targets = [
        view.target
        for view in map(services.desk.view, (mine.metadata.key, theirs.metadata.key))
        if view is not None and isinstance(view.target, DatabaseTarget)
    ]
    places = {(DatabaseUri.parse(target.pods_uri).place, target.schema) for target in targets}
    return len(places) == 1 and len(targets) == 2  # noqa: PLR2004


def _serving(queue: Queue, services: Services) -> tuple[str, ...]:
    namespace, name = queue.metadata.namespace, queue.metadata.name
    return tuple(
        sorted(
            pool.metadata.name
            for pool in services.declared.pools.values()
            if pool.metadata.namespace == namespace
            and any(one.name == name for one in pool.spec.queues)
        )
    )
