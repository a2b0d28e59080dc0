"""Makes a database's target from what its QueueDatabase says and what the Secrets that it names hold.

Each problem is a `Blocked` that names the Secret and the key and says what to do; none holds a value.
"""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from towpath_operator.model.conditions import Reason
from towpath_operator.model.database import (
    CaSecretRef,
    Connection,
    CredentialsSecretRef,
    QueueDatabase,
    UriSecretRef,
)
from towpath_operator.model.uri import UriError, check_uri
from towpath_operator.model.uri_parts import SYSTEM, DatabaseUri, servers_of
from towpath_operator.plan.observed import Blocked, DatabaseTarget
from towpath_operator.ports.cluster import Manifest, ObjectKey
from towpath_operator.render.environment import CA_FILE, DATABASE_MOUNT

TRANSACTION: Final = "Transaction"
_PRIVATE_KEY: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")

Secrets = Mapping[str, Manifest | Blocked | None]
"""The Secrets by name; None is one that does not exist, Blocked one that may not be read."""


class _ProblemError(Exception):
    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.blocked = Blocked(reason=reason, message=message)


def secret_names(database: QueueDatabase) -> tuple[str, ...]:
    """Return the names of the Secrets that a database's target is made from."""
    spec = database.spec
    connection = spec.connection
    references = (
        spec.uri_secret_ref,
        spec.operator_uri_secret_ref,
        spec.worker_credentials_secret_ref,
        None if connection is None else connection.credentials_secret_ref,
        None if connection is None else connection.ca_secret_ref,
    )
    return tuple(dict.fromkeys(one.name for one in references if one is not None))


def unreadable(key: ObjectKey) -> Blocked:
    """Say that the cluster does not let us read a Secret."""
    return Blocked(
        reason=Reason.SECRET_NOT_FOUND,
        message=f"Secret {key} may not be read by the operator. Grant its service account the verb get "
        f"on Secrets of namespace {key.namespace}.",
    )


def make_target(database: QueueDatabase, secrets: Secrets) -> DatabaseTarget | Blocked:
    """Return where the operator and the workers connect, or what stands in the way."""
    try:
        return _make_target(database, _Reader(database.metadata.namespace, secrets))
    except _ProblemError as problem:
        return problem.blocked


def _make_target(database: QueueDatabase, reader: _Reader) -> DatabaseTarget:
    spec = database.spec
    pooled = spec.pooler == TRANSACTION
    if pooled and spec.operator_uri_secret_ref is None:
        raise _ProblemError(
            Reason.POOLER_WITHOUT_DIRECT,
            "pooler is Transaction, through which the operator can neither listen nor migrate. Name a "
            "Secret with a URI to the server itself in operatorUriSecretRef.",
        )
    ca = None
    if spec.connection is not None and spec.connection.ca_secret_ref is not None:
        ca = reader.certificates(spec.connection.ca_secret_ref)
    workers = operators = _shared_uri(database, reader)
    if spec.operator_uri_secret_ref is not None:
        operators = reader.uri(spec.operator_uri_secret_ref, ca)
    if spec.worker_credentials_secret_ref is not None:
        workers = workers.with_login(*reader.login(spec.worker_credentials_secret_ref))
    ours = str(operators if ca is not None else _verifying(operators, SYSTEM))
    theirs = str(_verifying(workers, SYSTEM if ca is None else f"{DATABASE_MOUNT}/{CA_FILE}"))
    return DatabaseTarget(
        key=database.metadata.key,
        schema=spec.schema_name,
        uri=ours,
        workers_uri=None if theirs == ours else theirs,
        worker_role=None if workers.user == operators.user else workers.user,
        ca=ca,
        migration=spec.migration,
        pooled=pooled,
        connections_per_pod=spec.connections.per_pod if spec.connections is not None else None,
    )


def _shared_uri(database: QueueDatabase, reader: _Reader) -> DatabaseUri:
    """Return what both connect by, unless the one or the other has something of its own."""
    if database.spec.uri_secret_ref is not None:
        return reader.uri(database.spec.uri_secret_ref)
    connection = database.spec.connection
    assert connection is not None  # noqa: S101 - one of the two, by the CRD
    user, password = reader.login(connection.credentials_secret_ref)
    return _uri_of(connection).with_login(user, password)


def _uri_of(connection: Connection) -> DatabaseUri:
    return DatabaseUri(
        servers=servers_of(connection.host, connection.port),
        database=connection.database,
        parameters={"sslmode": connection.ssl_mode},
    )


def _verifying(uri: DatabaseUri, certificates: str) -> DatabaseUri:
    """Say what the server's certificate is verified by: libpq by itself looks into a home directory."""
    return uri.trusting(certificates) if uri.ssl_mode.startswith("verify-") else uri


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads keys of Secrets; every problem is a `_ProblemError` that names the key."""

    namespace: str
    secrets: Secrets

    def uri(self, reference: UriSecretRef, ca: str | None = None) -> DatabaseUri:
        what = "a database URI, postgresql://user:password@host:port/database"
        value = self._text(reference.name, reference.key, what)
        try:
            uri = DatabaseUri.parse(check_uri(value))
        except UriError as error:
            raise self._invalid(
                reference.name, reference.key, f"no usable database URI: {error}"
            ) from None
        if uri.ssl_mode == "verify-ca" and ca is None:
            raise self._invalid(
                reference.name,
                reference.key,
                "sslmode verify-ca without a CA; take verify-full, or connection with caSecretRef",
            )
        return uri

    def login(self, reference: CredentialsSecretRef) -> tuple[str, str]:
        user = self._text(reference.name, reference.username_key, "the login's name").strip()
        password = self._text(reference.name, reference.password_key, "the login's password")
        return user, password

    def certificates(self, reference: CaSecretRef) -> str:
        name, key = reference.name, reference.key
        value = self._text(name, key, "the CA's certificates in PEM")
        if _PRIVATE_KEY.search(value):
            raise self._invalid(name, key, "a private key, which no worker may have; take it out")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=value)
        except (ssl.SSLError, ValueError):
            raise self._invalid(name, key, "no certificates in PEM that can be read") from None
        return f"{value}\n"

    def _text(self, name: str, key: str, what: str) -> str:
        """Return a value without the line ends behind it, which files and editors leave."""
        secret = self.secrets.get(name)
        place = f"Secret {self.namespace}/{name}"
        if isinstance(secret, Blocked):
            raise _ProblemError(secret.reason, secret.message)
        if secret is None:
            raise _ProblemError(
                Reason.SECRET_NOT_FOUND,
                f"{place} does not exist. Make it with {what} under key {key}.",
            )
        encoded = (secret.get("data") or {}).get(key)
        try:
            value = base64.b64decode(encoded or "", validate=True).decode().rstrip("\r\n")
        except (binascii.Error, UnicodeDecodeError):
            raise self._invalid(name, key, f"no text; it must be {what}") from None
        if not value.strip():
            raise _ProblemError(
                Reason.SECRET_KEY_MISSING,
                f"{place} has no value under key {key}. Add {what} there.",
            )
        if "\x00" in value:
            raise self._invalid(name, key, f"a NUL byte; it must be {what}")
        return value

    def _invalid(self, name: str, key: str, why: str) -> _ProblemError:
        return _ProblemError(
            Reason.SECRET_INVALID, f"Secret {self.namespace}/{name}, key {key}, holds {why}."
        )
