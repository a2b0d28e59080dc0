"""What the operator says about a Queue: its numbers, and what is in force in its row."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from towpath.domain import queue as domain
from towpath_operator.model.base import Model
from towpath_operator.model.durations import format_duration
from towpath_operator.model.shared import Conditions, DatabaseStatus, PlanLines


class EffectiveConcurrency(Model):
    """The places of a queue; an absent limit is none."""

    global_: int | None = Field(
        default=None, alias="global", description="Places in all workers together."
    )
    per_worker: int | None = Field(default=None, description="Places in one worker.")
    per_partition: int | None = Field(
        default=None, description="Places of one partition key; absent is 1 with partitioning."
    )
    release_while_waiting: bool | None = Field(
        default=None, description="Whether a workflow that waits gives its place to another."
    )


class EffectiveRetention(Model):
    """How long ended workflows are kept; what is absent is as the database's default says."""

    succeeded: str | None = Field(default=None, description="After a SUCCESS.")
    failed: str | None = Field(default=None, description="After any other end.")


class EffectiveLimiter(Model):
    """A limiter of starts."""

    limit: int = Field(description="The most starts in any window of the period.")
    period: str = Field(description="How long the window is.")


class Switch(Model):
    """Whether something is enabled."""

    enabled: bool = Field(description="Whether it is enabled.")


class EffectiveQueue(Model):
    """What is in force, read from the queue's row."""

    concurrency: EffectiveConcurrency | None = Field(
        default=None, description="The places of the queue; an absent limit is none."
    )
    limiter: EffectiveLimiter | None = Field(
        default=None, description="The limiter of the whole queue; absent is none."
    )
    partition_limiter: EffectiveLimiter | None = Field(
        default=None, description="The limiter of each partition key; absent is none."
    )
    priority: Switch = Field(description="Whether workflows may have a priority.")
    partitioning: Switch = Field(description="Whether workflows have a partition key.")
    polling_interval: str = Field(
        description="The longest wait for work that a lost notification has missed."
    )
    retention: EffectiveRetention | None = Field(
        default=None, description="How long the queue's ended workflows are kept."
    )
    paused: bool = Field(description="Whether nothing of the queue starts.")
    closed: bool = Field(description="Whether enqueueing is refused.")


class QueueStatus(Model):
    """What the operator says about a Queue."""

    observed_generation: int | None = Field(
        default=None,
        json_schema_extra={"format": "int64"},
        description="The metadata.generation that this status was made from.",
    )
    database: DatabaseStatus | None = Field(
        default=None, description="The database that databaseRef found; kept once found."
    )
    queue_name: str | None = Field(default=None, description="The queue's name in Python.")
    effective: EffectiveQueue | None = Field(
        default=None,
        description="What is in force, read from the queue's row; absent while another has the row.",
    )
    waiting: int | None = Field(
        default=None, description="Workflows that wait for a worker, counted to 10,000."
    )
    waiting_capped: bool | None = Field(
        default=None, description="Whether more wait than were counted."
    )
    running: int | None = Field(default=None, description="Workflows that workers have in memory.")
    oldest_wait_seconds: int | None = Field(
        default=None,
        description="For how long the first in line had waited when the numbers were written; absent "
        "where none waits.",
    )
    limited_by: str | None = Field(
        default=None,
        description="What holds back the workflows that wait, as one word such as Concurrency, "
        "Limiter, NoWorker or Paused; absent where none waits.",
    )
    why: str | None = Field(
        default=None,
        description="What holds back the workflows that wait, as `towpath queue explain` said it when "
        "the numbers were written.",
    )
    plan: PlanLines = None
    conditions: Conditions = ()


def effective_configuration(
    settings: domain.QueueSettings, *, paused: bool, closed: bool
) -> dict[str, Any]:
    """Return what `status.effective` says of a row."""
    places = EffectiveConcurrency.model_validate(
        {
            "global": settings.concurrency,
            "perWorker": settings.worker_concurrency,
            "perPartition": settings.partition_concurrency,
            "releaseWhileWaiting": settings.release_while_waiting or None,
        }
    )
    effective = EffectiveQueue.model_validate(
        {
            "concurrency": places if places != EffectiveConcurrency() else None,
            "limiter": _limiter(settings.limiter),
            "partitionLimiter": _limiter(settings.partition_limiter),
            "priority": Switch(enabled=settings.priority_enabled),
            "partitioning": Switch(enabled=settings.partition_queue),
            "pollingInterval": format_duration(settings.polling_interval),
            "retention": _retention(settings.retention),
            "paused": paused,
            "closed": closed,
        }
    )
    return effective.to_manifest()


def _limiter(limiter: domain.Limiter | None) -> EffectiveLimiter | None:
    if limiter is None:
        return None
    return EffectiveLimiter(limit=limiter.limit, period=format_duration(limiter.period))


def _retention(kept: domain.Retention) -> EffectiveRetention | None:
    if kept == domain.Retention():
        return None
    return EffectiveRetention(
        succeeded=None if kept.succeeded is None else format_duration(kept.succeeded),
        failed=None if kept.failed is None else format_duration(kept.failed),
    )
