"""What a real Postgres refuses a login: each a reason, what it says, and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from towpath_operator.adapters import postgres_link
from towpath_operator.adapters.postgres import PostgresDatabases
from towpath_operator.plan.observed import Blocked, DatabaseTarget
from towpath_operator.ports.cluster import ObjectKey
from towpath_operator.ports.database import DatabaseError

PASSWORD = "hunter2"  # noqa: S105 - what must not show up
Make = Callable[[str], str]


@pytest.fixture
def login(empty_database_url: str) -> Iterator[Make]:
    """Return a function that makes a role with some attributes and returns the URL of its login."""
    parts = urlsplit(empty_database_url)
    role = f"refused_{parts.path.lstrip('/')}"

    def make(attributes: str) -> str:
        statement = sql.SQL("CREATE ROLE {} PASSWORD {} " + attributes)
        with psycopg.connect(empty_database_url, autocommit=True) as connection:
            connection.execute(statement.format(sql.Identifier(role), sql.Literal(PASSWORD)))
        return parts._replace(netloc=f"{role}:{PASSWORD}@{parts.hostname}:{parts.port}").geturl()

    yield make
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


def target(url: str) -> DatabaseTarget:
    """Return the target of a URL."""
    return DatabaseTarget(key=ObjectKey("shop", "default"), schema="towpath", uri=url)


def seen(url: str) -> Blocked:
    """Return what a look at the database meets."""

    async def look() -> Blocked | None:
        databases = PostgresDatabases()
        try:
            found = await databases.look(target(url), cluster="here", queue_names=[])
        finally:
            await databases.close()
        return found.state.problem

    problem = asyncio.run(look())
    assert problem is not None
    assert PASSWORD not in problem.message
    assert urlsplit(url).netloc.partition("@")[2] not in problem.message
    return problem


@pytest.mark.parametrize(
    ("attributes", "reason", "said", "fix"),
    [
        ("NOLOGIN", "CredentialsRejected", "is not permitted to log in", "Correct the login"),
        ("LOGIN CONNECTION LIMIT 0", "DatabaseUnreachable", "too many", "connections.perPod"),
        ("LOGIN VALID UNTIL '2000-01-01'", "CredentialsRejected", "failed", "Correct the login"),
    ],
)
def test_a_login_that_postgres_refuses_is_named_with_what_to_do(
    login: Make, attributes: str, reason: str, said: str, fix: str
) -> None:
    problem = seen(login(attributes))
    assert problem.reason == reason
    assert said in problem.message
    assert fix in problem.message


def test_a_wrong_password_is_a_rejected_login(login: Make) -> None:
    problem = seen(login("LOGIN").replace(PASSWORD, "wrong"))
    assert problem.reason == "CredentialsRejected"
    assert "password authentication failed" in problem.message
    assert problem.message.endswith("Correct the login in the Secret.")


def test_a_database_that_is_not_there_is_to_be_created(login: Make) -> None:
    problem = seen(login("LOGIN").rpartition("/")[0] + "/nowhere")
    assert problem.reason == "DatabaseUnreachable"
    assert 'database "nowhere" does not exist. Create it' in problem.message


def test_a_server_that_is_too_old_says_which_is_needed(
    login: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_link, "OLDEST_SERVER", 990_000)
    problem = seen(login("LOGIN"))
    assert problem.reason == "ServerTooOld", problem
    assert "needs 99 or newer" in problem.message


def test_a_login_that_may_not_make_the_schema_is_told_so(login: Make) -> None:
    url = login("LOGIN")

    async def migrate() -> Blocked:
        databases = PostgresDatabases()
        try:
            with pytest.raises(DatabaseError) as refused:
                await databases.migrate(target(url))
        finally:
            await databases.close()
        return refused.value.blocked

    problem = asyncio.run(migrate())
    assert problem.reason == "CredentialsRejected"
    assert "permission denied for database" in problem.message
    assert "Grant it to the operator's login" in problem.message


def test_a_password_that_postgres_refuses_the_pods_is_said_by_the_operator(
    login: Make, database_url: str
) -> None:
    """The pods can tell nobody; the operator's own login works all the while."""
    theirs = login("LOGIN")
    wrong = theirs.replace(PASSWORD, "wrong")
    unreachable = "postgresql://a:b@127.0.0.1:1/nowhere"

    async def refused(workers_uri: str) -> Blocked | None:
        made = replace(target(database_url), workers_uri=workers_uri, worker_role="worker")
        databases = PostgresDatabases()
        try:
            found = await databases.look(made, cluster="here", queue_names=[])
        finally:
            await databases.close()
        assert found.state.problem is None
        return found.state.workers_refused

    problem = asyncio.run(refused(wrong))
    assert problem is not None
    assert problem.reason == "CredentialsRejected"
    assert "wrong" not in problem.message
    assert asyncio.run(refused(theirs)) is None
    assert asyncio.run(refused(unreachable)) is None
