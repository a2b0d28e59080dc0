"""Checks a database URI before anything connects by it. No message ever holds a part of its value.

The rules keep two promises: what works for the operator works in a pod (no files, no sockets, no
services of one machine), and nothing in the URI changes how Towpath speaks to the server.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

ALLOWED_KEYS: Final = (
    "host",
    "port",
    "dbname",
    "user",
    "password",
    "sslmode",
    "connect_timeout",
    "application_name",
    "target_session_attrs",
    "channel_binding",
)

_OTHER_LIBPQ_KEYS: Final = frozenset(
    [
        "service",
        "servicefile",
        "hostaddr",
        "passfile",
        "require_auth",
        "client_encoding",
        "options",
        "fallback_application_name",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "replication",
        "gssencmode",
        "ssl",
        "sslcompression",
        "sslcert",
        "sslkey",
        "sslpassword",
        "sslcertmode",
        "sslrootcert",
        "sslcrl",
        "sslcrldir",
        "sslsni",
        "sslnegotiation",
        "requirepeer",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "min_protocol_version",
        "max_protocol_version",
        "krbsrvname",
        "gsslib",
        "gssdelegation",
        "load_balance_hosts",
        "scram_client_key",
        "scram_server_key",
        "sslkeylogfile",
        "oauth_issuer",
        "oauth_client_id",
        "oauth_client_secret",
        "oauth_scope",
        "currentschema",
        "schema",
        "pool_timeout",
        "connection_limit",
        "pgbouncer",
    ]
)
"""Keys that are safe to name: any other text may be a piece of a password with a bare ? or & in it."""

MAX_PORT: Final = 65535
_HINT: Final = "percent-encode special characters in the user and the password"


class UriError(ValueError):
    """The text is no database URI that Towpath accepts; the message names the key, never a value."""


def check_uri(text: str) -> str:
    r"""Return the URI without the white space around it, as files and Secrets often have.

    >>> check_uri("postgresql://app:secret@db.example:5432/shop?sslmode=require\n")
    'postgresql://app:secret@db.example:5432/shop?sslmode=require'

    Raises:
        UriError: it cannot be used; the message says why and names the key.
    """
    uri = text.strip()
    match = re.fullmatch(
        r"(?:postgresql|postgres)://([^/?]*)(?:/([^?]*))?(?:\?(.*))?", uri, re.DOTALL
    )
    if match is None:
        raise UriError("it does not begin with postgresql://")
    authority, database, query = match.groups(default="")
    login, _, servers = authority.rpartition("@")
    _check_encoding(login, database)
    parameters = _read_query(query)
    hosts, ports = _split_servers(servers)
    if "host" in parameters:
        hosts = parameters["host"].split(",")
    if "port" in parameters:
        ports = parameters["port"].split(",")
    _check_hosts(hosts)
    _check_ports(ports)
    return uri


def _read_query(query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for part in query.split("&") if query else ():
        raw_key, equals, raw_value = part.partition("=")
        key, value = _decode(raw_key), _decode(raw_value)
        if key in ALLOWED_KEYS and equals:
            parameters[key] = value
        elif key in ALLOWED_KEYS:
            raise UriError(f"key {key} has no value")
        elif key.lower() in _OTHER_LIBPQ_KEYS:
            raise UriError(f"key {key} is not allowed; allowed are {', '.join(ALLOWED_KEYS)}")
        else:
            raise UriError(
                "it has a key that Postgres does not know (not shown, since it may be a piece of a "
                f"password); allowed are {', '.join(ALLOWED_KEYS)}; {_HINT}"
            )
    return parameters


def _split_servers(servers: str) -> tuple[list[str], list[str]]:
    """Split `host:port,host:port`; an IPv6 address stands in brackets."""
    hosts, ports = [], []
    for server in servers.split(","):
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.%a-z]+\]|[^:\[\]]*)(?::(.*))?", server, re.DOTALL)
        if match is None:
            raise UriError(f"key host is no host name; {_HINT}")
        hosts.append(_decode(match[1]))
        ports.append(_decode(match[2] or ""))
    return hosts, ports


def _check_hosts(hosts: list[str]) -> None:
    for host in hosts:
        if not host:
            raise UriError("key host is missing; a socket cannot be reached from a pod")
        if host.startswith(("/", "@")):
            raise UriError("key host is a socket path, which cannot be reached from a pod")
        if not re.fullmatch(r"[0-9A-Za-z._:%\[\]-]+", host):
            raise UriError(f"key host is no host name; {_HINT}")


def _check_ports(ports: list[str]) -> None:
    for port in ports:
        if port and not (re.fullmatch(r"[0-9]{1,5}", port) and 1 <= int(port) <= MAX_PORT):
            raise UriError(f"key port is no number from 1 to 65535; {_HINT}")


def _check_encoding(login: str, database: str) -> None:
    user, _, password = login.partition(":")
    for key, value in (("user", user), ("password", password), ("dbname", database)):
        try:
            _decode(value)
        except UriError:
            raise UriError(f"key {key} is not percent-encoded; {_HINT}") from None
        if re.search(r"[\s\x00]", value):
            raise UriError(f"key {key} holds white space; {_HINT}")


def _decode(text: str) -> str:
    """Decode percent-encoding as strictly as libpq does."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", text) or "%00" in text:
        raise UriError(f"it is not percent-encoded; {_HINT}")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise UriError(f"it is not percent-encoded UTF-8; {_HINT}") from None
