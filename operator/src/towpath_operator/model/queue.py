"""The kind Queue: a named line of workflows with limits, and optionally the pods that serve it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from pydantic import Field

from towpath.domain import queue as domain
from towpath.domain.queue import QueueSettings
from towpath_operator.model.annotations import CONFIRM_DELETE
from towpath_operator.model.base import Model, Rule
from towpath_operator.model.durations import duration_field, duration_rule, parse_duration
from towpath_operator.model.metadata import Metadata
from towpath_operator.model.shared import MAX_INT32, DatabaseRef, Retention
from towpath_operator.model.updates import UNCHANGED_DATABASE
from towpath_operator.model.workerpool import MAX_POOL_NAME_LENGTH, PoolTemplate

INTERNAL_QUEUE_NAME = "_towpath"
"""The runtime's own queue of direct calls; no manifest may limit it."""

RETAIN: Final = "Retain"
DELETE_ROWS: Final = "towpath.dev/delete-rows"
"""The finalizer of a Queue whose deletion is to delete its row; no other object has it."""

WITH_PARTITIONS = "none without partitioning (partitioning.enabled: true)"
_PARTITIONED = "(has(self.partitioning) && self.partitioning.enabled)"


class Concurrency(Model):
    """How many workflows of the queue run at a time; an absent limit is none."""

    rules: ClassVar = (
        Rule(
            field="perWorker",
            message="concurrency.perWorker must be at most concurrency.global",
            cel="!has(self.perWorker) || !has(self.global) || self.perWorker <= self.global",
            holds=lambda c: c.per_worker is None or c.global_ is None or c.per_worker <= c.global_,
        ),
    )

    global_: int | None = Field(
        default=None,
        alias="global",
        ge=1,
        le=MAX_INT32,
        description="The most workflows of the queue that run at a time in all workers together.",
    )
    per_worker: int | None = Field(
        default=None,
        ge=1,
        le=MAX_INT32,
        description="The most workflows of the queue that run at a time in one worker; at most global.",
    )
    per_partition: int | None = Field(
        default=None,
        ge=1,
        le=MAX_INT32,
        description="The most workflows of one partition key that run at a time; 1 unless set. Only "
        "with partitioning.",
    )
    release_while_waiting: bool = Field(
        default=False,
        description="Whether a workflow that waits (sleep, recv, get_event, get_result) gives its "
        "place to another meanwhile.",
    )


class Limiter(Model):
    """At most so many starts in any window of time."""

    rules: ClassVar = (
        duration_rule(
            "period",
            lambda limiter: limiter.period,
            message="period must be from 1ms to 8784h (366 days)",
            least=domain.MIN_PERIOD,
            most=domain.MAX_PERIOD,
        ),
    )

    limit: int = Field(
        ge=1,
        le=domain.MAX_LIMIT,
        description="The most starts in any window of the period; every attempt is a start.",
    )
    period: str = duration_field(
        description="How long the window is that slides over the starts, such as 10s or 24h; from "
        "1ms to 8784h (366 days)."
    )


class Priority(Model):
    """Whether workflows may have a priority."""

    enabled: bool = Field(
        default=False,
        description="Whether workflows may be enqueued with a priority; a higher number is more "
        "urgent, and none is least urgent.",
    )


class Partitioning(Model):
    """Whether every workflow has a partition key."""

    enabled: bool = Field(
        default=False,
        description="Whether every workflow is enqueued with a partition key; those of one key run "
        "in order, one at a time unless concurrency.perPartition is set.",
    )


