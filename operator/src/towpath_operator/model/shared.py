"""Parts of a spec or status that several kinds have."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import Field

from towpath.domain import queue as domain
from towpath_operator.model.base import DNS_LABEL, DNS_SUBDOMAIN, Model
from towpath_operator.model.durations import duration_field, duration_rule, parse_duration

MAX_INT32 = 2_147_483_647


class DatabaseRef(Model):
    """Names the QueueDatabase; cannot be changed."""

    name: str = Field(
        default="default",
        min_length=1,
        max_length=253,
        pattern=DNS_SUBDOMAIN,
        description="The name of the QueueDatabase.",
    )
    namespace: str | None = Field(
        default=None,
        min_length=1,
        max_length=63,
        pattern=DNS_LABEL,
        description="The namespace of the QueueDatabase; without one it is looked for in the "
        "object's own namespace, then in the operator's.",
    )


class Retention(Model):
    """How long ended workflows are kept."""

    rules: ClassVar = tuple(
        duration_rule(
            field,
            read,
            message=f"retention.{field} must be from 1s to 876600h (100 years)",
            least=domain.MIN_RETENTION,
            most=domain.MAX_RETENTION,
        )
        for field, read in (
            ("succeeded", lambda kept: kept.succeeded),
            ("failed", lambda kept: kept.failed),
        )
    )

    succeeded: str | None = duration_field(
        default=None,
        description="How long workflows are kept after a SUCCESS, such as 168h; from 1s to 876600h.",
    )
    failed: str | None = duration_field(
        default=None,
        description="How long workflows are kept after any other end, such as 720h; from 1s to "
        "876600h.",
    )

    @property
    def settings(self) -> domain.Retention:
        """The retention as the runtime knows it."""
        return domain.Retention(_length(self.succeeded), _length(self.failed))


def _length(text: str | None) -> timedelta | None:
    return None if text is None else parse_duration(text)


class Condition(Model):
    """One condition of an object."""

    type: str = Field(description="The condition's name, such as Ready.")
    status: str = Field(
        json_schema_extra={"enum": ["True", "False", "Unknown"]},
        description="Whether the condition holds: True, False or Unknown.",
    )
    observed_generation: int = Field(
        json_schema_extra={"format": "int64"},
        description="The metadata.generation that the condition was made from.",
    )
    last_transition_time: str = Field(
        json_schema_extra={"format": "date-time"},
        description="When the condition's status last changed.",
    )
    reason: str = Field(description="Why, as one word of the documented list.")
    message: str = Field(description="Why, as a sentence for people, with what to do.")


class DatabaseStatus(Model):
    """The database that databaseRef found; kept once found."""

    namespace: str = Field(description="The namespace of the QueueDatabase.")
    name: str = Field(description="The name of the QueueDatabase.")
    schema_name: str = Field(
        alias="schema", description="The Postgres schema that the QueueDatabase names."
    )


Conditions = Annotated[
    tuple[Condition, ...],
    Field(
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        description="What holds for the object; Reconciling and Stalled are present only while true.",
    ),
]

PlanLines = Annotated[
    tuple[str, ...] | None,
    Field(
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
        description="What the operator would do, where the annotation towpath.dev/plan-only is "
        '"true".',
    ),
]
