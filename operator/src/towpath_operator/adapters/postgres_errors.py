"""Says in words without secrets why a Postgres database cannot be used."""

from __future__ import annotations

import re
from typing import Final

import psycopg
from psycopg import errors

from towpath.domain.errors import DatabaseUnreachableError, SchemaError, SchemaTooNewError
from towpath_operator.model.conditions import Reason
from towpath_operator.plan.observed import Blocked

_CANNOT: Final = "Postgres cannot be used"

EXPECTED: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.InsufficientPrivilege,
    errors.ReadOnlySqlTransaction,
    DatabaseUnreachableError,
    SchemaError,
    TimeoutError,
    OSError,
)
"""What a call may raise without a bug of ours."""

_REFUSED: Final = (
    r"authentication failed|no password supplied|role .* does not exist"
    r"|is not permitted to log in|permission denied for database"
)
_LOGIN: Final = "Correct the login in the Secret"
_ADMIT: Final = "Let it in by the server's pg_hba.conf; if that asks for TLS, take sslmode require"
_TRUST: Final = (
    "its certificate has run out, or is signed by none that is trusted. Put the certificates of its CA "
    "into the Secret that connection.caSecretRef names"
)
_RENAME: Final = "Connect by a name that its certificate has, or take sslmode verify-ca"
_PLAIN: Final = (
    "the server has no TLS, which sslmode asks for. Turn it on in the server (ssl = on), or take "
    "sslmode prefer"
)
_FULL: Final = "Raise its max_connections, or lower connections.max and connections.perPod"

# libpq keeps no SQLSTATE of a refused connection, so its (English) text is what there is to go by. With
# sslmode prefer it tries twice, and the second try may hide what the first one met: the order counts.
_KNOWN: Final = tuple(
    (re.compile(pattern), reason, words)
    for pattern, reason, words in (
        (
            _REFUSED,
            Reason.CREDENTIALS_REJECTED,
            f"Postgres refuses the login: {{found}}. {_LOGIN}.",
        ),
        (r"certificate verify failed", Reason.DATABASE_UNREACHABLE, f"{_CANNOT}: {_TRUST}."),
        (
            r"certificate for .* does not match",
            Reason.DATABASE_UNREACHABLE,
            f"{_CANNOT}: {{found}}. {_RENAME}.",
        ),
        (r"does not support SSL", Reason.DATABASE_UNREACHABLE, f"{_CANNOT}: {_PLAIN}."),
        (
            r"no pg_hba\.conf entry|pg_hba\.conf rejects",
            Reason.CREDENTIALS_REJECTED,
            f"Postgres refuses the login: {{found}}. {_ADMIT}.",
        ),
        (
            r"too many clients|too many connections|connection slots are reserved",
            Reason.DATABASE_UNREACHABLE,
            f"{_CANNOT}: {{found}}. {_FULL}.",
        ),
        (
            r'database ".*" does not exist',
            Reason.DATABASE_UNREACHABLE,
            f"{_CANNOT}: {{found}}. Create it, or name another.",
        ),
        (
            r"failed to resolve host|Name or service not known",
            Reason.DATABASE_UNREACHABLE,
            f"{_CANNOT}: {{found}}. Correct the host, or wait until it has a name.",
        ),
    )
)
_ATTEMPT: Final = re.compile(
    r'(?:connection (?:failed|is bad): +)*connection to server (?:at|on) "[^"]*"(?: \([^)]*\))?'
    r"(?:, port \d+)? failed: +|\bFATAL: +|connection (?:failed|is bad): +"
)
_MESSAGE_LENGTH: Final = 300


def blocked_by(error: BaseException) -> Blocked:
    """Return what stands in the way of the one that met this error."""
    if isinstance(error, SchemaTooNewError):
        return Blocked(reason=Reason.SCHEMA_TOO_NEW, message=str(error))
    if isinstance(error, SchemaError):
        return Blocked(reason=Reason.SCHEMA_PENDING, message=str(error))
    if isinstance(error, errors.InsufficientPrivilege):
        return Blocked(
            reason=Reason.CREDENTIALS_REJECTED,
            message=f"Postgres refuses what the login must do: {_text_of(error)[:_MESSAGE_LENGTH]}. "
            "Grant it to the operator's login.",
        )
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return _unreachable("the server is read only, as a standby is")
    if isinstance(error, TimeoutError | errors.QueryCanceled):
        return _unreachable("it did not answer within 10 s")
    return _from_text(_text_of(error))


def _from_text(text: str) -> Blocked:
    attempts = _attempts(text)
    for pattern, reason, words in _KNOWN:
        for attempt in attempts:
            if pattern.search(attempt):
                return Blocked(reason=reason, message=words.format(found=attempt))
    return _unreachable(attempts[-1])


def _unreachable(why: str) -> Blocked:
    return Blocked(
        reason=Reason.DATABASE_UNREACHABLE, message=f"{_CANNOT}: {why}. It is tried again."
    )


def _text_of(error: BaseException) -> str:
    """Return an error's text in one line, without what only explains it."""
    if isinstance(error, DatabaseUnreachableError):
        return error.reason
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    useful = [line for line in lines if not line.startswith(("DETAIL:", "HINT:", "LINE ", "^"))]
    return " ".join(useful or lines) or type(error).__name__


def _attempts(text: str) -> list[str]:
    """Return what each attempt met, without the address that it was made at.

    libpq tries each address, in an order that may change; a message that differs at each try would be
    a status write at each try.
    """
    first, _, _ = text.partition(" Multiple connection attempts failed")
    found = [part.strip(" .")[:_MESSAGE_LENGTH] for part in _ATTEMPT.split(first)]
    return [part for part in found if part] or [first[:_MESSAGE_LENGTH]]
