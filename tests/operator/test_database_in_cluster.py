"""Databases that are down, wrong, late, slow or new: conditions with reasons, and no secret anywhere."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from tests.operator.running import Api, OperatorProcess, eventually, statuses
from towpath_operator.ports.cluster import QUEUE, QUEUE_DATABASE, WORKER_POOL

PASSWORD = "never-to-be-seen-0xC0FFEE"  # noqa: S105 - what must not show up anywhere


def with_password(url: str, password: str) -> str:
    """Return the URL with another password."""
    parts = urlsplit(url)
    place = f"{parts.username}:{password}@{parts.hostname}:{parts.port}"
    return parts._replace(netloc=place).geturl()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Return the URI of a server that accepts connections and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        yield f"postgresql://towpath:{PASSWORD}@127.0.0.1:{port}/towpath"


def free_port() -> int:
    """Return a port on which nothing listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("no secret", "SecretNotFound"),
        ("no key", "SecretKeyMissing"),
        ("no uri", "SecretInvalid"),
        ("forbidden key", "SecretInvalid"),
        ("wrong password", "CredentialsRejected"),
        ("no such database", "DatabaseUnreachable"),
        ("nobody listens", "DatabaseUnreachable"),
    ],
)
def test_what_is_wrong_with_a_database_is_a_reason_and_a_correction_brings_all_into_force(
    case: str, reason: str, api: Api, operator: OperatorProcess, empty_database_url: str
) -> None:
    """The QueueDatabase and the Queue name the reason; neither tells a secret; both recover."""
    wrong = {
        "no secret": None,
        "no key": {"other": empty_database_url},
        "no uri": {"uri": f"towpath:{PASSWORD}@:::nowhere"},
        "forbidden key": {"uri": f"{empty_database_url}?passfile={PASSWORD}"},
        "wrong password": {"uri": with_password(empty_database_url, PASSWORD)},
        "no such database": {"uri": empty_database_url.rpartition("/")[0] + "/nowhere"},
        "nobody listens": {"uri": f"postgresql://towpath:{PASSWORD}@127.0.0.1:{free_port()}/x"},
    }[case]
    if wrong is not None:
        api.secret("database", wrong)
    api.create(QUEUE_DATABASE, "default", {"uriSecretRef": {"name": "database"}})
    api.queue("mail", concurrency={"global": 2})
    api.wait_reason(QUEUE_DATABASE, "default", reason)
    message = api.wait_reason(QUEUE, "mail", reason)["message"]
    assert message
    assert PASSWORD not in statuses(api) + operator.log_file.read_text("utf-8")
    api.secret("database", {"uri": empty_database_url})
    api.wait_ready(QUEUE, "mail", seconds=20)
    api.wait_ready(QUEUE_DATABASE, "default")


def test_a_schema_that_no_longer_serves_this_operator_is_left_alone(
    api: Api, database_url: str
) -> None:
    """SchemaTooNew on the database and on its queues; nothing is written."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE towpath.schema_version SET version = 99, serves_from = 98")
    api.database(database_url)
    api.queue("mail")
    api.wait_reason(QUEUE_DATABASE, "default", "SchemaTooNew")
    api.wait_reason(QUEUE, "mail", "SchemaTooNew")
    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT name FROM towpath.queue WHERE name = 'mail'").fetchall()
    assert found == []


def test_a_server_that_does_not_answer_delays_no_other_database(
    new_api: Callable[[], Api], api: Api, silent_server: str, empty_database_url: str
) -> None:
    """Many queues of a silent server stand beside one of a good server, which is Ready at once."""
    stuck = new_api()
    stuck.database(silent_server)
    for number in range(40):
        stuck.queue(f"stuck-{number}")
    api.database(empty_database_url)
    api.queue("mail")
    api.wait_ready(QUEUE, "mail", seconds=8)
    stuck.wait_reason(QUEUE, "stuck-39", "DatabaseUnreachable", seconds=60)


def test_connections_that_postgres_ends_are_made_again_without_a_trace(
    api: Api, empty_database_url: str
) -> None:
    """A restart of Postgres between two looks is nobody's trouble, and NOTIFY is heard again."""
    api.database(empty_database_url)
    pool = {
        "application": "shop.workflows",
        "autoscaling": {"min": 0},
        "template": {"spec": {"containers": [{"name": "worker", "image": "registry.invalid/x:1"}]}},
    }
    api.queue("mail", workers=pool)
    api.wait_ready(QUEUE, "mail")
    since = api.condition(QUEUE, "mail")["lastTransitionTime"]
    end_all = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name = 'towpath-operator' AND datname = current_database()"
    )
    listening = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'towpath-operator'"
        " AND datname = current_database() AND query LIKE 'LISTEN%'"
    )
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        assert connection.execute(end_all).fetchone() != (0,)
        api.merge(QUEUE, "mail", {"spec": {"concurrency": {"global": 3}}})
        limit = "SELECT concurrency_global FROM towpath.queue WHERE name = 'mail'"
        eventually(lambda: connection.execute(limit).fetchone() == (3,))
        eventually(lambda: connection.execute(listening).fetchone() == (1,))
    api.wait_ready(QUEUE, "mail")
    assert api.condition(QUEUE, "mail")["lastTransitionTime"] == since
    assert api.condition(WORKER_POOL, "mail")["status"] == "True"


def test_a_database_of_another_namespace_must_be_granted(
    new_api: Callable[[], Api], api: Api, empty_database_url: str
) -> None:
    """DatabaseNotGranted until its owner lists the namespace; the grant is noticed at once."""
    owner = new_api()
    owner.database(empty_database_url)
    owner.wait_ready(QUEUE_DATABASE, "default")
    reference = {"name": "default", "namespace": owner.namespace}
    api.queue("mail", databaseRef=reference)
    api.wait_reason(QUEUE, "mail", "DatabaseNotGranted")
    grant = {"spec": {"allowedNamespaces": [api.namespace]}}
    owner.merge(QUEUE_DATABASE, "default", grant)
    api.wait_ready(QUEUE, "mail", seconds=5)


def test_a_row_that_code_declared_becomes_the_manifests_and_keeps_its_work(
    api: Api, database_url: str
) -> None:
    """The manifest's limits replace code's; the row's workflows stay."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("INSERT INTO towpath.queue (name, concurrency_global) VALUES ('mail', 9)")
        )
    api.database(database_url)
    api.queue("mail", concurrency={"global": 2, "perWorker": 1})
    api.wait_ready(QUEUE, "mail")
    row = (
        "SELECT concurrency_global, concurrency_per_worker, owner_name, revision FROM towpath.queue"
    )
    with psycopg.connect(database_url) as connection:
        found = connection.execute(row + " WHERE name = 'mail'").fetchone()
    assert found == (2, 1, "mail", 2)
