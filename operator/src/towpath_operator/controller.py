"""The running operator, wherever it runs: takes in events, reconciles, follows the databases.

`__main__` feeds it from a real cluster, `towpath dev` from manifests; it knows neither.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from towpath_operator.declarations import Change, Subject, subject_of
from towpath_operator.metrics_state import StateCollector
from towpath_operator.model.database import QueueDatabase
from towpath_operator.ports.cluster import (
    QUEUE,
    QUEUE_DATABASE,
    WORKER_POOL,
    ClusterError,
    Kind,
    Manifest,
    ObjectKey,
)
from towpath_operator.reconcile import reconcile
from towpath_operator.recovery import Recovery
from towpath_operator.sampling import DatabaseLoop
from towpath_operator.services import Services
from towpath_operator.work_queue import IN_FLIGHT, RESYNC_SECONDS, Again, WorkQueue

logger = logging.getLogger(__name__)

RETRY_LIST_SECONDS: Final = 2.0


class Controller:
    """Joins the work queue, the declared objects and one loop a database."""

    def __init__(
        self,
        services: Services,
        *,
        resync: float = RESYNC_SECONDS,
        in_flight: int = IN_FLIGHT,
    ) -> None:
        self._services = services
        self._resync = resync
        self._queue: WorkQueue[Subject] = WorkQueue(self._turn, resync=resync, in_flight=in_flight)
        self._recovery = Recovery(services)
        self._ending: set[asyncio.Task[None]] = set()
        self._loops: dict[ObjectKey, tuple[DatabaseLoop, asyncio.Task[None]]] = {}
        services.desk.expired = self._poke_loop
        self.ready = asyncio.Event()
        """Set once everything declared was listed."""

    @property
    def state(self) -> StateCollector:
        """What is known now, as metrics."""
        return StateCollector(self._services, self._queue)

    @property
    def beat(self) -> float:
        """When the work queue's loop last turned, in the event loop's time."""
        return self._queue.beat

    @property
    def idle(self) -> bool:
        """Whether nothing is being reconciled or due now."""
        return self._queue.idle

    def noticed(self, kind: Kind, manifest: Manifest) -> None:
        """Take in an object as it is now."""
        change = self._services.declared.note(kind, manifest)
        self._spread(subject_of(kind, manifest), change)

    def removed(self, kind: Kind, manifest: Manifest) -> None:
        """Take in that an object is gone."""
        subject = subject_of(kind, manifest)
        if self._services.declared.remove(subject):
            self._spread(subject, Change.OBJECT)

    def child_changed(self, pool: ObjectKey) -> None:
        """Take in that a child of a pool has changed."""
        self._queue.wake(Subject(WORKER_POOL, pool))

    def pod_noticed(self, pool: ObjectKey, pod: Manifest) -> None:
        """Take in a pool's Pod as it is now, or as it was when it was deleted."""
        self._recovery.noticed(pool, pod)

    async def run(self) -> None:
        """List everything, then reconcile until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._relist_for_ever(), name="relist")
            await self.ready.wait()
            tasks.create_task(self._queue.run(), name="work queue")
            tasks.create_task(self._recovery.run(), name="recovery")
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                for _, task in self._loops.values():
                    task.cancel()

    async def _relist_for_ever(self) -> None:
        """List at the start and at each resync: an event that was lost is lost for a minute."""
        while True:
            pause = RETRY_LIST_SECONDS
            try:
                await self.relist()
                pause = self._resync
            except ClusterError as error:
                logger.warning("cannot list", extra={"error": error.message})
                pause = max(pause, error.retry_after)
            await asyncio.sleep(pause)

    async def relist(self) -> None:
        """List everything declared, and act on what no event has told."""
        changes = await self._services.declared.refresh(self._services.cluster)
        for subject, change in changes.items():
            self._spread(subject, change)
        self.ready.set()

    async def _turn(self, subject: Subject) -> Again:
        return await reconcile(subject, self._services)

    def _spread(self, subject: Subject, change: Change) -> None:
        """Wake the object itself and those who depend on what has changed."""
        if change is Change.NOTHING:
            return
        if change is Change.OBJECT:
            self._queue.wake(subject)
        if subject.kind == QUEUE_DATABASE:
            self._follow(subject.key)
            self._wake_users(subject.key)
        elif subject.kind == WORKER_POOL:
            # The Queue of the same name may own the pool; others count who serves them.
            self._wake_known(Subject(QUEUE, subject.key))
            self._poke(subject)
        else:
            # Also by a verdict: a pool does not serve a Queue that has lost its name to another.
            self._wake_pools_of(subject.key)
            if change is Change.OBJECT:
                self._wake_rivals(subject)
                self._poke(subject)

    def _wake_known(self, subject: Subject) -> None:
        if subject in self._services.declared:
            self._queue.wake(subject)

    def _wake_users(self, database: ObjectKey) -> None:
        """Wake all that name the database, also those that could not find it until now."""
        declared = self._services.declared
        for queue in declared.queues.values():
            if queue.spec.database_ref.name == database.name:
                self._queue.wake(Subject(QUEUE, queue.metadata.key))
        for pool in declared.pools.values():
            if pool.spec.database_ref.name == database.name:
                self._queue.wake(Subject(WORKER_POOL, pool.metadata.key))

    def _wake_pools_of(self, queue: ObjectKey) -> None:
        for pool in self._services.declared.pools_serving(queue):
            self._queue.wake(Subject(WORKER_POOL, pool.metadata.key))

    def _wake_rivals(self, subject: Subject) -> None:
        """Wake who may have waited for the row of a Queue that changed or went, and its database.

        The database's reconcile frees the row of a Queue that is gone.
        """
        declared = self._services.declared
        mine = declared.queues.get(subject.key)
        everyone = declared.queues.values()
        for other in everyone if mine is None else declared.queues_named(mine.queue_name):
            if other.metadata.key != subject.key:
                self._queue.wake(Subject(QUEUE, other.metadata.key))
        if mine is None:
            for key in declared.databases:
                self._queue.wake(Subject(QUEUE_DATABASE, key))

    def _poke(self, subject: Subject) -> None:
        """Have the database's loop look at what it is to sample now."""
        declared = self._services.declared
        changed = declared.queues.get(subject.key) or declared.pools.get(subject.key)
        found = None if changed is None else self._services.desk.find(changed)
        if isinstance(found, QueueDatabase):
            self._poke_loop(found.metadata.key)

    def _poke_loop(self, key: ObjectKey) -> None:
        if key in self._loops:
            self._loops[key][0].poke()

    def _follow(self, key: ObjectKey) -> None:
        """Run a loop for a declared database, and none for one that is gone."""
        if key in self._services.declared.databases:
            if key not in self._loops:
                loop = DatabaseLoop(key, self._services, self._wake_after)
                task = asyncio.create_task(loop.run(), name=f"database {key}")
                self._loops[key] = (loop, task)
            self._loops[key][0].poke()
        elif key in self._loops:
            _, task = self._loops.pop(key)
            task.cancel()
            ending = asyncio.create_task(self._services.desk.forget(key))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    def _wake_after(self, subject: Subject, after: float) -> None:
        self._queue.wake(subject, after=after)
