"""Reads the facts that a plan is made from. It decides nothing; what it cannot read it says so."""

from __future__ import annotations

from collections.abc import Collection

from towpath.store.budget import DEFAULT_CONNECTIONS
from towpath_operator.declarations import Subject
from towpath_operator.desk import NotLookedYet, View
from towpath_operator.model.conditions import Reason
from towpath_operator.model.database import QueueDatabase
from towpath_operator.model.queue import Queue
from towpath_operator.model.uri_parts import DatabaseUri
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.observed import (
    Blocked,
    Child,
    DatabaseTarget,
    QueueDatabaseObserved,
    QueueDeletion,
    QueueObserved,
    Room,
    WorkerPoolObserved,
)
from towpath_operator.ports.cluster import (
    CONTROLLER_REVISION,
    DEPLOYMENT,
    POD,
    POD_DISRUPTION_BUDGET,
    QUEUE,
    QUEUE_DATABASE,
    SECRET,
    WORKER_POOL,
    Kind,
    ObjectKey,
)
from towpath_operator.render.names import POOL_LABEL, REVISION_ANNOTATION, annotation
from towpath_operator.services import Services


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
    subject = Subject(QUEUE, key)
    view = _view_of(queue, subject, services, [queue.queue_name])
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
        numbers_written_at=services.memory.numbers_written_at.get(subject),
        held_back=services.memory.held_back.get(subject),
        deletion=_deletion(queue, subject, services, reachable=usable),
        last_target=services.desk.last_target(queue) if queue.metadata.being_deleted else None,
    )


def _deletion(
    queue: Queue, subject: Subject, services: Services, *, reachable: bool
) -> QueueDeletion:
    if not queue.metadata.being_deleted:
        return QueueDeletion()
    uid, now = queue.metadata.uid, services.clock()
    return services.memory.deletion(subject, uid, reachable=reachable, now=now)


async def observe_worker_pool(pool: WorkerPool, services: Services) -> WorkerPoolObserved:
    """Look at a pool's queues and their work, and at its children."""
    key = pool.metadata.key
    queues = services.desk.queue_names_of(pool)
    names = [queue.queue_name for queue in queues.values()]
    view = _view_of(pool, Subject(WORKER_POOL, key), services, names)
    secret_key = ObjectKey(key.namespace, f"{key.name}-database")
    deployment = await _child(DEPLOYMENT, key, services)
    return WorkerPoolObserved(
        operator=services.operator,
        database=view.observed if isinstance(view, View) else view,
        queues=queues,
        sample=services.memory.samples.get(key),
        deployment=deployment,
        secret=await _child(SECRET, secret_key, services),
        disruption_budget=await _child(POD_DISRUPTION_BUDGET, key, services),
        revisions=await _revisions(key, deployment, services),
        contested=services.memory.contested.get(key),
        pods=tuple(
            await services.cluster.list(POD, namespace=key.namespace, labels={POOL_LABEL: key.name})
        ),
        # Read last: nothing of this is awaited any more before the plan is made.
        room=_room(pool, services),
        numbers_written_at=services.memory.numbers_written_at.get(Subject(WORKER_POOL, key)),
    )


def _view_of(
    asking: Queue | WorkerPool, subject: Subject, services: Services, names: Collection[str]
) -> View | Blocked:
    database = services.desk.find(asking)
    if isinstance(database, Blocked):
        return database
    try:
        return services.desk.current(database, subject, names)
    except NotLookedYet:
        if not asking.metadata.being_deleted:
            raise
    # Nothing that is to go waits for ever for a look.
    key = database.metadata.key
    return Blocked(
        reason=Reason.RETRYING, message=f"QueueDatabase {key} has not been looked at yet."
    )


async def _child(kind: Kind, key: ObjectKey, services: Services) -> Child | None:
    return services.memory.child(kind, key, await services.cluster.get(kind, key))


async def _revisions(
    pool: ObjectKey, deployment: Child | None, services: Services
) -> tuple[Child, ...]:
    """Return the pool's ControllerRevisions, the Deployment's own also where a label was taken off."""
    found = await services.cluster.list(
        CONTROLLER_REVISION, namespace=pool.namespace, labels={POOL_LABEL: pool.name}
    )
    named = "" if deployment is None else annotation(deployment.live, REVISION_ANNOTATION)
    if named and named not in {one["metadata"]["name"] for one in found}:
        key = ObjectKey(pool.namespace, named)
        found = [*found, *filter(None, [await services.cluster.get(CONTROLLER_REVISION, key)])]
    return tuple(Child(live=one) for one in found)


def _room(pool: WorkerPool, services: Services) -> Room | None:
    """Return how many pods the database's connections allow, and how many the other pools have."""
    database = services.desk.find(pool)
    if isinstance(database, Blocked) or database.spec.connections is None:
        return None
    limits = database.spec.connections
    if limits.max is None:
        return None
    pools = {one.metadata.key: one for one in services.desk.pools_of(database.metadata.key)}
    others = [one for key, one in pools.items() if key != pool.metadata.key]
    return Room(
        pods=limits.max // (limits.per_pod or DEFAULT_CONNECTIONS),
        others=sum(services.memory.size_of(one) for one in others),
        pools=len(others) + 1,
    )


def _rivals(queue: Queue, services: Services) -> tuple[Queue, ...]:
    """Return the other Queues that ask for the same row of the same database."""
    mine = services.desk.find(queue)
    return tuple(
        other
        for other in services.declared.queues_named(queue.queue_name)
        if other.metadata.key != queue.metadata.key
        and not other.metadata.being_deleted
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
    pools = services.declared.pools_serving(queue.metadata.key)
    return tuple(sorted(pool.metadata.name for pool in pools))
