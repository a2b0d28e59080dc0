"""The kind Queue: a named line of workflows with limits, and optionally the pods that serve it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from pydantic import Field

from towpath.domain.queue import QueueSettings
from towpath_operator.model.base import Model, Rule
from towpath_operator.model.metadata import Metadata
from towpath_operator.model.shared import MAX_INT32, Conditions, DatabaseRef, DatabaseStatus
from towpath_operator.model.updates import UNCHANGED_DATABASE
from towpath_operator.model.workerpool import MAX_POOL_NAME_LENGTH, PoolTemplate

INTERNAL_QUEUE_NAME = "_towpath"
"""The runtime's own queue of direct calls; no manifest may limit it."""


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
    deletion_policy: Literal["Retain"] = Field(
        default="Retain",
        description="What happens to the queue's workflows when the Queue is deleted; Retain keeps "
        "them.",
    )
    workers: PoolTemplate | None = Field(
        default=None,
        description="The pods that serve this queue alone: a WorkerPool of the same name, owned by "
        "the Queue; without it, a WorkerPool may list the queue.",
    )


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
    waiting: int | None = Field(
        default=None, description="Workflows that wait for a worker, counted to 10,000."
    )
    waiting_capped: bool | None = Field(
        default=None, description="Whether more wait than were counted."
    )
    running: int | None = Field(default=None, description="Workflows that hold a place.")
    conditions: Conditions = ()


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
    def settings(self) -> QueueSettings:
        """The limits as the runtime knows them."""
        limits = self.spec.concurrency
        return QueueSettings(concurrency=limits.global_, worker_concurrency=limits.per_worker)


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
