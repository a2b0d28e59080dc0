"""Queues' rows as code declares them, and as people look at and stop them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from towpath.domain.errors import QueueNotFoundError
from towpath.domain.ids import QueueName, storable_text
from towpath.domain.queue import QueueSettings
from towpath.store import settings as stored
from towpath.store.session import Call, Row, Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True)
class StoredSettings:
    """The settings in force, and the manifest that owns them, if one does.

    `before` are the settings that a declaration found.
    """

    name: QueueName
    revision: int
    settings: QueueSettings
    paused: bool
    closed: bool
    owner: str | None
    before: QueueSettings | None = None


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue in numbers; `waiting` and `delayed` are counted to 10,001.

    `running` are in workers' memory, `sleeping` wait and are in nobody's: counted to 10,001 or to the
    queue's concurrency.
    """

    name: QueueName
    settings: QueueSettings
    paused: bool
    closed: bool
    owner: str | None
    waiting: int
    delayed: int
    running: int
    sleeping: int
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
        nobody = dict.fromkeys(
            ("owner_cluster", "owner_namespace", "owner_name", "owner_uid", "replaces")
        )
        written = {**named, **nobody, "settings": stored.to_json(settings), "paused": None}
        calls += [
            (statements["hold_settings"], named),
            (statements["queue_settings"], {"queues": [queue]}),
            (statements["declare_queue"], {**written, "closed": None}),
        ]
    *answers, rows = await session.run(*calls, (statements["queue_settings"], {"queues": [queue]}))
    before = None if settings is None else _stored(answers[3][0]).settings
    return replace(_stored(rows[0]), before=before)


async def settings_of(
    session: Session, statements: Statements, queues: Sequence[QueueName]
) -> list[StoredSettings]:
    """Return the settings in force of those of the queues that have a row."""
    (rows,) = await session.run((statements["queue_settings"], {"queues": list(queues)}))
    return [_stored(row) for row in rows]


def _stored(row: Row) -> StoredSettings:
    name, revision, settings, paused, closed, namespace, owner = row
    return StoredSettings(
        name,
        revision,
        stored.from_json(settings),
        paused,
        closed,
        f"{namespace}/{owner}" if owner else None,
    )


async def set_paused(
    session: Session, statements: Statements, queue: QueueName, *, paused: bool
) -> None:
    """Let nothing start from now on, or let it again; workers are told at once.

    Raises:
        QueueNotFoundError: there is no queue of that name; with the nearest names.
    """
    await _set(session, statements, "set_paused", {"queue": queue, "paused": paused})


async def set_closed(
    session: Session, statements: Statements, queue: QueueName, *, closed: bool
) -> None:
    """Refuse enqueues from now on, or take them again.

    Raises:
        QueueNotFoundError: there is no queue of that name; with the nearest names.
    """
    await _set(session, statements, "set_closed", {"queue": queue, "closed": closed})


async def _set(
    session: Session, statements: Statements, name: str, parameters: dict[str, object]
) -> None:
    queue = str(parameters["queue"])
    if not storable_text(queue):
        raise QueueNotFoundError(queue_name=queue)
    _, _, found = await session.run(
        (statements["hold_settings"], {"queue": queue}),
        (statements[name], parameters),
        (statements["queue_settings"], {"queues": [queue]}),
    )
    if not found:
        raise await not_found(session, statements, queue)


async def not_found(session: Session, statements: Statements, queue: str) -> QueueNotFoundError:
    """Return the error for a queue that has no row, with the nearest names."""
    if not storable_text(queue):
        return QueueNotFoundError(queue_name=queue)
    (rows,) = await session.run((statements["nearest_queues"], {"queue": queue}))
    return QueueNotFoundError(queue_name=queue, nearest=rows[0][0])


async def list_queues(
    session: Session, statements: Statements, *, queue: str | None = None
) -> list[QueueRow]:
    """Return every queue in numbers, or the one that is named."""
    if queue is not None and not storable_text(queue):
        return []
    (rows,) = await session.run((statements["list_queues"], {"queue": queue}))
    return [
        QueueRow(
            name,
            stored.from_json(settings),
            paused,
            closed,
            f"{namespace}/{owner}" if owner else None,
            *numbers,
        )
        for name, settings, paused, closed, namespace, owner, *numbers in rows
    ]
