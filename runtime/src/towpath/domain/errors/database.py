"""The database, its schema, and ports."""

from __future__ import annotations

from towpath.domain.errors.base import TowpathError


class DatabaseUnreachableError(TowpathError):
    """Postgres cannot be reached; `reason` never holds a password."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(f"the database cannot be reached: {reason}. Try: towpath db status")
        self.reason = reason


class ShutDownError(TowpathError):
    """The App was shut down while a call waited; what it waited for goes on."""

    def __init__(self) -> None:
        super().__init__(
            "shutdown() was called while this call waited; what it waited for goes on. "
            "Ask again with another App or Client: retrieve_workflow(workflow_id)."
        )


class PortInUseError(TowpathError):
    """The port of the probes cannot be had."""

    def __init__(self, *, port: int, reason: str) -> None:
        super().__init__(
            f"cannot listen on port {port}: {reason}. Set TOWPATH_HTTP_PORT to a free port, or unset it."
        )
        self.port = port
        self.reason = reason


class SchemaError(TowpathError):
    """The schema is missing, or older or newer than this library serves."""

    def __init__(self, *, schema: str, reason: str, next_step: str) -> None:
        super().__init__(f"schema {schema!r}: {reason}. {next_step}")
        self.schema = schema
        self.reason = reason


class SchemaMissingError(SchemaError):
    """The schema, or its tables, do not exist."""

    def __init__(self, *, schema: str) -> None:
        super().__init__(
            schema=schema, reason="it is not there", next_step="Try: towpath db migrate"
        )


class SchemaNotGrantedError(SchemaError):
    """This login may not use the schema."""

    def __init__(self, *, schema: str, role: str) -> None:
        super().__init__(
            schema=schema,
            reason=f"role {role!r} may not use it",
            next_step=f"As its owner: towpath db grants --schema {schema} --role {role} --apply",
        )
        self.role = role


class SchemaOlderError(SchemaError):
    """The schema is older than this library needs."""

    def __init__(self, *, schema: str, found: int, needed: int) -> None:
        super().__init__(
            schema=schema,
            reason=f"it has version {found}, this library needs {needed}",
            next_step="Try: towpath db migrate",
        )
        self.found = found
        self.needed = needed


class SchemaTooNewError(SchemaError):
    """The schema no longer serves a library this old."""

    def __init__(self, *, schema: str, serves_from: int, library: int) -> None:
        super().__init__(
            schema=schema,
            reason=f"it serves libraries from schema version {serves_from} on, this one has {library}",
            next_step="Upgrade the towpath package",
        )
        self.serves_from = serves_from
        self.library = library


class RoleNotFoundError(TowpathError):
    """Postgres has no login of the name that rights are to be granted to."""

    def __init__(self, *, role: str) -> None:
        super().__init__(
            f"Postgres has no role {role!r}. Have it made by whoever administers the server: "
            "CREATE ROLE ... LOGIN PASSWORD ..."
        )
        self.role = role


class GrantRefusedError(TowpathError):
    """Whoever connected may not grant rights in the schema, since another role owns it."""

    def __init__(self, *, schema: str, role: str) -> None:
        super().__init__(
            f"this login may not grant rights in schema {schema!r}, which another role owns. As its "
            f"owner: towpath db grants --schema {schema} --role {role} --apply"
        )
        self.schema = schema
        self.role = role
