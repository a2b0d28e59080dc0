"""Workflows that wait for long leave the worker's memory: a hundred thousand of them cost rows alone.

One goes when all of it has waited for a minute, or sooner where many wait here, the longest first, or at
once where its queue gives places back while workflows wait. When its wait is over, any worker goes on
with it, as a new attempt.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from towpath.executor.context import Execution, Then
from towpath.executor.dispatcher import Dispatcher
from towpath.executor.engine import Engine
from towpath.store import waits

LOADED_SECONDS = 60.0
LOOK_SECONDS = 0.25
CROWDED_LOOK_SECONDS = 0.02
# A transaction of the library lasts for milliseconds; others may hide its end, and are not waited for.
LOOKS_AGAIN_SECONDS = (0.05, 0.2, 1.0, 5.0, 20.0, 60.0)
LOOKS_OF_A_STOP = 3

logger = logging.getLogger("towpath.worker")


class Sleeping:
    """Puts waiting workflows to sleep. Called on the library's loop."""

    def __init__(self, engine: Engine, dispatcher: Dispatcher) -> None:
        self._engine = engine
        self._dispatcher = dispatcher

    async def run(self) -> None:
        """Look now and then which workflows may go, until cancelled."""
        while True:
            crowded = len(self._dispatcher.active) > self._dispatcher.most_loaded
            await asyncio.sleep(CROWDED_LOOK_SECONDS if crowded else LOOK_SECONDS)
            for execution in self._may_go(time.monotonic()):
                execution.interrupt("it waits, and goes on when the wait is over", Then.ASLEEP)

    def _may_go(self, now: float) -> list[Execution]:
        waiting = sorted(
            (
                (since, execution)
                for execution in list(self._dispatcher.active.values())
                if (since := execution.sleeps_since) is not None
            ),
            key=lambda pair: pair[0],
        )
        excess = len(self._dispatcher.active) - self._dispatcher.most_loaded
        return [
            execution
            for number, (since, execution) in enumerate(waiting)
            if now - since >= LOADED_SECONDS
            or number < excess
            or self._dispatcher.releases(execution.queue)
        ]

    def fall_asleep(self, executions: Sequence[Execution]) -> None:
        """Take attempts whose code has ended where it waited."""
        self._engine.io.submit(self._fall_asleep(executions))

    async def _fall_asleep(self, executions: Sequence[Execution]) -> None:
        """Write that nobody runs them; one that was cancelled meanwhile goes back instead."""
        engine = self._engine
        attempts = [(e.seq, e.attempt) for e in executions]
        restless = [e.seq for e in executions if e.restless]
        waiting = [(e.seq, position) for e in executions for position in e.waited_at]
        queues = [e.queue for e in executions]
        asleep = waits.Asleep(set(), "")
        try:
            asleep = await engine.persist(
                lambda session: waits.put_to_sleep(
                    session, engine.statements, attempts, restless, waiting, queues
                )
            )
        except Exception:  # they go back to their line instead
            logger.exception("workflows could not be put to sleep")
        stopping = not self._dispatcher.claiming
        if asleep.seqs and stopping:
            await self._look_again(asleep, LOOKS_AGAIN_SECONDS[:LOOKS_OF_A_STOP])
        self._dispatcher.slept(attempts, asleep.seqs)
        if asleep.seqs and not stopping:
            await self._look_again(asleep, LOOKS_AGAIN_SECONDS)

    async def _look_again(self, asleep: waits.Asleep, after: Sequence[float]) -> None:
        """Look until whoever wrote at the moment of falling asleep, and told nobody, has committed."""
        engine = self._engine
        for seconds in after:
            await asyncio.sleep(seconds)
            if await engine.persist(lambda s: waits.look_again(s, engine.statements, asleep)):
                return
