"""Where queues stand, as values that people and programs read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from towpath.domain.queue import Limiter, Retention
from towpath.insights.words import COUNTED_TO
from towpath.store import queues
from towpath.store.session import Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterInfo:
    """At most `limit` starts in any window of so many seconds."""

    limit: int
    period_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionInfo:
    """For how many seconds workflows are kept after a SUCCESS, and after any other end.

    None is as the database's default says.
    """

    succeeded_seconds: float | None
    failed_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInfo:
    """A queue at one moment: its settings under the names of `Queue`'s options, and its numbers.

    Attributes:
        concurrency: Places in all workers together; None is no limit.
        worker_concurrency: Places in one worker; None is no limit.
        partition_concurrency: Places of one partition key; None is 1 where it is partitioned.
        limiter: Starts of the whole queue; None is no limit.
        partition_limiter: Starts of each partition key; None is no limit.
        retention: How long its ended workflows are kept; None is as the database's default says.
        paused: Whether nothing starts.
        closed: Whether enqueue is refused.
        release_while_waiting: Whether one that sleeps gives its place back.
        running: Workflows that workers have in memory, to run or to wait.
        sleeping: Workflows that wait and that no worker has in memory, counted to 10,000.
        sleeping_capped: Whether there are more than were counted.
        places_taken: Places of the concurrency that are taken.
        waiting: ENQUEUED workflows, counted to 10,000.
        waiting_capped: Whether there are more than were counted.
        delayed: DELAYED workflows, counted to 10,000.
        delayed_capped: Whether there are more than were counted.
        oldest_waiting: When the oldest at the head of the line was enqueued.
        workers: Live workers that serve it and are not draining.
        owner: The manifest that declares it, as namespace/name; None where code does.
    """

    name: str
    concurrency: int | None = None
    worker_concurrency: int | None = None
    partition_concurrency: int | None = None
    limiter: LimiterInfo | None = None
    partition_limiter: LimiterInfo | None = None
    priority_enabled: bool = False
    partition_queue: bool = False
    release_while_waiting: bool = False
    polling_interval_sec: float = 1.0
    retention: RetentionInfo | None = None
    paused: bool = False
    closed: bool = False
    running: int = 0
    sleeping: int = 0
    sleeping_capped: bool = False
    places_taken: int = 0
    waiting: int = 0
    waiting_capped: bool = False
    delayed: int = 0
    delayed_capped: bool = False
    oldest_waiting: datetime | None = None
    workers: int = 0
    owner: str | None = None

    @property
    def state(self) -> str:
        """Whether it starts and takes workflows, in a word: open, paused, closed, or paused,closed."""
        words = [word for word in ("paused", "closed") if getattr(self, word)]
        return ",".join(words) or "open"


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
        raise await queues.not_found(session, statements, name)
    return _info(rows[0])


def _info(row: queues.QueueRow) -> QueueInfo:
    settings = row.settings
    return QueueInfo(
        name=row.name,
        concurrency=settings.concurrency,
        worker_concurrency=settings.worker_concurrency,
        partition_concurrency=settings.partition_concurrency,
        limiter=_limiter(settings.limiter),
        partition_limiter=_limiter(settings.partition_limiter),
        priority_enabled=settings.priority_enabled,
        partition_queue=settings.partition_queue,
        release_while_waiting=settings.release_while_waiting,
        polling_interval_sec=settings.polling_interval.total_seconds(),
        retention=_retention(settings.retention),
        paused=row.paused,
        closed=row.closed,
        running=row.running,
        sleeping=min(row.sleeping, COUNTED_TO),
        sleeping_capped=row.sleeping > COUNTED_TO,
        places_taken=row.running + (0 if settings.release_while_waiting else row.sleeping),
        waiting=min(row.waiting, COUNTED_TO),
        waiting_capped=row.waiting > COUNTED_TO,
        delayed=min(row.delayed, COUNTED_TO),
        delayed_capped=row.delayed > COUNTED_TO,
        oldest_waiting=row.oldest_waiting,
        workers=row.workers,
        owner=row.owner,
    )


def _retention(kept: Retention) -> RetentionInfo | None:
    if kept == Retention():
        return None
    return RetentionInfo(
        succeeded_seconds=None if kept.succeeded is None else kept.succeeded.total_seconds(),
        failed_seconds=None if kept.failed is None else kept.failed.total_seconds(),
    )


def _limiter(limiter: Limiter | None) -> LimiterInfo | None:
    if limiter is None:
        return None
    return LimiterInfo(limit=limiter.limit, period_seconds=limiter.period.total_seconds())
