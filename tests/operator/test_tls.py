"""Each sslmode against a real server with TLS, and one without: it works, or says what to do."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.fixtures.tls import TlsServer, tls_server
from tests.unit.operator.builders import database
from towpath.local.postgres import Server
from towpath.store import certificates
from towpath.store.connect import Endpoint, connect_blocking
from towpath_operator.adapters.postgres import PostgresDatabases
from towpath_operator.plan.observed import Blocked, DatabaseTarget
from towpath_operator.plan.target import make_target
from towpath_operator.render.environment import DATABASE_MOUNT


@pytest.fixture(scope="module")
def server() -> Iterator[TlsServer]:
    """Run a server with TLS."""
    with tls_server() as running:
        yield running


def keys(values: Mapping[str, str]) -> dict[str, Any]:
    """Return a live Secret."""
    return {"data": {k: base64.b64encode(v.encode()).decode() for k, v in values.items()}}


def target(url: str, ssl_mode: str, *, ca: str | None = None, **where: str) -> DatabaseTarget:
    """Return the target of a QueueDatabase that connects by fields."""
    parts = urlsplit(url)
    connection = {
        "host": "127.0.0.1",
        "port": parts.port,
        "database": parts.path.lstrip("/"),
        "sslMode": ssl_mode,
        "credentialsSecretRef": {"name": "login"},
        **where,
    }
    secrets = {"login": keys({"username": parts.username or "", "password": parts.password or ""})}
    if ca is not None:
        connection["caSecretRef"] = {"name": "ca"}
        secrets["ca"] = keys({"ca.crt": ca})
    made = make_target(database(spec={"uriSecretRef": None, "connection": connection}), secrets)
    assert isinstance(made, DatabaseTarget), made
    return made


def problem_of(made: DatabaseTarget) -> Blocked | None:
    """Return what the operator says of a database when it looks at it."""

    async def look() -> Blocked | None:
        databases = PostgresDatabases()
        try:
            seen = await databases.look(made, cluster="here", queue_names=[])
        finally:
            await databases.close()
        return seen.state.problem

    return asyncio.run(look())


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full"])
def test_each_mode_that_may_encrypt_reaches_a_server_with_tls(server: TlsServer, mode: str) -> None:
    ca = server.ca if mode.startswith("verify-") else None
    assert problem_of(target(server.url, mode, ca=ca)) is None


def test_verify_ca_takes_any_name_of_the_server(server: TlsServer) -> None:
    made = target(server.url, "verify-ca", ca=server.ca, host="localhost")
    assert problem_of(made) is None


def test_a_server_that_wants_tls_refuses_mode_disable_and_says_which_mode_it_takes(
    server: TlsServer,
) -> None:
    problem = problem_of(target(server.url, "disable"))
    assert problem is not None
    assert problem.reason == "CredentialsRejected"
    assert "take sslmode require" in problem.message


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_another_ca_verifies_nothing_and_the_fix_names_the_field(
    server: TlsServer, mode: str
) -> None:
    problem = problem_of(target(server.url, mode, ca=server.stranger))
    assert problem is not None
    assert problem.reason == "DatabaseUnreachable"
    assert "connection.caSecretRef" in problem.message


def test_verify_full_refuses_a_certificate_for_another_name(server: TlsServer) -> None:
    problem = problem_of(target(server.url, "verify-full", ca=server.ca, host="localhost"))
    assert problem is not None
    assert problem.reason == "DatabaseUnreachable"
    assert 'does not match host name "localhost"' in problem.message
    assert "verify-ca" in problem.message


def test_a_wrong_password_is_told_from_the_second_try_without_tls(server: TlsServer) -> None:
    parts = urlsplit(server.url)
    wrong = server.url.replace(f":{parts.password}@", ":hunter2@")
    problem = problem_of(target(wrong, "prefer"))
    assert problem is not None
    assert problem.reason == "CredentialsRejected"
    assert "Correct the login" in problem.message
    assert "hunter2" not in problem.message


@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_a_server_without_tls_is_said_to_have_none(
    postgres_server: Server, server: TlsServer, mode: str
) -> None:
    ca = server.ca if mode == "verify-full" else None
    problem = problem_of(target(postgres_server.url, mode, ca=ca))
    assert problem is not None
    assert problem.reason == "DatabaseUnreachable"
    assert "no TLS" in problem.message


def test_a_server_without_tls_is_reached_by_modes_that_need_none(postgres_server: Server) -> None:
    for mode in ("disable", "prefer"):
        assert problem_of(target(postgres_server.url, mode)) is None


def test_verify_full_without_a_ca_trusts_the_systems_certificates(
    server: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheels' OpenSSL looks for them where no system has them; the system's own are found."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    made = target(server.url, "verify-full")
    bundle = tmp_path / "bundle.crt"
    bundle.write_text(server.stranger)
    monkeypatch.setattr(certificates, "PLACES", (str(tmp_path / "none"), str(bundle)))
    problem = problem_of(made)
    assert problem is not None
    assert "certificate" in problem.message
    bundle.write_text(server.ca)
    assert problem_of(made) is None


def test_a_pod_verifies_the_server_by_the_file_beside_its_uri(
    server: TlsServer, tmp_path: Path
) -> None:
    made = target(server.url, "verify-full", ca=server.ca)
    endpoint = Endpoint(lambda: made.pods_uri.replace(DATABASE_MOUNT, str(tmp_path)))
    assert made.ca is not None
    (tmp_path / "ca.crt").write_text(made.ca)
    with connect_blocking(endpoint, psycopg.Connection) as connection:
        query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert connection.execute(query).fetchone() == (True,)
