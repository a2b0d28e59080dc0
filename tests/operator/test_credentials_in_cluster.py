"""Logins of a database: the operator's and the workers', rotated, behind a pooler, taken back.

The worker is a real process that reads the pool's Secret from a file, as a pod does from its mount.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from psycopg import sql

from tests.fixtures.workers import worker_processes
from tests.operator.running import Api, OperatorProcess, eventually, statuses
from towpath import Client, WorkflowStatus
from towpath_operator.ports.cluster import DEPLOYMENT, QUEUE, QUEUE_DATABASE, SECRET, WORKER_POOL

APPLICATIONS = Path(__file__).parents[1] / "executor" / "applications"
FIRST, SECOND = "f1rst-%-@-never-seen", "s3cond-%-@-never-seen"
WORKERS = {
    "application": "deeds",
    "autoscaling": {"min": 0},
    "template": {"spec": {"containers": [{"name": "worker", "image": "registry.invalid/x:1"}]}},
}


@dataclass(frozen=True)
class Login:
    """A role of the test's own, and where it logs in."""

    admin_url: str
    role: str

    def set_password(self, password: str) -> None:
        """Give the role another password."""
        self.execute("ALTER ROLE {} PASSWORD {}", sql.Identifier(self.role), sql.Literal(password))

    def end_connections(self) -> int:
        """End every connection of the role."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            query = (
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = %s"
            )
            row = connection.execute(query, [self.role]).fetchone()
        assert row is not None
        return int(row[0])

    def execute(self, statement: str, *parts: sql.Composable) -> None:
        """Run a statement as the administrator."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*parts))

    def url(self, password: str) -> str:
        """Return the URL by which the role logs in."""
        parts = urlsplit(self.admin_url)
        place = f"{quote(self.role)}:{quote(password, safe='')}@{parts.hostname}:{parts.port}"
        return parts._replace(netloc=place).geturl()


@contextmanager
def login(admin_url: str, name: str, *grants: str) -> Iterator[Login]:
    """Make a role that may log in, and drop it."""
    database = urlsplit(admin_url).path.lstrip("/")
    made = Login(admin_url, f"{name}_{database}")
    role = sql.Identifier(made.role)
    made.execute("CREATE ROLE {} LOGIN PASSWORD {}", role, sql.Literal(FIRST))
    for grant in grants:
        made.execute(grant, role, sql.Identifier(database))
    try:
        yield made
    finally:
        made.execute("REASSIGN OWNED BY {} TO CURRENT_USER", role)
        made.execute("DROP OWNED BY {}", role)
        made.execute("DROP ROLE {}", role)


@pytest.fixture
def owner(empty_database_url: str) -> Iterator[Login]:
    """Return a login that may make a schema, as the operator's must."""
    with login(empty_database_url, "owner", "GRANT CREATE ON DATABASE {1} TO {0}") as made:
        yield made


@pytest.fixture
def worker(empty_database_url: str) -> Iterator[Login]:
    """Return a login that may do nothing of itself."""
    with login(empty_database_url, "worker") as made:
        yield made


def connection(login: Login, **other: Any) -> dict[str, Any]:
    """Return the fields that lead to a login's server."""
    parts = urlsplit(login.admin_url)
    return {
        "host": parts.hostname,
        "port": parts.port,
        "database": parts.path.lstrip("/"),
        "credentialsSecretRef": {"name": "login"},
        **other,
    }


def credentials(login: Login, password: str) -> dict[str, str]:
    """Return the data of a login's Secret, as `kubectl create --from-file` makes it."""
    return {"username": login.role, "password": f"{password}\n"}


def pools_uri(api: Api) -> str:
    """Return what the pool's Secret tells the pods."""
    data: Mapping[str, str] = api.must_get(SECRET, "deeds-database")["data"]
    return base64.b64decode(data["uri"]).decode()


@contextmanager
def mounted(api: Api, file: Path) -> Iterator[None]:
    """Keep a file as the pool's Secret says, as the kubelet keeps a mount."""
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(0.1):
            if file.read_text() != (told := pools_uri(api)):
                new = file.with_suffix(".new")
                new.write_text(told)
                new.rename(file)

    file.write_text(pools_uri(api))
    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def assert_unseen(api: Api, operator: OperatorProcess, *more: str) -> None:
    """Look for the passwords in everything that the operator says, in any encoding of a URI."""
    said = statuses(api) + operator.log_file.read_text("utf-8") + "".join(more)
    for password in (FIRST, SECOND):
        for form in (
            password,
            quote(password, safe=""),
            base64.b64encode(password.encode()).decode(),
        ):
            assert form not in said


