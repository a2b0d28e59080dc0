"""One place of a walk: a namespace, a database on a server that can be restarted, and what is declared."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.fixtures.postgres import SETTINGS, with_database
from tests.operator.running import Api
from towpath.local import postgres
from towpath.store.migrate import migrate
from towpath.store.statements import Statements
from towpath_operator.adapters.kubernetes import path_of
from towpath_operator.ports.cluster import QUEUE_DATABASE, SECRET, Kind

LOGIN = "walker"
SECRET_NAME = "database"  # noqa: S105 - an object's name
FOREIGN = "foreign"
"""A queue whose row another cluster has."""

ELSEWHERE = ("elsewhere", "their-namespace", "theirs", "their-uid")


@dataclass(slots=True)
class RestartablePostgres:
    """A server of the walk's own, on one port whatever happens, with one login for the operator."""

    home: Path
    server: postgres.Server
    password: int = 0

    def restart(self) -> None:
        """Shut it down and start it again: every connection ends."""
        self.server.stop()
        self.server = postgres.start(self.home, settings=SETTINGS)

    def rotate(self) -> None:
        """Give the login another password."""
        self.password += 1
        self.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(*self._login))

    def url(self, database: str) -> str:
        """Return what the login's URL is now."""
        return self._as(f"{LOGIN}:{self._word}", database)

    def wrong_url(self, database: str) -> str:
        """Return a URL that the server refuses."""
        return self._as(f"{LOGIN}:not-{self._word}", database)

    def make(self, database: str, template: str) -> None:
        """Make a database."""
        made = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self.execute(made.format(sql.Identifier(database), sql.Identifier(template)))

    def execute(self, statement: sql.Composed) -> None:
        """Run a statement as the administrator."""
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            connection.execute(statement)

    @property
    def _word(self) -> str:
        return f"word-{self.password}"

    @property
    def _login(self) -> tuple[sql.Identifier, sql.Literal]:
        return sql.Identifier(LOGIN), sql.Literal(self._word)

    def _as(self, login: str, database: str) -> str:
        parts = urlsplit(with_database(self.server.url, database))
        return parts._replace(netloc=f"{login}@{parts.hostname}:{parts.port}").geturl()


@contextmanager
def restartable_postgres(home: Path) -> Iterator[RestartablePostgres]:
    """Run a server as long as the block lasts."""
    one = RestartablePostgres(home, postgres.start(home, settings=SETTINGS))
    one.execute(sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(*one._login))
    try:
        yield one
    finally:
        one.server.stop()


@dataclass(slots=True)
class Site:
    """A namespace with its database, and the manifests that are declared there now."""

    api: Api
    postgres: RestartablePostgres
    database: str
    declared: dict[tuple[Kind, str], Mapping[str, Any]] = field(default_factory=dict)

    def apply(self, kind: Kind, name: str, spec: Mapping[str, Any]) -> None:
        """Apply a manifest as a person does: what it no longer says goes."""
        self.declared[kind, name] = spec
        body = {
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "metadata": {"name": name, "namespace": self.api.namespace},
            **spec,
        }
        self.api.requests.send(
            "patch",
            path_of(kind, namespace=self.api.namespace, name=name),
            body=json.dumps(body),
            content_type="application/apply-patch+yaml",
            field_manager="walker",
            force_conflicts="true",
        )

    def delete(self, kind: Kind, name: str) -> None:
        """Delete an object that may be there."""
        self.declared.pop((kind, name), None)
        if self.api.get(kind, name) is not None:
            self.api.delete(kind, name)

    def apply_secret(self, url: str) -> None:
        """Apply the database's Secret."""
        self.apply(SECRET, SECRET_NAME, {"stringData": {"uri": url}})

    def apply_database(self) -> None:
        """Declare the database."""
        self.apply(QUEUE_DATABASE, "default", {"spec": {"uriSecretRef": {"name": SECRET_NAME}}})

    def rows(self, statement: str, *parameters: Any) -> Sequence[tuple[Any, ...]]:
        """Ask the database."""
        with self._connect() as connection:
            return connection.execute(statement.encode(), parameters).fetchall()

    def change(self, statement: str, *parameters: Any) -> None:
        """Change the database by hand."""
        with self._connect() as connection:
            connection.execute(statement.encode(), parameters)

    def flip(self, queue: str, *, paused: bool) -> None:
        """Pause or resume a queue as the CLI does, which tells of it."""
        statements = Statements("towpath")
        parameters = {"queue": queue, "channel": statements.channel, "paused": paused}
        with self._connect() as connection:
            connection.execute(statements["set_paused"], parameters)

    def migrate(self) -> None:
        """Make the schema."""
        asyncio.run(self._migrate())

    async def _migrate(self) -> None:
        url = with_database(self.postgres.server.url, self.database)
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await migrate(connection, "towpath")

    def have_a_foreign_row(self) -> None:
        """Write a row that another cluster's Queue has."""
        self.change(
            "INSERT INTO towpath.queue"
            " (name, owner_cluster, owner_namespace, owner_name, owner_uid) VALUES (%s, %s, %s, %s, %s)",
            FOREIGN,
            *ELSEWHERE,
        )

    def _connect(self) -> psycopg.Connection:
        url = with_database(self.postgres.server.url, self.database)
        return psycopg.connect(url, autocommit=True)
