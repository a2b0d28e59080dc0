"""The kind WorkerPool: the pods that serve some queues."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from towpath_operator.model.base import DNS_SUBDOMAIN, Model, Rule
from towpath_operator.model.durations import duration_field, duration_rule, parse_duration
from towpath_operator.model.metadata import Metadata
from towpath_operator.model.shared import Conditions, DatabaseRef, DatabaseStatus, PlanLines
from towpath_operator.model.updates import UNCHANGED_DATABASE

MAX_POOL_NAME_LENGTH = 40
"""Leaves room for what a child's name adds within the 63 characters of a label."""

MAX_DRAIN = timedelta(hours=24)
APPLICATION_PATTERN = (
    r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*"
    r"(:[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*)?$"
)


def check_int_or_percent(value: int | str) -> int | str:
    """Return a number of pods or a part of all, such as 25%; raises ValueError for anything else."""
    if isinstance(value, str) and not re.fullmatch(r"(100|[1-9]?[0-9])%", value):
        raise ValueError("must be a number from 0 to 1000, or from 0% to 100%")
    if isinstance(value, int) and not 0 <= value <= 1000:  # noqa: PLR2004 - as the message says
        raise ValueError("must be a number from 0 to 1000, or from 0% to 100%")
    return value


class PoolQueue(Model):
    """A queue that the pool serves."""

    name: str = Field(
        min_length=1,
        max_length=253,
        pattern=DNS_SUBDOMAIN,
        description="The name of a Queue object of this namespace.",
    )


class Autoscaling(Model):
    """How many pods the pool has."""

    rules: ClassVar = (
        Rule(
            field="min",
            message="autoscaling.min must be at most autoscaling.max",
            cel="self.min <= self.max",
            holds=lambda a: a.min <= a.max,
        ),
    )

    mode: Literal["Builtin", "External", "None"] = Field(
        default="Builtin",
        description="Who decides the number of pods: Builtin is the operator, by the work that waits "
        "and runs; External is who writes spec.replicas through /scale, such as an HPA or KEDA; None "
        "is spec.replicas as the manifest has it.",
    )
    min: int = Field(
        default=1,
        ge=0,
        le=1000,
        description="The fewest pods; 0 lets the pool go to none when idle.",
    )
    max: int = Field(default=10, ge=1, le=1000, description="The most pods.")


class Drain(Model):
    """How pods stop."""

    rules: ClassVar = (
        duration_rule(
            "timeout",
            lambda drain: drain.timeout,
            message="drain.timeout must be at most 24h",
            most=MAX_DRAIN,
        ),
    )

    timeout: str = duration_field(
        default="30s",
        description="How long running workflows may go on after a pod is told to stop, such as 30s "
        "or 5m; then each is handed back at its next step.",
    )

    @property
    def duration(self) -> timedelta:
        """The timeout as a duration."""
        return parse_duration(self.timeout)


IntOrPercent = Annotated[
    int | str,
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "minimum": 0,
            "maximum": 1000,
            "pattern": r"^(100|[1-9]?[0-9])%$",
        }
    ),
    AfterValidator(check_int_or_percent),
]
"""A number of pods, or a part of all in percent, as a Deployment's rollout has it."""


class Strategy(Model):
    """How a changed template replaces the pods."""

    rules: ClassVar = (
        Rule(
            field="maxUnavailable",
            message="strategy.maxUnavailable and strategy.maxSurge must not both be 0",
            cel="!((self.maxUnavailable == 0 || self.maxUnavailable == '0%') && "
            "(self.maxSurge == 0 || self.maxSurge == '0%'))",
            holds=lambda s: not (s.max_unavailable in (0, "0%") and s.max_surge in (0, "0%")),
        ),
    )

    max_surge: IntOrPercent = Field(
        default="25%",
        description="How many pods there may be above the wanted ones during a rollout: a number from "
        "0 to 1000, or a part such as 25%.",
    )
    max_unavailable: IntOrPercent = Field(
        default="25%",
        description="How many of the wanted pods may be missing during a rollout: a number from 0 to "
        "1000, or a part such as 25%.",
    )


