"""Sessions that are lent out again and again: on the library's loop, and in callers' threads.

Not a library's pool: psycopg_pool hides why no connection can be had behind its timeout, and after an
outage of three seconds still waited out its own back-off after sixty (docs/decisions/0007).

A server that only reads is as good as none: a standby that the primary's name still leads to, or one
whose disk is full. Its connection is closed, since the next one may lead elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from towpath.store.budget import Budget
from towpath.store.connect import Endpoint, open_async, open_blocking
from towpath.store.session import AsyncSession, BlockingSession, Session, run_blocking

T = TypeVar("T")
S = TypeVar("S", AsyncSession, BlockingSession)
Verb = Callable[[Session], Coroutine[Any, Any, T]]

MAX_IDLE_SECONDS = 60.0


class Idle(Generic[S]):
    """Sessions that nobody uses, newest first; those that the server closed are dropped."""

    def __init__(self, budget: Budget) -> None:
        self._kept: deque[tuple[float, S]] = deque()
        self._drained = False
        self._budget = budget
        budget.closes_idle(self.close_one)

    def take(self) -> S | None:
        """Return an open session, None where there is none."""
        while self._kept:
            with contextlib.suppress(IndexError):  # another thread was faster
                _, session = self._kept.pop()
                if _is_fresh(session):
                    return session
                session.connection.pgconn.finish()  # nobody is there to take leave of
                self._budget.give()
        return None

    def close_one(self) -> bool:
        """Close the session that is idle for longest, from any thread; tell whether there was one."""
        try:
            _, session = self._kept.popleft()
        except IndexError:
            return False
        session.connection.pgconn.finish()
        self._budget.give()
        return True

    def keep(self, session: S) -> S | None:
        """Take a session back; return one to close instead: it is broken, or idle for too long."""
        if (
            self._drained
            or session.connection.closed
            or session.connection.pgconn.transaction_status != TransactionStatus.IDLE
        ):
            return session
        now = time.monotonic()
        self._kept.append((now, session))
        self._budget.make_room()  # after the append: who begins to wait now sees the session
        with contextlib.suppress(IndexError):
            if now - self._kept[0][0] > MAX_IDLE_SECONDS:
                return self._kept.popleft()[1]
        return None

    def drain(self) -> list[S]:
        """Return every session, to be closed; those that are out are closed when they come back."""
        self._drained = True
        kept = [session for _, session in self._kept]
        self._kept.clear()
        return kept


async def _connect_async(endpoint: Endpoint) -> AsyncSession:
    return AsyncSession(await open_async(endpoint), prepare=endpoint.prepare)


def _connect_blocking(endpoint: Endpoint) -> BlockingSession:
    return BlockingSession(open_blocking(endpoint), prepare=endpoint.prepare)


class AsyncConnections:
    """Runs verbs on the library's loop: no connection at rest, and alive again after an outage."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        size: int,
        connect: Callable[[Endpoint], Awaitable[AsyncSession]] = _connect_async,
        budget: Budget | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._connect = connect
        self._room = asyncio.Semaphore(size)
        self._budget = budget or Budget(size)
        self._idle: Idle[AsyncSession] = Idle(self._budget)

    async def run(self, verb: Verb[T]) -> T:
        """Run a verb over a session; at most `size` run at once, the next one waits.

        Raises:
            DatabaseUnreachableError: the server could not be reached, or refused the login.
        """
        async with self._room:
            session = self._idle.take() or await self._open()
            try:
                return await verb(session)
            except psycopg.errors.ReadOnlySqlTransaction as error:
                session.connection.pgconn.finish()
                raise psycopg.OperationalError(str(error)) from error
            finally:
                spent = self._idle.keep(session)
                if spent is not None:
                    try:
                        await spent.connection.close()
                    finally:
                        self._budget.give()

    async def _open(self) -> AsyncSession:
        await self._budget.take_async()
        try:
            return await self._connect(self._endpoint)
        except BaseException:
            self._budget.give()
            raise

    async def close(self) -> None:
        """Close every connection that is not out."""
        for session in self._idle.drain():
            await session.connection.close()

    def drop(self) -> None:
        """As `close`, from any thread and without the loop, once no verb runs."""
        for session in self._idle.drain():
            session.connection.pgconn.finish()


class BlockingConnections:
    """The same for callers' threads."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        size: int,
        connect: Callable[[Endpoint], BlockingSession] = _connect_blocking,
        budget: Budget | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._connect = connect
        self._room = threading.Semaphore(size)
        self._budget = budget or Budget(size)
        self._idle: Idle[BlockingSession] = Idle(self._budget)

    def run(self, verb: Verb[T]) -> T:
        """As `AsyncConnections.run`."""
        with self._room:
            session = self._idle.take() or self._open()
            try:
                return run_blocking(verb(session))
            except psycopg.errors.ReadOnlySqlTransaction as error:
                session.connection.pgconn.finish()
                raise psycopg.OperationalError(str(error)) from error
            finally:
                spent = self._idle.keep(session)
                if spent is not None:
                    spent.connection.close()
                    self._budget.give()

    def _open(self) -> BlockingSession:
        self._budget.take()
        try:
            return self._connect(self._endpoint)
        except BaseException:
            self._budget.give()
            raise

    def close(self) -> None:
        """Close every connection that is not out."""
        for session in self._idle.drain():
            session.connection.close()


def _is_fresh(session: AsyncSession | BlockingSession) -> bool:
    """Tell whether the server has left an idle connection open, without a round trip.

    Nothing is due on an idle connection, so a readable socket is the server's goodbye.
    """
    if session.connection.closed:
        return False
    poll = select.poll()
    poll.register(session.connection.fileno(), select.POLLIN)
    return not poll.poll(0)
