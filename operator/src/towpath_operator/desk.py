"""What is known of each database: where it is, the last look at it, and the samples of its pools.

Reconciles read from here, so that none of them waits for a slow database and a hundred of them cost
one statement; the database's own loop (`sampling.py`) keeps it fresh.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from towpath_operator import metrics
from towpath_operator.declarations import Declarations, Subject
from towpath_operator.model.database import QueueDatabase
from towpath_operator.model.queue import DELETE_ROWS, Queue
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.observed import (
    Blocked,
    DatabaseObserved,
    DatabaseTarget,
    OperatorFacts,
    QueueCounts,
    QueueRow,
)
from towpath_operator.plan.resolution import find_database
from towpath_operator.plan.target import make_target, secret_names, unreadable
from towpath_operator.ports.cluster import SECRET, Cluster, ClusterError, Manifest, ObjectKey
from towpath_operator.ports.database import Databases, Look

FORBIDDEN: Final = 403


class NotLookedYet(Exception):  # noqa: N818 - no error: the answer comes by a wake
    """The database has not been looked at since what is asked for was declared."""


@dataclass(slots=True)
class View:
    """One database as it was last seen.

    Attributes:
        database: The object that it was seen for.
        target: What its Secrets give, or what stands in the way.
        look: What the server said; None where it was not asked.
        looked_at: When the server was asked about everything.
        counted_at: When the counts were taken.
        names: The queue names that were asked about.
        void: Whether something of ours has changed what was seen.
    """

    database: QueueDatabase
    target: DatabaseTarget | Blocked
    look: Look | None
    looked_at: datetime
    counted_at: datetime | None = None
    names: frozenset[str] = frozenset()
    void: bool = False

    @property
    def observed(self) -> DatabaseObserved | Blocked:
        """The view in the words of a plan."""
        if isinstance(self.target, Blocked):
            return self.target
        assert self.look is not None  # noqa: S101 - a target is always looked at
        return DatabaseObserved(target=self.target, state=self.look.state)

    @property
    def usable(self) -> bool:
        """Whether statements can be run on the schema."""
        return self.look is not None and self.look.state.migrated

    @property
    def lacks_login(self) -> bool:
        """Whether the workers' login is still to be made, or is refused."""
        if self.look is None:
            return False
        rights = self.look.state.schema.rights
        made = rights is None or rights.exists
        return not made or self.look.state.workers_refused is not None

    @property
    def rows(self) -> Mapping[str, QueueRow]:
        """The rows by queue name."""
        return {} if self.look is None else self.look.rows

    @property
    def counts(self) -> Mapping[str, QueueCounts]:
        """The counts by queue name."""
        return {} if self.look is None else self.look.counts


