"""One loop a database: keeps its view fresh, samples the work of its pools, wakes who should know.

It looks on NOTIFY, once a second while a pool has work, else once a minute (every 5 s where NOTIFY
cannot reach it). At rest that is two statements a minute, and no reconcile waits for a database.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from towpath_operator.declarations import Subject, subject_of_declared
from towpath_operator.desk import View
from towpath_operator.explaining import Explainer
from towpath_operator.interest import Interest
from towpath_operator.model.database import QueueDatabase
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.autoscaling import idle_since, pods_for
from towpath_operator.plan.observed import (
    Blocked,
    DatabaseTarget,
    DemandSample,
    QueueCounts,
    QueueRow,
)
from towpath_operator.ports.cluster import (
    QUEUE_DATABASE,
    ClusterError,
    ObjectKey,
)
from towpath_operator.ports.database import DatabaseError
from towpath_operator.services import Services

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = timedelta(seconds=59)
BUSY: Final = 1.0
AT_REST: Final = 60.0
DEAF: Final = 5.0
OTHER_WORK: Final = 10.0
"""The work of queues without a pool moves numbers only."""
IN_TROUBLE: Final = 5.0
BETWEEN_WAKES: Final = 0.2
"""However many NOTIFYs come, the work is counted no more often than this."""

Wake = Callable[[Subject, float], None]


class DatabaseLoop:
    """Follows the database of one QueueDatabase until cancelled."""

    def __init__(self, key: ObjectKey, services: Services, wake: Wake) -> None:
        self._key = key
        self._services = services
        self._wake = wake
        self._poked = asyncio.Event()
        self._asked: frozenset[str] | None = None
        """The queues of which enqueuers are to tell us; None where that is not known."""

        self._seen: object = None
        self._rows_changed = False
        """Whether somebody has told of changed settings since the last look, or our ear was lost."""

        self._listening = False

        self._interest = Interest()
        self._explainer = Explainer(services, lambda subject: wake(subject, 0.0))

    def poke(self) -> None:
        """Look now: what is declared for this database has changed."""
        self._poked.set()

    async def run(self) -> None:
        """Look and wait, for ever."""
        while True:
            self._poked.clear()
            try:
                pause, listening = await self._turn()
            except (DatabaseError, ClusterError) as error:
                logger.warning(
                    "database not sampled", extra={"database": str(self._key), "error": str(error)}
                )
                self._services.desk.void(self._key)
                pause, listening = IN_TROUBLE, False
                if isinstance(error, ClusterError):
                    await asyncio.sleep(error.retry_after)  # whoever pokes us meanwhile
            except Exception:
                logger.exception("sampling failed", extra={"database": str(self._key)})
                pause, listening = IN_TROUBLE, False
            await self._wait(pause, listening=listening)

    async def _turn(self) -> tuple[float, bool]:
        """Look once; return how long to wait then, and whether a NOTIFY ends the wait."""
        database = self._services.declared.databases.get(self._key)
        if database is None:
            return IN_TROUBLE, False
        lost = self._rows_changed
        known = self._services.desk.view(self._key)
        before = {} if known is None else known.rows
        if known is not None and known.void:
            # Something of ours has changed it: who undoes that at once leaves what was seen before.
            self._seen = None
        view = await self._look(database)
        self._tell_of_state(view)
        self._tell_of_rows(view, before)
        for subject in self._services.desk.take_waiting(self._key):
            self._wake(subject, 0.0)
        target = view.target
        if isinstance(target, Blocked) or not view.usable:
            self._asked = None
            return IN_TROUBLE, False
        await self._explain(target, view)
        busy = self._note_work(view)
        listening = await self._services.databases.listen(target)
        asked = await self._ask(target, frozenset() if busy else self._pool_names())
        untold, self._listening = asked or lost or not self._listening, listening
        if untold and not busy:
            # Work that came just before we asked to be told was told to nobody: look once more.
            await self._services.desk.recount(view)
            busy = self._note_work(view)
        if busy:
            return BUSY, False
        quiet = all(one.quiet for one in view.counts.values())
        pause = AT_REST if quiet else OTHER_WORK
        if view.lacks_login:
            pause = IN_TROUBLE
        return (pause if listening else min(pause, DEAF)), listening

    async def _look(self, database: QueueDatabase) -> View:
        desk = self._services.desk
        view = desk.view(self._key)
        names = {queue.queue_name for queue in desk.queues_of(self._key)}
        if (
            view is None
            or view.void
            or not view.usable
            or view.lacks_login
            or view.database.metadata != database.metadata
            or not names <= view.names
            or self._rows_changed
            or self._services.clock() - view.looked_at >= LOOK_EVERY
        ):
            self._rows_changed = False
            return await desk.look(database)
        try:
            await desk.recount(view)
        except DatabaseError:
            return await desk.look(database)  # says what the trouble is
        return await desk.look(database) if _contradicts(view) else view

    async def _explain(self, target: DatabaseTarget, view: View) -> None:
        """Ask what holds queues back: words of a status, without which pods are scaled all the same."""
        queues = self._services.desk.queues_of(self._key)
        try:
            await self._explainer.look(target, queues, view.counts)
        except DatabaseError as error:
            told = {"database": str(self._key), "error": str(error)}
            logger.warning("queues not explained", extra=told)

    def _note_work(self, view: View) -> bool:
        """Take samples for the pools and wake who should know; tell whether a pool has work."""
        desk, busy = self._services.desk, False
        for pool in desk.pools_of(self._key):
            served = desk.queue_names_of(pool).values()
            sample = self._sample(pool, [queue.queue_name for queue in served], view)
            self._services.memory.samples[pool.metadata.key] = sample
            limits = {queue.queue_name: queue.settings for queue in served}
            wanted = pods_for(limits, sample.queues, pool.spec.slots)
            self._tell(
                subject_of_declared(pool), sample.queues, min(wanted, pool.spec.autoscaling.max)
            )
            busy |= sample.idle_since is None
        for queue in desk.queues_of(self._key):
            counts = view.counts.get(queue.queue_name)
            if counts is not None:
                self._tell(subject_of_declared(queue), {queue.queue_name: counts})
        self._interest.forget_all_but(
            {subject_of_declared(one) for one in desk.users_of(self._key)}
        )
        return busy

    def _sample(self, pool: WorkerPool, names: Iterable[str], view: View) -> DemandSample:
        queues = {name: view.counts.get(name, QueueCounts()) for name in names}
        before = self._services.memory.samples.get(pool.metadata.key)
        taken_at = view.counted_at or view.looked_at
        return DemandSample(
            taken_at=taken_at,
            idle_since=idle_since(before.idle_since if before else None, queues, taken_at),
            queues=queues,
        )

    def _tell(self, subject: Subject, counts: Mapping[str, QueueCounts], wanted: int = 0) -> None:
        now = asyncio.get_running_loop().time()
        after = self._interest.due(subject, counts, now=now, wanted=wanted)
        if after is not None:
            self._wake(subject, after)

    def _tell_of_state(self, view: View) -> None:
        """Wake everything of this database when it comes, goes, or is another than before."""
        seen = (view.target, view.look.state if view.look is not None else None)
        if seen == self._seen:
            return
        self._seen = seen
        self._wake(Subject(QUEUE_DATABASE, self._key), 0.0)
        for one in self._services.desk.users_of(self._key):
            self._wake(subject_of_declared(one), 0.0)

    def _tell_of_rows(self, view: View, before: Mapping[str, QueueRow]) -> None:
        """Wake the Queues whose row is another than before: a hand may have changed it.

        What it was before counts our own writes: who undoes one at once is noticed too.
        """
        for queue in self._services.desk.queues_of(self._key):
            if view.rows.get(queue.queue_name) != before.get(queue.queue_name):
                self._wake(subject_of_declared(queue), 0.0)

    def _pool_names(self) -> frozenset[str]:
        desk = self._services.desk
        return frozenset(
            queue.queue_name
            for pool in desk.pools_of(self._key)
            for queue in desk.queue_names_of(pool).values()
        )

    async def _ask(self, target: DatabaseTarget, names: frozenset[str]) -> bool:
        """Have enqueuers tell us of work in these queues alone; tell whether that is new to them."""
        if names == self._asked:
            return False
        # Where it is not known what stands there, our queues' rows go; another QueueDatabase may
        # name the same schema, and its rows are not ours.
        before = self._pool_names() if self._asked is None else self._asked
        await self._services.databases.ask_for_notify(
            target, sorted(names), no_longer=sorted(before - names)
        )
        self._asked = names
        return True

    async def _wait(self, pause: float, *, listening: bool) -> None:
        began = asyncio.get_running_loop().time()
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._poked.wait())]
        view = self._services.desk.view(self._key)
        if listening and view is not None and isinstance(view.target, DatabaseTarget):
            waits.append(asyncio.ensure_future(self._services.databases.heard(view.target)))
        try:
            await asyncio.wait(waits, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
            _, *heard = await asyncio.gather(*waits, return_exceptions=True)
            self._rows_changed |= heard == [True]
        soonest = began + BETWEEN_WAKES - asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, soonest))


def _contradicts(view: View) -> bool:
    """Tell whether the counts show a queue paused or going on that the rows do not: they are old."""
    return any(
        name in view.rows and view.rows[name].paused != counts.paused
        for name, counts in view.counts.items()
    )
