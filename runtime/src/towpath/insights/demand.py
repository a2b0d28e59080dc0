"""How much work queues have: what the autoscaler, statuses and views count by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from towpath.insights.words import COUNTED_TO
from towpath.store.session import Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDemand:
    """The work of one queue at one moment.

    Attributes:
        waiting: ENQUEUED workflows, delayed ones that are due, and sleeping ones whose wait is over,
            counted to 10,000.
        waiting_capped: Whether there are more than were counted.
        awake: Those of them whose wait is over: they go on though the queue is paused.
        running: Workflows that workers have in memory.
        kept: Places that sleeping workflows keep whose wait is not over.
        workers: Live workers that serve the queue and are not draining.
        oldest_wait: How long the oldest at the head of the line has waited; None where none waits.
        paused: Whether nothing starts now.
    """

    waiting: int
    waiting_capped: bool
    awake: int
    running: int
    kept: int
    workers: int
    oldest_wait: timedelta | None
    paused: bool


async def queue_demand(
    session: Session, statements: Statements, queue_names: Sequence[str]
) -> Mapping[str, QueueDemand]:
    """Count the work of many queues in one statement; a queue without a row is left out."""
    parameters = {"queues": list(queue_names)}
    (rows,) = await session.run((statements["queue_demand"], parameters))
    return {
        name: QueueDemand(
            waiting=min(waiting, COUNTED_TO),
            waiting_capped=waiting > COUNTED_TO,
            awake=min(awake, COUNTED_TO),
            running=running,
            kept=kept,
            workers=workers,
            oldest_wait=None if oldest is None else timedelta(seconds=max(0.0, oldest)),
            paused=paused,
        )
        for name, waiting, awake, running, kept, workers, oldest, paused in rows
    }
