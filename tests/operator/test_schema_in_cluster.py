"""Schemas that a person migrates, logins that are granted the least, retention: by manifests alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.fixtures.logins import PASSWORD
from tests.operator.running import Api, OperatorProcess, eventually, statuses
from towpath.store.migrate import LIBRARY_SCHEMA_VERSION, migrate
from towpath.store.statements import Statements
from towpath_operator.ports.cluster import QUEUE, QUEUE_DATABASE

SETTINGS_CHANGED = f"SELECT pg_notify('{Statements('towpath').channel}', 'mail,settings')"
"""What whoever changes a setting says: the operator looks at once, not a minute later."""


@pytest.fixture
def owners(empty_database_url: str) -> Iterator[psycopg.Connection]:
    """Return a connection of the server's administrator."""
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        yield connection


def migrated(url: str) -> None:
    """Migrate by hand."""

    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await migrate(connection, "towpath")

    asyncio.run(run())


def test_a_manual_schema_waits_for_a_person_and_is_taken_up_within_seconds(
    api: Api, new_api: Callable[[], Api], empty_database_url: str, database_url: str
) -> None:
    """The command is in the status; nothing is made before; another database is served meanwhile."""
    api.database(empty_database_url, migration="Manual")
    api.queue("mail")
    other = new_api()
    other.database(database_url, migration="Manual")
    other.queue("mail")
    said = api.wait_reason(QUEUE_DATABASE, "default", "SchemaPending")["message"]
    assert "towpath db migrate --schema towpath" in said
    assert api.wait_reason(QUEUE, "mail", "SchemaPending")["message"] == said
    other.wait_ready(QUEUE, "mail")
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT to_regnamespace('towpath')").fetchone() == (None,)
    migrated(empty_database_url)
    api.wait_ready(QUEUE, "mail", seconds=20)
    api.wait_ready(QUEUE_DATABASE, "default")
    assert api.must_get(QUEUE_DATABASE, "default")["status"]["schema"] == {
        "version": LIBRARY_SCHEMA_VERSION,
        "target": LIBRARY_SCHEMA_VERSION,
        "pre": {"state": "Applied"},
        "post": {"state": "Applied"},
    }


def test_the_workers_login_is_granted_the_least_and_keeps_it(
    api: Api, operator: OperatorProcess, empty_database_url: str, owners: psycopg.Connection
) -> None:
    """It is asked for until it is there; what a hand takes from it is given back; no secret is told."""
    role = f"workers_{api.namespace.replace('-', '_')}"
    api.secret("workers", {"username": role, "password": PASSWORD})
    api.database(empty_database_url, workerCredentialsSecretRef={"name": "workers"})
    said = api.wait_reason(QUEUE_DATABASE, "default", "CredentialsRejected")["message"]
    assert f"no role {role}" in said
    api.queue("mail")
    api.wait_ready(QUEUE, "mail")
    owners.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'".encode())
    api.wait_ready(QUEUE_DATABASE, "default", seconds=20)
    assert api.condition(QUEUE_DATABASE, "default", "LeastPrivilege")["status"] == "True"
    allowed = f"SELECT has_table_privilege('{role}', 'towpath.worker', 'INSERT')".encode()
    assert owners.execute(allowed).fetchone() == (True,)
    owners.execute(f"REVOKE INSERT ON towpath.worker FROM {role}".encode())
    owners.execute(SETTINGS_CHANGED.encode())
    eventually(lambda: owners.execute(allowed).fetchone() == (True,), what="the right")
    owners.execute(
        f"ALTER ROLE {role} CREATEROLE; REVOKE INSERT ON towpath.worker FROM {role}".encode()
    )

    def privilege() -> str:
        # No event tells of a role's attributes: each look finds them, and a NOTIFY brings one about.
        owners.execute(SETTINGS_CHANGED.encode())
        return str(api.condition(QUEUE_DATABASE, "default", "LeastPrivilege").get("message", ""))

    eventually(lambda: "may make roles" in privilege(), what="LeastPrivilege")
    assert PASSWORD not in statuses(api) + operator.log_file.read_text("utf-8")


def test_the_default_retention_is_as_declared_whatever_a_hand_makes_of_it(
    api: Api, empty_database_url: str, owners: psycopg.Connection
) -> None:
    """What is declared is put back; what is not declared is left to `towpath db retention`."""
    api.database(empty_database_url, retention={"succeeded": "168h"})
    api.queue("mail")
    api.wait_ready(QUEUE, "mail")

    def kept() -> object:
        return owners.execute(
            "SELECT succeeded::text, failed::text FROM towpath.retention"
        ).fetchone()

    eventually(lambda: kept() == ("7 days", None), what="the retention")
    owners.execute("UPDATE towpath.retention SET succeeded = '1 day', failed = '2 days'")
    owners.execute(SETTINGS_CHANGED.encode())
    eventually(lambda: kept() == ("7 days", "2 days"), what="the retention")
