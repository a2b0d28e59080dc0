"""Takes a database URI that `check_uri` has let pass apart, and makes others of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

SSL_ROOT: Final = "sslrootcert"
SYSTEM: Final = "system"
"""What sslrootcert says where the system's own certificates are to be trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseUri:
    """The parts of a URI, decoded but for `servers`. No password shows in a repr.

    Attributes:
        servers: The hosts and ports as they were written.
        database: The database's name; empty where it is the login's.
        user: The login's name; None where the URI has none.
        password: The login's password; None where the URI has none.
        parameters: What stands behind the question mark, without user and password.
    """

    servers: str
    database: str = ""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, uri: str) -> DatabaseUri:
        """Read a checked URI; a parameter beats the part in front, as in libpq."""
        match = re.fullmatch(r"[a-z]+://([^/?]*)(?:/([^?]*))?(?:\?(.*))?", uri, re.DOTALL)
        assert match is not None  # noqa: S101 - it was checked
        authority, database, query = match.groups(default="")
        login, at, servers = authority.rpartition("@")
        user, colon, password = login.partition(":")
        # libpq knows no plus sign for a space, and neither may a password with one be changed.
        parameters = dict(parse_qsl(query.replace("+", "%2B"), keep_blank_values=True))
        return cls(
            servers=servers,
            database=unquote(database),
            user=parameters.pop("user", unquote(user) if at else None),
            password=parameters.pop("password", unquote(password) if colon else None),
            parameters=parameters,
        )

    @property
    def ssl_mode(self) -> str:
        """The sslmode, libpq's default where it is not there."""
        return self.parameters.get("sslmode", "prefer")

    @property
    def place(self) -> tuple[str, str, str]:
        """What tells one database from another, whoever logs in."""
        parameters = self.parameters
        hosts = parameters.get("host") or re.sub(r":\d+(?=,|$)", "", self.servers)
        ports = parameters.get("port") or ",".join(
            (re.search(r":(\d+)$", server) or ["", "5432"])[1] for server in self.servers.split(",")
        )
        return hosts, ports, parameters.get("dbname") or self.database or self.user or ""

    def with_login(self, user: str, password: str) -> DatabaseUri:
        """Return the same for another login."""
        return replace(self, user=user, password=password)

    def trusting(self, certificates: str) -> DatabaseUri:
        """Return the same with the file of the certificates that the server's is verified by."""
        return replace(self, parameters={**self.parameters, SSL_ROOT: certificates})

    def __str__(self) -> str:
        """Write the URI, with its password."""
        login = "" if self.user is None else quote(self.user, safe="")
        if self.password is not None:
            login += f":{quote(self.password, safe='')}"
        at = "@" if login else ""
        query = urlencode(self.parameters, quote_via=quote, safe="/")
        text = f"postgresql://{login}{at}{self.servers}/{quote(self.database, safe='')}"
        return f"{text}?{query}" if query else text


def servers_of(host: str, port: int) -> str:
    """Write a host and a port; an IPv6 address stands in brackets.

    >>> servers_of("fd00::1", 5432)
    '[fd00::1]:5432'
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
