"""Queues' rows as code declares them, and as people look at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from towpath.domain.ids import QueueName
from towpath.domain.queue import QueueSettings
from towpath.store.session import Call, Row, Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True)
class StoredSettings:
    """The settings in force, and the manifest that owns them, if one does."""

    name: QueueName
    revision: int
    settings: QueueSettings
    owner: str | None


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue in numbers; `waiting` is counted to 10,001."""

    name: QueueName
    settings: QueueSettings
    owner: str | None
    waiting: int
    running: int
    workers: int
    oldest_waiting: datetime | None


async def declare(
    session: Session, statements: Statements, queue: QueueName, settings: QueueSettings | None
) -> StoredSettings:
    """Make the row where it is missing and write code's settings, unless a manifest owns the row.

    `settings=None` declares no option: it makes the row and changes nothing. What is in force
    afterwards is returned.
    """
    named = {"queue": queue}
    calls: list[Call] = [(statements["ensure_queue"], named), (statements["ensure_gate"], named)]
    if settings is not None:
        written = {
            **named,
            "concurrency": settings.concurrency,
            "worker_concurrency": settings.worker_concurrency,
        }
        calls += [(statements["lock_gate"], named), (statements["declare_queue"], written)]
    *_, rows = await session.run(*calls, (statements["queue_settings"], {"queues": [queue]}))
    return _stored(rows[0])


async def settings_of(
    session: Session, statements: Statements, queues: Sequence[QueueName]
) -> list[StoredSettings]:
    """Return the settings in force of those of the queues that have a row."""
    (rows,) = await session.run((statements["queue_settings"], {"queues": list(queues)}))
    return [_stored(row) for row in rows]


def _stored(row: Row) -> StoredSettings:
    name, revision, places, here, namespace, owner = row
    return StoredSettings(
        name,
        revision,
        QueueSettings(concurrency=places, worker_concurrency=here),
        f"{namespace}/{owner}" if owner else None,
    )


async def list_queues(
    session: Session, statements: Statements, *, queue: str | None = None
) -> list[QueueRow]:
    """Return every queue in numbers, or the one that is named."""
    (rows,) = await session.run((statements["list_queues"], {"queue": queue}))
    return [
        QueueRow(
            name,
            QueueSettings(concurrency=places, worker_concurrency=here),
            f"{namespace}/{owner}" if owner else None,
            waiting,
            running,
            workers,
            oldest,
        )
        for name, places, here, namespace, owner, waiting, running, workers, oldest in rows
    ]


async def serving(
    session: Session, statements: Statements, *, queue: str, name: str
) -> tuple[int, int]:
    """Count the live workers of a queue, and those of them that know a workflow's name."""
    (rows,) = await session.run((statements["serving_workers"], {"queue": queue, "name": name}))
    return rows[0][0], rows[0][1]