class DatabaseDesk:
    """Keeps a view of each database, by the QueueDatabase's key."""

    def __init__(
        self,
        cluster: Cluster,
        databases: Databases,
        declared: Declarations,
        operator: OperatorFacts,
        clock: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._databases = databases
        self._declared = declared
        self._operator = operator
        self._clock = clock
        self._views: dict[ObjectKey, View] = {}
        self._waiting: dict[ObjectKey, set[Subject]] = {}
        self._last_usable: dict[ObjectKey, DatabaseTarget] = {}
        self.expired: Callable[[ObjectKey], None] = lambda _: None
        """Called when a database is to be looked at, with the QueueDatabase's key."""

    def find(self, subject: Queue | WorkerPool) -> QueueDatabase | Blocked:
        """Find the QueueDatabase of an object among the declared ones."""
        return find_database(subject, self._declared.databases, self._operator.namespace)

    def queues_of(self, key: ObjectKey) -> list[Queue]:
        """Return the declared Queues that live in a database."""
        return [q for q in self._declared.queues.values() if self._lives_in(q, key)]

    def pools_of(self, key: ObjectKey) -> list[WorkerPool]:
        """Return the declared WorkerPools whose queues live in a database."""
        return [p for p in self._declared.pools.values() if self._lives_in(p, key)]

    def users_of(self, key: ObjectKey) -> list[Queue | WorkerPool]:
        """Return every declared object that lives in a database."""
        return [*self.queues_of(key), *self.pools_of(key)]

    def queue_names_of(self, pool: WorkerPool) -> dict[str, Queue]:
        """Map the object names in a pool's list to the Queues that exist and are to stay."""
        namespace = pool.metadata.namespace
        named = {one.name: ObjectKey(namespace, one.name) for one in pool.spec.queues}
        found = {name: self._declared.queues.get(key) for name, key in named.items()}
        return {name: queue for name, queue in found.items() if queue is not None and _stays(queue)}

    def view(self, key: ObjectKey) -> View | None:
        """Return the last view, however old."""
        return self._views.get(key)

    def current(
        self, database: QueueDatabase, asking: Subject, names: Collection[str] = ()
    ) -> View:
        """Return the view of a database, which its loop keeps fresh.

        Raises:
            NotLookedYet: there is none that knows the names; the loop wakes the asking one then. A
                reconcile that waited here would keep others from their turn.
        """
        key = database.metadata.key
        view = self._views.get(key)
        known = view is not None and not view.void and _same(view.database, database)
        if view is not None and known and (not view.usable or view.names.issuperset(names)):
            return view
        self._waiting.setdefault(key, set()).add(asking)
        self.expired(key)
        raise NotLookedYet

    def last_target(self, queue: Queue) -> DatabaseTarget | None:
        """Return the database of a Queue as it was last usable, also when it is declared no more.

        In a namespace that goes, a Queue's database may go before the Queue.
        """
        found = self._last_usable.get(_kept_database(queue))
        known = queue.status.get("database") or {}
        return found if found is not None and found.schema == known.get("schema") else None

    def _drop_targets(self) -> None:
        """Forget the databases that are declared no more, but those whose Queues' rows are to go."""
        queues = self._declared.queues.values()
        wanted = {_kept_database(one) for one in queues if DELETE_ROWS in one.metadata.finalizers}
        for key in self._last_usable.keys() - self._declared.databases.keys() - wanted:
            del self._last_usable[key]

    def take_waiting(self, key: ObjectKey) -> set[Subject]:
        """Return who has asked in vain since the last call."""
        return self._waiting.pop(key, set())

    async def look(self, database: QueueDatabase) -> View:
        """Read the Secrets and ask the server about everything that is declared for it."""
        key = database.metadata.key
        names = frozenset(queue.queue_name for queue in self.queues_of(key))
        secrets = {
            name: await self._read_secret(ObjectKey(key.namespace, name))
            for name in secret_names(database)
        }
        target = make_target(database, secrets)
        now = self._clock()
        view = View(database, target, None, now, names=names)
        if isinstance(target, DatabaseTarget):
            view.look = await self._databases.look(
                target, cluster=self._operator.cluster_uid, queue_names=sorted(names)
            )
            view.counted_at = now if view.usable else None
        if view.usable and isinstance(target, DatabaseTarget):
            self._last_usable[key] = target
        self._views[key] = view
        return view

    async def _read_secret(self, key: ObjectKey) -> Manifest | Blocked | None:
        try:
            return await self._cluster.get(SECRET, key)
        except ClusterError as error:
            if error.status != FORBIDDEN:
                raise
            return unreadable(key)

    async def recount(self, view: View) -> None:
        """Count anew the work in the queues that the view knows. Raises `DatabaseError`."""
        if view.look is None or isinstance(view.target, Blocked):
            return
        counts = await self._databases.count(view.target, sorted(view.names))
        view.look = replace(view.look, counts=counts)
        view.counted_at = self._clock()

    def note_row(self, key: ObjectKey, row: QueueRow) -> None:
        """Take in what a write of ours has made of a row."""
        view = self._views.get(key)
        if view is not None and view.look is not None:
            view.look = replace(view.look, rows={**view.look.rows, row.queue_name: row})
            if row.queue_name not in view.counts:
                self.expired(key)  # a row that was not there: its work is still to be counted

    def note_release(self, key: ObjectKey, queue_name: str) -> None:
        """Take in that a row is free now."""
        view = self._views.get(key)
        row = view.rows.get(queue_name) if view is not None else None
        if row is not None:
            self.note_row(key, replace(row, owner=None))

    def expire(self, key: ObjectKey) -> None:
        """Have the database looked at again before anybody goes by what was seen."""
        self.void(key)
        self.expired(key)

    async def finish(self, target: DatabaseTarget) -> None:
        """Take in that a Queue is gone from a database; close one that only its deletion has used."""
        if target.key in self._declared.databases:
            self.expire(target.key)
        else:
            await self._databases.forget(target)

    def void(self, key: ObjectKey) -> None:
        """Let nobody go by what was seen."""
        view = self._views.get(key)
        if view is not None:
            view.void = True

    async def forget(self, key: ObjectKey) -> None:
        """Close a database that is not declared any more."""
        view = self._views.pop(key, None)
        self._waiting.pop(key, None)
        self._drop_targets()
        if view is not None and isinstance(view.target, DatabaseTarget):
            await self._databases.forget(view.target)
        metrics.forget_database(str(key))

    def _lives_in(self, subject: Queue | WorkerPool, key: ObjectKey) -> bool:
        found = self.find(subject)
        return isinstance(found, QueueDatabase) and found.metadata.key == key


def _kept_database(queue: Queue) -> ObjectKey:
    known = queue.status.get("database") or {}
    return ObjectKey(str(known.get("namespace")), str(known.get("name")))


def _stays(queue: Queue) -> bool:
    """Tell whether a Queue is to be served: one whose rows are being deleted is, to its last workflow."""
    return not queue.metadata.being_deleted or DELETE_ROWS in queue.metadata.finalizers


def _same(seen: QueueDatabase, declared: QueueDatabase) -> bool:
    return (seen.metadata.uid, seen.metadata.generation) == (
        declared.metadata.uid,
        declared.metadata.generation,
    )