class QueueSpec(Model):
    """What a Queue declares."""

    rules: ClassVar = (
        UNCHANGED_DATABASE,
        Rule(
            field="queueName",
            message=f"queueName must not be {INTERNAL_QUEUE_NAME}, the queue of direct calls",
            cel=f"!has(self.queueName) || self.queueName != '{INTERNAL_QUEUE_NAME}'",
            holds=lambda q: q.queue_name != INTERNAL_QUEUE_NAME,
        ),
        Rule(
            field="concurrency.perPartition",
            message=f"concurrency.perPartition must be {WITH_PARTITIONS}",
            cel=f"!has(self.concurrency) || !has(self.concurrency.perPartition) || {_PARTITIONED}",
            holds=lambda q: q.concurrency.per_partition is None or q.partitioning.enabled,
        ),
        Rule(
            field="partitionLimiter",
            message=f"partitionLimiter must be {WITH_PARTITIONS}",
            cel=f"!has(self.partitionLimiter) || {_PARTITIONED}",
            holds=lambda q: q.partition_limiter is None or q.partitioning.enabled,
        ),
        duration_rule(
            "pollingInterval",
            lambda q: q.polling_interval,
            message="pollingInterval must be from 1ms to 24h",
            least=domain.MIN_POLLING_INTERVAL,
            most=domain.MAX_POLLING_INTERVAL,
        ),
    )

    database_ref: DatabaseRef = Field(
        default=DatabaseRef(),
        description="The QueueDatabase that the queue lives in; cannot be changed.",
    )
    queue_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        pattern=r"^[^,\x00]+$",
        description="The queue's name in Python, without a comma; metadata.name unless set; cannot "
        "be changed.",
    )
    concurrency: Concurrency = Field(
        default=Concurrency(),
        description="How many workflows of the queue run at a time; an absent limit is none.",
    )
    limiter: Limiter | None = Field(
        default=None,
        description="The most starts of the whole queue in any window of time; absent is no limit.",
    )
    partition_limiter: Limiter | None = Field(
        default=None,
        description="The most starts of each partition key in any window of time; absent is no "
        "limit. Only with partitioning.",
    )
    priority: Priority = Field(
        default=Priority(), description="Whether workflows may have a priority."
    )
    partitioning: Partitioning = Field(
        default=Partitioning(), description="Whether workflows have a partition key."
    )
    polling_interval: str = duration_field(
        default="1s",
        description="The longest wait for work that a lost notification has missed; from 1ms to 24h.",
    )
    paused: bool | None = Field(
        default=None,
        description="Whether nothing of the queue starts, while enqueueing goes on; unless set, "
        "`towpath queue pause` and `towpath queue resume` decide it.",
    )
    closed: bool | None = Field(
        default=None,
        description="Whether enqueueing is refused, while what waits goes on; unless set, "
        "`towpath queue close` and `towpath queue open` decide it.",
    )
    retention: Retention | None = Field(
        default=None,
        description="How long the queue's workflows are kept after their end; what is absent is as "
        "the QueueDatabase says.",
    )
    deletion_policy: Literal["Retain", "DeleteIfEmpty", "Delete"] = Field(
        default="Retain",
        description="What happens to the queue's row and workflows when the Queue is deleted: Retain "
        "keeps them, Delete deletes them, DeleteIfEmpty deletes the row if it has no workflow. The "
        "last two do so only with the annotation towpath.dev/confirm-delete, whose value is the "
        "queue's name.",
    )
    workers: PoolTemplate | None = Field(
        default=None,
        description="The pods that serve this queue alone: a WorkerPool of the same name, owned by "
        "the Queue; without it, a WorkerPool may list the queue.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A parsed Queue; `status` is the last one written, as it was read."""

    metadata: Metadata
    spec: QueueSpec
    status: Mapping[str, Any] = field(default_factory=dict)

    @property
    def queue_name(self) -> str:
        """What Python says: spec.queueName, else the object's name."""
        return self.spec.queue_name or self.metadata.name

    @property
    def confirmed(self) -> bool:
        """Whether the annotation confirms, by the queue's name, that a deletion may delete rows."""
        return self.metadata.asked.get(CONFIRM_DELETE) == self.queue_name

    @property
    def deletes_rows(self) -> bool:
        """Whether its deletion is to delete its row, and its workflows if the policy says so."""
        return self.confirmed and self.spec.deletion_policy != RETAIN

    @property
    def settings(self) -> QueueSettings:
        """The limits as the runtime knows them."""
        spec, limits = self.spec, self.spec.concurrency
        return QueueSettings(
            concurrency=limits.global_,
            worker_concurrency=limits.per_worker,
            partition_concurrency=limits.per_partition,
            limiter=_limiter(spec.limiter),
            partition_limiter=_limiter(spec.partition_limiter),
            priority_enabled=spec.priority.enabled,
            partition_queue=spec.partitioning.enabled,
            release_while_waiting=limits.release_while_waiting,
            polling_interval=parse_duration(spec.polling_interval),
            retention=spec.retention.settings if spec.retention else domain.Retention(),
        )


def _limiter(declared: Limiter | None) -> domain.Limiter | None:
    if declared is None:
        return None
    return domain.Limiter(declared.limit, parse_duration(declared.period))


_NAME = "(has({0}.spec.queueName) ? {0}.spec.queueName : {0}.metadata.name)"

QUEUE_RULES: Final = (
    Rule(
        field="spec.queueName",
        message="queueName cannot be changed; delete the Queue and make it anew",
        cel=f"{_NAME.format('self')} == {_NAME.format('oldSelf')}",
        unchanged=lambda queue: queue.queue_name,
    ),
    Rule(
        field="metadata.name",
        message=f"metadata.name must have at most {MAX_POOL_NAME_LENGTH} characters in a Queue with "
        "workers, since its pods are named after it",
        cel=f"!has(self.spec.workers) || self.metadata.name.size() <= {MAX_POOL_NAME_LENGTH}",
        holds=lambda queue: (
            queue.spec.workers is None or len(queue.metadata.name) <= MAX_POOL_NAME_LENGTH
        ),
    ),
)
"""Rules over the whole object."""
