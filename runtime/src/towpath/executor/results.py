"""Waiting for the ends of workflows: one statement asks for all that a process waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from towpath.domain.ids import Seq
from towpath.store.workflows import EndedWorkflow

Ask = Callable[[Sequence[Seq]], Awaitable[Sequence[EndedWorkflow]]]
"""Returns which of the workflows have ended; survives outages."""

FIRST_PAUSE_SECONDS = 0.002
LONGEST_PAUSE_SECONDS = 0.25
GROWTH = 1.4


class ResultWatcher:
    """Hands the end of a workflow to whoever waits for it. Called on the library's loop.

    The worker of this process tells it what it has ended; the ends written by others are asked for,
    soon at first, then every quarter of a second.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._waiting: dict[Seq, set[asyncio.Future[EndedWorkflow]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._look = asyncio.Event()
        self._pause = FIRST_PAUSE_SECONDS

    async def wait(self, seq: Seq) -> EndedWorkflow:
        """Return how the workflow ended, once it has."""
        future: asyncio.Future[EndedWorkflow] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(seq, set()).add(future)
        self._pause = FIRST_PAUSE_SECONDS
        self._look.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._watch())
        try:
            return await future
        finally:
            waiting = self._waiting.get(seq)
            if waiting is not None:
                waiting.discard(future)
                if not waiting:
                    del self._waiting[seq]

    def is_awaited(self, seq: Seq) -> bool:
        """Tell whether somebody waits for the workflow."""
        return seq in self._waiting

    def tell(self, ended: EndedWorkflow) -> None:
        """Pass on an end that this process has committed itself."""
        for future in self._waiting.pop(ended.seq, ()):
            if not future.done():
                future.set_result(ended)

    def _fail(self, error: Exception) -> None:
        for future in set[asyncio.Future[EndedWorkflow]]().union(*self._waiting.values()):
            if not future.done():
                future.set_exception(error)
        self._waiting.clear()

    async def _watch(self) -> None:
        while self._waiting:
            self._look.clear()
            try:
                found = await self._ask(list(self._waiting))
            except Exception as error:  # noqa: BLE001 - it is told to everyone who waits
                self._fail(error)
                return
            for ended in found:
                self.tell(ended)
            if not self._waiting:
                return
            try:
                await asyncio.wait_for(self._look.wait(), self._pause)
            except TimeoutError:
                self._pause = min(self._pause * GROWTH, LONGEST_PAUSE_SECONDS)