def test_a_rotated_password_loses_no_workflow_and_restarts_no_worker(
    api: Api, operator: OperatorProcess, owner: Login, worker: Login, tmp_path: Path
) -> None:
    """Both logins are rotated while workflows run, and every connection is ended at once."""
    api.secret("login", credentials(owner, FIRST))
    api.secret("worker", credentials(worker, FIRST))
    spec = {"connection": connection(owner), "workerCredentialsSecretRef": {"name": "worker"}}
    api.create(QUEUE_DATABASE, "default", spec)
    api.queue("deeds", workers=WORKERS)
    api.wait_ready(QUEUE, "deeds")
    least = api.condition(QUEUE_DATABASE, "default", "LeastPrivilege")
    assert (least["status"], worker.role in least["message"]) == ("True", True)
    assert pools_uri(api).partition("?")[0] == worker.url(FIRST)
    file = tmp_path / "uri"
    environ = {
        "TOWPATH_DATABASE_URL_FILE": str(file),
        "TOWPATH_MIGRATE": "0",
        "TEST_FOLDER": str(tmp_path),
    }
    with (
        mounted(api, file),
        worker_processes(1, "deeds", APPLICATIONS, environ, tmp_path) as (process,),
        Client(owner.admin_url) as client,
    ):
        held = client.enqueue("deeds", "hold_twice")
        eventually((tmp_path / "first.began").exists)
        for login, name in ((worker, "worker"), (owner, "login")):
            login.set_password(SECOND)
            api.secret(name, credentials(login, SECOND))
        assert worker.end_connections() > 0
        assert owner.end_connections() > 0
        meanwhile = [client.enqueue("deeds", "greet", f"{number}") for number in range(20)]
        eventually(lambda: pools_uri(api).partition("?")[0] == worker.url(SECOND), seconds=15)
        (tmp_path / "first.go").touch()
        (tmp_path / "second.go").touch()
        assert held.get_result(30) == ["first", "second"]
        for number, handle in enumerate(meanwhile):
            assert handle.get_result(30) == f"hello {number}"
        assert process.process.poll() is None
        assert held.get_status().status is WorkflowStatus.SUCCESS
    assert (tmp_path / "first.began").read_text() == "x\n"
    api.wait_ready(QUEUE_DATABASE, "default")
    assert_unseen(api, operator, process.log.read_text())


def test_a_refused_login_is_said_without_the_password_and_mended_within_seconds(
    api: Api, operator: OperatorProcess, owner: Login
) -> None:
    """The database refuses what the Secret still says; the Secret's change is all that is needed."""
    api.secret("login", credentials(owner, SECOND))
    api.create(QUEUE_DATABASE, "default", {"connection": connection(owner)})
    api.queue("deeds", workers=WORKERS)
    refused = api.wait_reason(QUEUE, "deeds", "CredentialsRejected")
    assert owner.role in refused["message"]
    assert_unseen(api, operator)
    api.secret("login", credentials(owner, FIRST))
    api.wait_ready(QUEUE, "deeds", seconds=12)
    shared = api.condition(QUEUE_DATABASE, "default", "LeastPrivilege")
    assert (shared["status"], shared["reason"]) == ("False", "SharedLogin")


def test_behind_a_pooler_pods_poll_and_the_operator_goes_past_it(
    api: Api, operator: OperatorProcess, owner: Login
) -> None:
    """PoolerWithoutDirect until a URI to the server itself is there; the pods keep the pooler's."""
    api.secret("login", credentials(owner, FIRST))
    behind = connection(owner, host="pooler.invalid")
    api.create(QUEUE_DATABASE, "default", {"connection": behind, "pooler": "Transaction"})
    api.queue("deeds", workers=WORKERS)
    missing = api.wait_reason(QUEUE, "deeds", "PoolerWithoutDirect")
    assert "operatorUriSecretRef" in missing["message"]
    api.secret("direct", {"uri": owner.url(FIRST)})
    direct = {"operatorUriSecretRef": {"name": "direct"}, "connections": {"perPod": 8}}
    api.merge(QUEUE_DATABASE, "default", {"spec": direct})
    api.wait_ready(QUEUE, "deeds")
    assert urlsplit(pools_uri(api)).hostname == "pooler.invalid"
    (container,) = api.must_get(DEPLOYMENT, "deeds")["spec"]["template"]["spec"]["containers"]
    variables = {one["name"]: one.get("value") for one in container["env"]}
    assert variables["TOWPATH_LISTEN"] == "0"
    assert variables["TOWPATH_MAX_CONNECTIONS"] == "8"
    assert_unseen(api, operator)


def test_a_grant_that_is_taken_back_stops_nothing_and_lets_nothing_new_in(
    new_api: Callable[[], Api], api: Api, owner: Login
) -> None:
    """What its guest has goes on as it is; a new Queue of the guest's gets no row."""
    host = new_api()
    host.secret("login", credentials(owner, FIRST))
    granted = {"connection": connection(owner), "allowedNamespaces": [api.namespace]}
    host.create(QUEUE_DATABASE, "default", granted)
    reference = {"databaseRef": {"name": "default", "namespace": host.namespace}}
    api.queue("deeds", **reference, workers=WORKERS)
    api.wait_ready(QUEUE, "deeds")
    before = api.must_get(DEPLOYMENT, "deeds")
    host.merge(QUEUE_DATABASE, "default", {"spec": {"allowedNamespaces": []}})
    refused = api.wait_reason(QUEUE, "deeds", "DatabaseNotGranted")
    assert "allowedNamespaces" in refused["message"]
    api.wait_reason(WORKER_POOL, "deeds", "DatabaseNotGranted")
    api.queue("late", **reference)
    api.wait_reason(QUEUE, "late", "DatabaseNotGranted")
    host.wait_ready(QUEUE_DATABASE, "default")
    with psycopg.connect(owner.admin_url) as looking:
        rows = looking.execute("SELECT name, owner_name FROM towpath.queue").fetchall()
    assert ("deeds", "deeds") in rows
    assert "late" not in {name for name, _ in rows}
    assert (
        api.must_get(DEPLOYMENT, "deeds")["metadata"]["generation"]
        == before["metadata"]["generation"]
    )
    assert api.must_get(SECRET, "deeds-database")
    host.merge(QUEUE_DATABASE, "default", {"spec": {"allowedNamespaces": ["*"]}})
    for name in ("deeds", "late"):
        api.wait_ready(QUEUE, name, seconds=8)
