"""Hears NOTIFY on a connection of its own; many that come at once are one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Final

import psycopg
from psycopg import sql

logger = logging.getLogger(__name__)

SETTINGS: Final = ",settings"
"""How a NOTIFY ends that tells of a queue's settings; a queue's name has no comma."""


class Ear:
    """Listens on one channel while its connection lives."""

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self._heard = asyncio.Event()
        self._settings = False
        self._task: asyncio.Task[None] | None = None
        self._connection: psycopg.AsyncConnection[Any] | None = None

    @property
    def listening(self) -> bool:
        """Whether a NOTIFY would be heard, as far as is known."""
        return self._task is not None and not self._task.done()

    async def open(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Listen on a connection, which is ours from now on."""
        await self.close()
        self._connection = connection
        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
        self._task = asyncio.create_task(self._hear(connection), name=f"listen {self._channel}")

    async def wait(self) -> bool:
        """Wait until something was heard since the last call, or the connection was lost.

        Returns:
            Whether a queue's settings may have changed.
        """
        await self._heard.wait()
        self._heard.clear()
        settings, self._settings = self._settings, False
        return settings

    async def close(self) -> None:
        """Stop listening."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _hear(self, connection: psycopg.AsyncConnection[Any]) -> None:
        try:
            async for notify in connection.notifies():
                self._settings |= notify.payload.endswith(SETTINGS)
                self._heard.set()
        except psycopg.Error:
            logger.warning("listening ended", extra={"channel": self._channel})
        finally:
            await connection.close()
            # What was sent meanwhile is lost, so whoever waits must look.
            self._settings = True
            self._heard.set()
