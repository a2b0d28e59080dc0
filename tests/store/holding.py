"""Transactions that are held open between the statements of the store's own verbs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg

from towpath.store.connect import Endpoint, open_async
from towpath.store.session import AsyncSession, Call, Row, Session
from towpath.store.statements import Statements

T = TypeVar("T")

SCHEMA = Statements("towpath")
COMMIT = "commit"
LOCKED = b"""
SELECT count(*) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[AsyncSession]:
    """Lend a session of its own."""
    async with await open_async(Endpoint.at(url)) as connection:
        yield AsyncSession(connection)


class Held:
    """A session that runs a verb's calls one by one, and stops before one of them, or before the commit."""

    def __init__(
        self, connection: psycopg.AsyncConnection[Any], before: str, *, undo: bool
    ) -> None:
        self.stopped, self.go_on = asyncio.Event(), asyncio.Event()
        self._connection, self._undo = connection, undo
        self._before = None if before == COMMIT else SCHEMA[before]

    async def run(self, *calls: Call) -> Sequence[list[Row]]:
        """As any session's, but held."""
        answers = []
        async with self._connection.transaction():
            for text, parameters in calls:
                if text == self._before:
                    await self._stop()
                cursor = await self._connection.execute(text, parameters, prepare=True)
                answers.append(await cursor.fetchall() if cursor.description else [])
            if self._before is None:
                await self._stop()
            if self._undo:
                raise psycopg.Rollback
        return answers

    async def _stop(self) -> None:
        self.stopped.set()
        await self.go_on.wait()


@asynccontextmanager
async def held(
    url: str,
    verb: Callable[[Session], Awaitable[T]],
    *,
    before: str = COMMIT,
    undo: bool = False,
) -> AsyncIterator[asyncio.Future[T]]:
    """Run a verb as far as a statement, keep its transaction open for the body, then let it end."""
    async with opened(url) as own:
        session = Held(own.connection, before, undo=undo)
        ending = asyncio.ensure_future(verb(session))
        stopping = asyncio.ensure_future(session.stopped.wait())
        await asyncio.wait([ending, stopping], return_when=asyncio.FIRST_COMPLETED)
        assert session.stopped.is_set(), ending.result()
        try:
            yield ending
        finally:
            session.go_on.set()
        await ending


async def until_locked(url: str, least: int = 1) -> None:
    """Wait until so many sessions wait for a lock."""
    async with opened(url) as session, asyncio.timeout(20):
        while (await session.run((LOCKED, {})))[0][0][0] < least:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.005)
