"""The connection that hears the NOTIFYs of what a process waits for: open only while it waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import psycopg
from psycopg import sql

from towpath.domain.errors import DatabaseUnreachableError
from towpath.domain.ids import Seq
from towpath.store.connect import Endpoint, open_async
from towpath.store.waits import WaitKind

KEPT_SECONDS = 10.0
RETRY_SECONDS = 0.5

_KINDS = frozenset(kind.value for kind in WaitKind)


class WaitListener:
    """Listens while somebody is interested, and a little longer. Called on the library's loop.

    Args:
        told: Called with kind, seq and topic of each NOTIFY.
        look_again: Called when it has begun to hear, since calls of before were not heard.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        channel: str,
        *,
        told: Callable[[str, Seq, str], None],
        look_again: Callable[[], None],
    ) -> None:
        self._endpoint = endpoint
        self._channel = channel
        self._told = told
        self._look_again = look_again
        self._task: asyncio.Task[None] | None = None
        self._leaving: asyncio.TimerHandle | None = None

    def interested(self, wanted: bool) -> None:  # noqa: FBT001 - a fact, not a switch
        """Begin to listen, or end it after a while without interest."""
        if self._endpoint.pooled:
            return
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        if not wanted:
            self._leaving = asyncio.get_running_loop().call_later(KEPT_SECONDS, self.close)
        elif self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._listen())

    def close(self) -> None:
        """Hear nothing more."""
        if self._task is not None:
            self._task.cancel()
        self._task = None

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(psycopg.OperationalError, DatabaseUnreachableError):
                await self._hear()
            await asyncio.sleep(RETRY_SECONDS)

    async def _hear(self) -> None:
        async with await open_async(self._endpoint) as connection:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
            self._look_again()
            async for notification in connection.notifies():
                self._hear_one(notification.payload)

    def _hear_one(self, payload: str) -> None:
        """Take a NOTIFY; anybody may send one, and a newer library others than these."""
        kind, _, rest = payload.partition(",")
        seq, _, topic = rest.partition(",")
        if kind == "clock":
            self._look_again()
        elif kind in _KINDS and seq.isdecimal():
            self._told(kind, Seq(int(seq)), topic)