class PoolTemplate(Model):
    """What a WorkerPool and the `workers` of a Queue have in common."""

    application: str = Field(
        min_length=1,
        max_length=255,
        pattern=APPLICATION_PATTERN,
        description="The Python module with the workflows, such as shop.workflows, or module:app for "
        "an App in it.",
    )
    slots: int = Field(
        default=10, ge=1, le=1000, description="How many workflows one pod runs at a time."
    )
    template: dict[str, Any] = Field(
        default_factory=dict,
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
        description="The pod template, as in a Deployment; the container called worker, else the "
        "first, runs the workflows.",
    )
    autoscaling: Autoscaling = Field(
        default=Autoscaling(), description="How many pods the pool has, and who decides it."
    )
    replicas: int = Field(
        default=1,
        ge=0,
        le=1000,
        description="The number of pods, where autoscaling.mode is None or External; ignored where it "
        "is Builtin.",
    )
    drain: Drain = Field(default=Drain(), description="How pods stop.")
    strategy: Strategy = Field(
        default=Strategy(), description="How a changed template replaces the pods."
    )


class WorkerPoolSpec(PoolTemplate):
    """What a WorkerPool declares."""

    rules: ClassVar = (UNCHANGED_DATABASE,)

    database_ref: DatabaseRef = Field(
        default=DatabaseRef(),
        description="The QueueDatabase that the pool's queues live in; cannot be changed.",
    )
    queues: tuple[PoolQueue, ...] = Field(
        strict=False,
        min_length=1,
        max_length=100,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        description="The queues that the pool serves: Queue objects of this namespace.",
    )


class AutoscalingStatus(Model):
    """What the autoscaler decided last."""

    desired: int = Field(description="How many pods the pool is to have now.")
    limited_by: str | None = Field(
        default=None,
        description="What keeps the number from following the work: Minimum, Maximum, IdlePeriod, "
        "NoSample, StaleSample, DatabaseError or Connections.",
    )


class WorkerPoolStatus(Model):
    """What the operator says about a WorkerPool."""

    observed_generation: int | None = Field(
        default=None,
        json_schema_extra={"format": "int64"},
        description="The metadata.generation that this status was made from.",
    )
    database: DatabaseStatus | None = Field(
        default=None, description="The database that databaseRef found; kept once found."
    )
    replicas: int | None = Field(default=None, description="How many pods there are.")
    selector: str | None = Field(
        default=None, description="The label selector of the pods, for whoever scales by /scale."
    )
    ready_replicas: int | None = Field(default=None, description="How many pods are ready.")
    waiting: int | None = Field(
        default=None,
        description="Workflows that wait in the pool's queues, each queue counted to 10,000.",
    )
    running: int | None = Field(
        default=None,
        description="Workflows that run in the pool's queues, in this pool or elsewhere.",
    )
    autoscaling: AutoscalingStatus | None = Field(
        default=None, description="What the autoscaler decided last."
    )
    build_id: str | None = Field(
        default=None,
        description="Names the template and application that the pods are made from; they carry it "
        "as the label towpath.dev/build-id.",
    )
    revision: str | None = Field(
        default=None,
        description="The ControllerRevision that keeps the pods' template as it was rendered.",
    )
    template_hash: str | None = Field(
        default=None,
        description="The hash of the Deployment's pod template, by which that is known again if its "
        "ControllerRevision is lost.",
    )
    plan: PlanLines = None
    conditions: Conditions = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPool:
    """A parsed WorkerPool; `status` is the last one written, as it was read."""

    metadata: Metadata
    spec: WorkerPoolSpec
    status: Mapping[str, Any] = field(default_factory=dict)


WORKER_POOL_RULES: Final = (
    Rule(
        field="metadata.name",
        message=f"metadata.name must have at most {MAX_POOL_NAME_LENGTH} characters in a WorkerPool, "
        "since its pods are named after it",
        cel=f"self.metadata.name.size() <= {MAX_POOL_NAME_LENGTH}",
        holds=lambda pool: len(pool.metadata.name) <= MAX_POOL_NAME_LENGTH,
    ),
)
"""Rules over the whole object."""
