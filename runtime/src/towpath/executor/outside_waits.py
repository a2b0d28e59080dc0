"""Waits of code outside of workflows: of a web process for a result, an event, a stream.

One that lasts is written too, so that whoever ends it knows that somebody wants to be told. The row is
the process's word for a while, and goes by itself when the process is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator

from towpath.domain.ids import Seq
from towpath.executor.engine import Engine
from towpath.store.waits import CALLED_FOR_SECONDS, Look, Wait, WaitKind

# What comes as soon is seen by looking.
UNWRITTEN_SECONDS = 0.02


async def wait_outside(
    engine: Engine, kind: WaitKind, target: Seq, topic: str, timeout_seconds: float | None
) -> Look | None:
    """Return how a wait has ended, on the library's loop; None where it did not in time."""
    async with calling(engine, kind, target, topic) as wait:
        try:
            async with asyncio.timeout(timeout_seconds):
                return await engine.hub.wait(wait, None)
        except TimeoutError:  # what is there at the end of the time counts, also of no time at all
            look = await engine.hub.look(wait)
            return None if look.state is None else look


@contextlib.asynccontextmanager
async def calling(engine: Engine, kind: WaitKind, target: Seq, topic: str) -> AsyncIterator[Wait]:
    """Have whoever ends the wait tell this process, as long as the block lasts."""
    wait = Wait(
        seq=Seq(0), attempt=0, position=secrets.token_hex(8), verb="", kind=kind, target=target,
        topic=topic,
    )  # fmt: skip
    caller = asyncio.create_task(_be_called(engine, wait))
    try:
        yield wait
    finally:
        caller.cancel()


async def _be_called(engine: Engine, wait: Wait) -> None:
    await asyncio.sleep(UNWRITTEN_SECONDS)
    try:
        while True:
            await asyncio.wrap_future(engine.caller.add(wait))
            engine.hub.look_at(wait)
            await asyncio.sleep(CALLED_FOR_SECONDS / 2)
    finally:
        engine.dropper.add(wait)
