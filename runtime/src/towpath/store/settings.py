"""A queue's settings as the schema's `settings()` reads and writes them: one JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from psycopg.types.json import Jsonb

from towpath.domain.queue import Limiter, QueueSettings, Retention


def to_json(settings: QueueSettings) -> Jsonb:
    """Write settings; durations are seconds."""
    limiter, partition_limiter = settings.limiter, settings.partition_limiter
    kept = settings.retention
    return Jsonb(
        {
            "concurrency": settings.concurrency,
            "worker_concurrency": settings.worker_concurrency,
            "partition_concurrency": settings.partition_concurrency,
            "limit": limiter and limiter.limit,
            "period": limiter and limiter.period.total_seconds(),
            "partition_limit": partition_limiter and partition_limiter.limit,
            "partition_period": partition_limiter and partition_limiter.period.total_seconds(),
            "priority_enabled": settings.priority_enabled,
            "partition_queue": settings.partition_queue,
            "release_while_waiting": settings.release_while_waiting,
            "polling_interval": settings.polling_interval.total_seconds(),
            "retention_succeeded": kept.succeeded and kept.succeeded.total_seconds(),
            "retention_failed": kept.failed and kept.failed.total_seconds(),
        }
    )


def from_json(written: Mapping[str, Any]) -> QueueSettings:
    """Read settings as they were written."""
    return QueueSettings(
        concurrency=written["concurrency"],
        worker_concurrency=written["worker_concurrency"],
        partition_concurrency=written["partition_concurrency"],
        limiter=_limiter(written["limit"], written["period"]),
        partition_limiter=_limiter(written["partition_limit"], written["partition_period"]),
        priority_enabled=written["priority_enabled"],
        partition_queue=written["partition_queue"],
        release_while_waiting=written["release_while_waiting"],
        polling_interval=timedelta(seconds=written["polling_interval"]),
        retention=Retention(
            _length(written["retention_succeeded"]), _length(written["retention_failed"])
        ),
    )


def _length(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _limiter(limit: int | None, seconds: float | None) -> Limiter | None:
    if limit is None or seconds is None:
        return None
    return Limiter(limit, timedelta(seconds=seconds))
