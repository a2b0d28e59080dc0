"""The kind QueueDatabase: a Postgres database and schema that queues live in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from towpath_operator.model.base import DNS_SUBDOMAIN, Model, Rule
from towpath_operator.model.metadata import Metadata
from towpath_operator.model.shared import Conditions, PlanLines, Retention
from towpath_operator.model.updates import UNCHANGED_SCHEMA

ANY_NAMESPACE = "*"
NAMESPACE_PATTERN = r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$"
SCHEMA_PATTERN = r"^[a-z_][a-z0-9_-]*$"
HOST_PATTERN = r"^([0-9A-Za-z]([0-9A-Za-z._-]*[0-9A-Za-z])?|[0-9A-Fa-f:.]+)$"
_RESERVED_SCHEMA = (
    "schema must not begin with pg_ nor be information_schema, which are Postgres's own"
)


def _secret_name() -> Any:
    return Field(
        min_length=1,
        max_length=253,
        pattern=DNS_SUBDOMAIN,
        description="The name of a Secret of this namespace.",
    )


def _secret_key(*, default: str, description: str) -> Any:
    return Field(
        default=default,
        min_length=1,
        max_length=253,
        pattern=r"^[-._a-zA-Z0-9]+$",
        description=description,
    )


class UriSecretRef(Model):
    """Names a key of a Secret of this namespace that holds a URI."""

    name: str = _secret_name()
    key: str = _secret_key(
        default="uri",
        description="The key in the Secret that holds the database's URI, "
        "postgresql://user:password@host:port/database.",
    )


class CaSecretRef(Model):
    """Names a key of a Secret of this namespace that holds certificates."""

    name: str = _secret_name()
    key: str = _secret_key(
        default="ca.crt",
        description="The key in the Secret that holds the certificates, in PEM, that the server's is "
        "verified by.",
    )


class CredentialsSecretRef(Model):
    """Names a Secret of this namespace that holds a login."""

    name: str = _secret_name()
    username_key: str = _secret_key(
        default="username", description="The key in the Secret that holds the login's name."
    )
    password_key: str = _secret_key(
        default="password", description="The key in the Secret that holds the login's password."
    )


class Connection(Model):
    """Where the server is, by fields instead of a URI."""

    rules: ClassVar = (
        Rule(
            field="caSecretRef",
            message="connection.caSecretRef needs sslMode verify-ca or verify-full, since the other "
            "modes verify nothing",
            cel="!has(self.caSecretRef) || self.sslMode in ['verify-ca', 'verify-full']",
            holds=lambda c: c.ca_secret_ref is None or c.ssl_mode.startswith("verify-"),
        ),
        Rule(
            field="sslMode",
            message="connection.sslMode verify-ca needs caSecretRef; verify-full without one takes "
            "the system's certificates",
            cel="self.sslMode != 'verify-ca' || has(self.caSecretRef)",
            holds=lambda c: c.ssl_mode != "verify-ca" or c.ca_secret_ref is not None,
        ),
    )

    host: str = Field(
        min_length=1,
        max_length=253,
        pattern=HOST_PATTERN,
        description="The server's host name or address.",
    )
    port: int = Field(default=5432, ge=1, le=65535, description="The server's port.")
    database: str = Field(
        min_length=1,
        max_length=63,
        pattern=r"^[^\x00]+$",
        description="The name of the database.",
    )
    ssl_mode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = Field(
        default="prefer",
        description="Whether the connection is encrypted and the server verified, as libpq's sslmode.",
    )
    ca_secret_ref: CaSecretRef | None = Field(
        default=None,
        description="The Secret with the certificates that verify-ca and verify-full trust.",
    )
    credentials_secret_ref: CredentialsSecretRef = Field(
        description="The Secret with the login of the operator, and of the workers unless "
        "workerCredentialsSecretRef names theirs."
    )


class Connections(Model):
    """How many connections the pools may take."""

    rules: ClassVar = (
        Rule(
            field="perPod",
            message="connections.perPod must be at most connections.max",
            cel="!has(self.max) || !has(self.perPod) || self.perPod <= self.max",
            holds=lambda c: c.max is None or c.per_pod is None or c.per_pod <= c.max,
        ),
    )

    max: int | None = Field(
        default=None,
        ge=6,
        le=100_000,
        description="The most connections that the pods of all pools take together; their number of "
        "pods is kept below it.",
    )
    per_pod: int | None = Field(
        default=None,
        ge=6,
        le=1000,
        description="The most connections that one pod takes, the one for LISTEN included; 20 unless "
        "set.",
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
        Rule(
            field="uriSecretRef",
            message="exactly one of uriSecretRef and connection must be set",
            cel="has(self.uriSecretRef) != has(self.connection)",
            holds=lambda d: (d.uri_secret_ref is None) != (d.connection is None),
        ),
    )

    uri_secret_ref: UriSecretRef | None = Field(
        default=None,
        description="The Secret with the URI that the operator and the workers connect by; or "
        "connection, one of the two.",
    )
    connection: Connection | None = Field(
        default=None, description="Where the server is, by fields; or uriSecretRef, one of the two."
    )
    worker_credentials_secret_ref: CredentialsSecretRef | None = Field(
        default=None,
        description="The Secret with the login of the workers, which the migration grants the least "
        "to; without it they use the operator's.",
    )
    operator_uri_secret_ref: UriSecretRef | None = Field(
        default=None,
        description="The Secret with the URI that the operator alone connects by, past a pooler.",
    )
    migration: Literal["Auto", "Manual"] = Field(
        default="Auto",
        description="Who brings the schema to this operator's version: Auto is the operator, Manual "
        "is a person by `towpath db migrate`.",
    )
    retention: Retention | None = Field(
        default=None,
        description="How long ended workflows are kept where their queue does not say; unless set, "
        "`towpath db retention` decides it.",
    )
    pooler: Literal["None", "Transaction"] = Field(
        default="None",
        description="Whether a pooler stands before the server: Transaction means no LISTEN and no "
        "prepared statements, and needs operatorUriSecretRef.",
    )
    connections: Connections | None = Field(
        default=None, description="How many connections the pools may take."
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


class PhaseStatus(Model):
    """How far a phase of the schema's migrations is."""

    state: Literal["Applied", "Pending", "Waits"] | None = Field(
        default=None,
        description="Whether everything of the phase is Applied, something is Pending, or it Waits for "
        "older workers to go.",
    )
    message: str | None = Field(
        default=None, description="What is to be applied, and which workers it waits for."
    )


class SchemaStatus(Model):
    """How far the schema is."""

    version: int | None = Field(default=None, description="The version that the schema has.")
    target: int | None = Field(
        default=None, description="The version that this operator migrates to."
    )
    pre: PhaseStatus | None = Field(
        default=None, description="The migrations that come before new code."
    )
    post: PhaseStatus | None = Field(
        default=None,
        description="The migrations that take away what older code needs, once no worker of it lives.",
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
    plan: PlanLines = None
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
