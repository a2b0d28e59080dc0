"""Says in words without secrets why a Postgres database cannot be used."""

from __future__ import annotations

import re
from typing import Final

import psycopg
from psycopg import errors

from towpath.domain.errors import DatabaseUnreachableError, SchemaError, SchemaTooNewError
from towpath_operator.model.conditions import Reason
from towpath_operator.plan.observed import Blocked

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

# libpq keeps no SQLSTATE of a refused login, so its (English) text is what there is to go by.
_REFUSED: Final = re.compile(
    r"authentication failed|no pg_hba\.conf entry|pg_hba\.conf rejects|no password supplied"
    r"|role .* does not exist|is not permitted to log in|permission denied for database"
)
_NO_DATABASE: Final = re.compile(r'database "(?P<name>.*)" does not exist')
_PREFIX: Final = re.compile(r"^(connection failed: |connection to server .* failed: |FATAL: +)+")
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
            message=f"Postgres refuses what the login must do: {_last_line(error)}. Grant it.",
        )
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return _unreachable("the server is read only, as a standby is")
    if isinstance(error, TimeoutError | errors.QueryCanceled):
        return _unreachable("it did not answer within 10 s")
    return _from_text(_last_line(error))


def _from_text(text: str) -> Blocked:
    if _REFUSED.search(text):
        return Blocked(
            reason=Reason.CREDENTIALS_REJECTED,
            message=f"Postgres refuses the login: {text}. Correct the URI in the Secret.",
        )
    missing = _NO_DATABASE.search(text)
    if missing:
        return _unreachable(f"the server has no database {missing['name']!r}; create it")
    return _unreachable(text)


def _unreachable(why: str) -> Blocked:
    return Blocked(
        reason=Reason.DATABASE_UNREACHABLE,
        message=f"Postgres cannot be used: {why}. It is tried again.",
    )


def _last_line(error: BaseException) -> str:
    """Return the last line of an error's text, without the address that it begins with.

    libpq lists each address that it tried, in an order that may change; a message that differs at
    each try would be a status write at each try.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [
        type(error).__name__
    ]
    useful = [line for line in lines if not line.startswith(("DETAIL:", "HINT:", "LINE ", "^"))]
    text = _PREFIX.sub("", (useful or lines)[0] if len(lines) == 1 else (useful or lines)[-1])
    return text.rstrip(".")[:_MESSAGE_LENGTH]
