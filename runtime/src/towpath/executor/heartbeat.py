"""The worker's second connection: the lease renewed, queues looked at, NOTIFY heard, the dead recovered."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from towpath.store.session import AsyncSession

if TYPE_CHECKING:
    from towpath.executor.worker import Worker

SHORTEST_POLL_SECONDS = 0.05
LONGEST_RENEWAL = timedelta(seconds=3)
JITTER = 0.1

_random = random.SystemRandom()  # of our own: an application may have seeded the global one

logger = logging.getLogger("towpath.worker")


class Heartbeat:
    """One statement a poll: it renews the lease and looks at every queue.

    Invariant: this worker ends another's lease only after it renewed its own without a gap for one
    full lease, so that the return of Postgres after an outage is not a mass recovery.
    """

    def __init__(
        self, worker: Worker, connection: psycopg.AsyncConnection[Any], session: AsyncSession
    ) -> None:
        self._worker = worker
        self._connection = connection
        self._session = session
        self._lease = worker.settings.lease
        self._unbroken_since: float | None = None
        self._renewed_at = 0.0

    async def run(self) -> None:
        """Beat until cancelled, or until the connection breaks."""
        if self._worker.settings.listen:
            await self._connection.execute(
                sql.SQL("LISTEN {}").format(sql.Identifier(self._worker.statements_channel))
            )
        while True:
            await self._beat()
            await self._rest(self._interval())

    def _interval(self) -> float:
        renewal = min(LONGEST_RENEWAL, self._lease / 4).total_seconds()
        least = max(self._worker.shortest_poll, SHORTEST_POLL_SECONDS)
        jittered = least * _random.uniform(1, 1 + JITTER)
        return min(jittered, renewal)

    async def _beat(self) -> None:
        now = asyncio.get_running_loop().time()
        sight = await self._worker.look(self._session)
        if not sight.alive:
            self._unbroken_since = None
            if self._worker.worker_id is not None:
                self._worker.lost_lease()
            await self._worker.register(self._session)
            return
        if self._unbroken_since is None or now - self._renewed_at > self._lease.total_seconds():
            self._unbroken_since = now
        self._renewed_at = now
        await self._worker.saw(sight, self._session)
        if sight.dead and now - self._unbroken_since >= self._lease.total_seconds():
            await self._worker.end_dead_leases(self._session)

    async def _rest(self, seconds: float) -> None:
        """Let the interval pass; with LISTEN, hear who calls meanwhile, and look at once at news."""
        if not self._worker.settings.listen:
            await asyncio.sleep(seconds)
            return
        ends = asyncio.get_running_loop().time() + seconds
        while (left := ends - asyncio.get_running_loop().time()) > 0:
            news = False
            # one batch at a time: whatever came together is taken before the next poll
            async for notification in self._connection.notifies(timeout=left, stop_after=1):
                news |= self._worker.told(notification.payload)
            if news:
                return
