"""Towpath as its user installs it: the image, a Secret with the database's URI, and the chart."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg import sql

from tests.cluster import Cluster, PostgresAccess
from tests.cluster.cache import ROOT

SYSTEM: Final = "towpath-system"
NAME: Final = "towpath"
OPERATOR: Final = "towpath"
SECRET: Final = "towpath-database"  # noqa: S105 - an object's name


@dataclass(slots=True, kw_only=True)
class Release:
    """The installed chart, and the database that its `default` QueueDatabase names.

    The login is the database's owner and no superuser, and its password is a word that is found
    wherever it is shown.
    """

    cluster: Cluster
    image: str
    postgres: PostgresAccess
    database: str = field(default_factory=lambda: f"e2e_{os.getpid()}")
    password: str = field(default_factory=lambda: f"hush-{secrets.token_hex(8)}")
    installed: bool = field(default=False, init=False)

    def install(self) -> None:
        """Install it, by the command of the README, and return once the operator is available."""
        self._make_database()
        _, _, tag = self.image.rpartition(":")
        self.cluster.kubectl("create", "namespace", SYSTEM)
        self.cluster.kubectl(
            "create",
            "secret",
            "generic",
            SECRET,
            f"--namespace={SYSTEM}",
            f"--from-literal=uri={self.uri_for_pods()}",
        )
        self.cluster.helm(
            "install",
            NAME,
            str(ROOT / "charts" / "towpath"),
            f"--namespace={SYSTEM}",
            f"--set=image.repository={self.image.rpartition(':')[0]}",
            f"--set=image.tag={tag}",
            f"--set=database.existingSecret={SECRET}",
            "--set=database.allowedNamespaces={*}",
        )
        self.installed = True
        self.wait_available()

    def wait_available(self) -> None:
        """Return once the operator's pod is ready."""
        self.cluster.wait_available(OPERATOR, namespace=SYSTEM)

    def uninstall(self) -> None:
        """Uninstall it, if it still is there, with all that was made for it."""
        if self.installed:
            self.installed = False
            self.cluster.helm("uninstall", NAME, f"--namespace={SYSTEM}", "--wait", seconds=60)

    def clear(self) -> None:
        """Remove all that was made for it, so that another may be installed."""
        self.uninstall()
        self.cluster.kubectl("delete", "namespace", SYSTEM, "--ignore-not-found", "--wait=false")
        with psycopg.connect(self.postgres.uri(), autocommit=True) as connection:
            name = sql.Identifier(self.database)
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))

    def uri(self, database: str | None = None) -> str:
        """Return the URI of a database of this login as this process writes it."""
        return self.with_login(self.postgres.uri(database or self.database))

    def uri_for_pods(self, database: str | None = None) -> str:
        """Return the same as a pod writes it."""
        return self.with_login(self.postgres.uri_for_pods(database or self.database))

    def with_login(self, uri: str, password: str | None = None) -> str:
        """Return a URI with this login in the place of the superuser's."""
        server = uri.rpartition("@")[2]
        return f"postgresql://{self.database}:{password or self.password}@{server}"

    def rows(self, statement: str, *parameters: Any) -> Sequence[tuple[Any, ...]]:
        """Run a statement in the database."""
        with psycopg.connect(self.uri(), autocommit=True) as connection:
            return connection.execute(statement.encode(), parameters).fetchall()

    def make_database(self, name: str) -> None:
        """Make one more database of this login."""
        with psycopg.connect(self.postgres.uri(), autocommit=True) as connection:
            made = sql.SQL("CREATE DATABASE {} OWNER {}")
            connection.execute(made.format(sql.Identifier(name), sql.Identifier(self.database)))

    def log(self) -> list[dict[str, Any]]:
        """Return what the operator's present pods have logged, one pod after the other."""
        of_operator = f"--selector=app.kubernetes.io/name={OPERATOR}"
        lines = self.cluster.kubectl("logs", of_operator, f"--namespace={SYSTEM}", "--tail=-1")
        return [json.loads(line) for line in lines.splitlines()]

    def _make_database(self) -> None:
        with psycopg.connect(self.postgres.uri(), autocommit=True) as connection:
            login, word = sql.Identifier(self.database), sql.Literal(self.password)
            made = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
            connection.execute(made.format(login, word))
        self.make_database(self.database)
