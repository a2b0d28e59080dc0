"""Where queues stand, as values that people and programs read."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from datetime import datetime

from towpath.domain.errors import QueueNotFoundError
from towpath.insights.demand import COUNTED_TO
from towpath.store import queues
from towpath.store.session import Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInfo:
    """A queue at one moment.

    Attributes:
        concurrency: Places in all workers together; None is no limit.
        worker_concurrency: Places in one worker; None is no limit.
        running: Workflows that hold a place.
        waiting: ENQUEUED workflows, counted to 10,000.
        waiting_capped: Whether there are more than were counted.
        oldest_waiting: When the oldest at the head of the line was enqueued.
        workers: Live workers that serve it and are not draining.
        owner: The manifest that declares it, as namespace/name; None where code does.
    """

    name: str
    concurrency: int | None
    worker_concurrency: int | None
    running: int
    waiting: int
    waiting_capped: bool
    oldest_waiting: datetime | None
    workers: int
    owner: str | None


async def list_queues(session: Session, statements: Statements) -> list[QueueInfo]:
    """Return every queue, by name."""
    return [_info(row) for row in await queues.list_queues(session, statements)]


async def get_queue(session: Session, statements: Statements, name: str) -> QueueInfo:
    """Return where a queue stands.

    Raises:
        QueueNotFoundError: there is none of that name; with the nearest names.
    """
    rows = await queues.list_queues(session, statements, queue=name)
    if not rows:
        names = [row.name for row in await queues.list_queues(session, statements)]
        raise QueueNotFoundError(
            queue_name=name, nearest=difflib.get_close_matches(name, names, n=3)
        )
    return _info(rows[0])


def _info(row: queues.QueueRow) -> QueueInfo:
    return QueueInfo(
        name=row.name,
        concurrency=row.settings.concurrency,
        worker_concurrency=row.settings.worker_concurrency,
        running=row.running,
        waiting=min(row.waiting, COUNTED_TO),
        waiting_capped=row.waiting > COUNTED_TO,
        oldest_waiting=row.oldest_waiting,
        workers=row.workers,
        owner=row.owner,
    )
