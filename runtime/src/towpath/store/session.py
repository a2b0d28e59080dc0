"""One way to run statements, over an async or a blocking psycopg connection alike.

The store's functions are coroutines over a `Session`. On the library's loop they await an
`AsyncSession`. A caller's thread runs the very same coroutine over a `BlockingSession`, whose `run`
never suspends, by `run_blocking`: no second text of any verb, and no hop between threads on the way
of an enqueue (docs/decisions/0003-one-core-two-faces.md).
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg.rows import tuple_row

T = TypeVar("T")
Row = tuple[Any, ...]
Parameters = Mapping[str, Any]
Call = tuple[bytes, Parameters]
"""A statement and its parameters."""


class Session(Protocol):
    """Runs statements; several in one call are one round trip and one transaction."""

    async def run(self, *calls: Call) -> Sequence[list[Row]]:
        """Run the calls in order and return the rows of each."""
        ...


class AsyncSession:
    """A session over an async connection in autocommit, or in the caller's own transaction."""

    def __init__(
        self, connection: psycopg.AsyncConnection[Any], *, prepare: bool | None = True
    ) -> None:
        self.connection = connection
        self._prepare = prepare

    async def run(self, *calls: Call) -> Sequence[list[Row]]:
        """Run one call plainly, several in a pipeline whose one Sync makes them a transaction."""
        if len(calls) == 1:
            cursor = await self._execute(calls[0])
            return [await cursor.fetchall() if _has_rows(cursor) else []]
        async with self.connection.pipeline():
            cursors = [await self._execute(call) for call in calls]
        return [await c.fetchall() if _has_rows(c) else [] for c in cursors]

    async def _execute(self, call: Call) -> psycopg.AsyncCursor[Row]:
        # a caller's own connection may make other cursors, and rows that are no tuples
        cursor = psycopg.AsyncCursor(self.connection, row_factory=tuple_row)
        return await cursor.execute(*call, prepare=self._prepare)


class BlockingSession:
    """The same over a blocking connection; `run` never suspends."""

    def __init__(self, connection: psycopg.Connection[Any], *, prepare: bool | None = True) -> None:
        self.connection = connection
        self._prepare = prepare

    async def run(self, *calls: Call) -> Sequence[list[Row]]:
        """As `AsyncSession.run`."""
        if len(calls) == 1:
            cursor = self._execute(calls[0])
            return [cursor.fetchall() if _has_rows(cursor) else []]
        with self.connection.pipeline():
            cursors = [self._execute(call) for call in calls]
        return [c.fetchall() if _has_rows(c) else [] for c in cursors]

    def _execute(self, call: Call) -> psycopg.Cursor[Row]:
        cursor = psycopg.Cursor(self.connection, row_factory=tuple_row)
        return cursor.execute(*call, prepare=self._prepare)


def _has_rows(cursor: psycopg.AsyncCursor[Any] | psycopg.Cursor[Any]) -> bool:
    """Tell whether a statement returned columns; `description` would describe each of them first.

    There is no result yet only in a pipeline of the caller's own: fetching brings it.
    """
    return cursor.pgresult is None or cursor.pgresult.nfields > 0


def run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, in this thread, and return what it returns."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError(
        "a store function suspended over a blocking session; it must only await run()"
    )
