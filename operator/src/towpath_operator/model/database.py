"""The kind QueueDatabase: a Postgres database and schema that queues live in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from towpath_operator.model.base import DNS_SUBDOMAIN, Model, Rule
from towpath_operator.model.metadata import Metadata
from towpath_operator.model.shared import Conditions
from towpath_operator.model.updates import UNCHANGED_SCHEMA

ANY_NAMESPACE = "*"
NAMESPACE_PATTERN = r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$"
SCHEMA_PATTERN = r"^[a-z_][a-z0-9_-]*$"
_RESERVED_SCHEMA = (
    "schema must not begin with pg_ nor be information_schema, which are Postgres's own"
)


class UriSecretRef(Model):
    """Names a key of a Secret of this namespace."""

    name: str = Field(
        min_length=1,
        max_length=253,
        pattern=DNS_SUBDOMAIN,
        description="The name of a Secret of this namespace.",
    )
    key: str = Field(
        default="uri",
        min_length=1,
        max_length=253,
        pattern=r"^[-._a-zA-Z0-9]+$",
        description="The key in the Secret that holds the database's URI, "
        "postgresql://user:password@host:port/database.",
    )


class QueueDatabaseSpec(Model):
    """What a QueueDatabase declares."""

    rules: ClassVar = (
        UNCHANGED_SCHEMA,
        Rule(
            field="schema",
            message=_RESERVED_SCHEMA,
            cel="!self.schema.startsWith('pg_') && self.schema != 'information_schema'",
            holds=lambda d: (
                not d.schema_name.startswith("pg_") and d.schema_name != "information_schema"
            ),
        ),
        Rule(
            field="allowedNamespaces",
            message='allowedNamespaces must be a list of names or ["*"] alone',
            cel="!has(self.allowedNamespaces) || !self.allowedNamespaces.exists(n, n == '*') || "
            "self.allowedNamespaces.size() == 1",
            holds=lambda d: (
                ANY_NAMESPACE not in d.allowed_namespaces or len(d.allowed_namespaces) == 1
            ),
        ),
    )

    uri_secret_ref: UriSecretRef = Field(
        description="The Secret with the URI that the operator and the workers connect by."
    )
    schema_name: str = Field(
        default="towpath",
        alias="schema",
        min_length=1,
        max_length=63,
        pattern=SCHEMA_PATTERN,
        description="The Postgres schema that holds the queues; one schema is one trust domain; "
        "cannot be changed.",
    )
    allowed_namespaces: tuple[
        Annotated[str, Field(min_length=1, max_length=63, pattern=NAMESPACE_PATTERN)], ...
    ] = Field(
        default=(),
        strict=False,
        max_length=256,
        json_schema_extra={"x-kubernetes-list-type": "set"},
        description='Other namespaces whose Queues and WorkerPools may use this database; ["*"] is '
        "all, empty is this namespace alone.",
    )


class SchemaStatus(Model):
    """How far the schema is."""

    version: int | None = Field(default=None, description="The version that the schema has.")
    target: int | None = Field(
        default=None, description="The version that this operator migrates to."
    )


class QueueDatabaseStatus(Model):
    """What the operator says about a QueueDatabase."""

    observed_generation: int | None = Field(
        default=None,
        json_schema_extra={"format": "int64"},
        description="The metadata.generation that this status was made from.",
    )
    schema_state: SchemaStatus | None = Field(
        default=None, alias="schema", description="How far the schema is."
    )
    conditions: Conditions = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDatabase:
    """A parsed QueueDatabase; `status` is the last one written, as it was read."""

    metadata: Metadata
    spec: QueueDatabaseSpec
    status: Mapping[str, Any] = field(default_factory=dict)

    def grants(self, namespace: str) -> bool:
        """Tell whether objects of a namespace may use this database."""
        allowed = self.spec.allowed_namespaces
        return (
            namespace == self.metadata.namespace or namespace in allowed or ANY_NAMESPACE in allowed
        )


QUEUE_DATABASE_RULES: Final[tuple[Rule, ...]] = ()
"""Rules over the whole object."""
