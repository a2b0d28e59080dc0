"""The Postgres of a test session: one that is named, or an embedded one; and a database for each test.

It is a clone of a migrated template, or one that another test has used and that was emptied. Names are
the session's own, so that sessions which run at the same time, such as pytest-xdist's, may share a server.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from towpath.store.migrate import migrate
from towpath.testing.contents import Contents
from towpath.testing.statements import statement

URL_VARIABLE = "TOWPATH_TEST_DATABASE_URL"
SETTINGS = {
    "max_connections": "300",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "2GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
"""Nothing of it need outlive the session."""


@dataclass(frozen=True, slots=True)
class _Template:
    name: str
    contents: Contents


class DatabaseServer:
    """Makes databases on a server.

    Args:
        url: Any database of the server, for a login that may create databases.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._templates: dict[str, _Template] = {}
        self._spare: defaultdict[str, list[str]] = defaultdict(list)

    @contextlib.contextmanager
    def database(self, schema: str = "towpath") -> Iterator[str]:
        """Yield the URL of a fresh database with the current schema, which goes with the block."""
        template = self._template(schema)
        if self._spare[schema]:
            name = self._spare[schema].pop()
        else:
            name = f"towpath_test_{self._session}_{next(self._numbers)}"
            self._create(name, template.name)
        try:
            yield self._url_of(name)
        finally:
            if self._empty(name, template):
                self._spare[schema].append(name)
            else:
                self._drop(name)

    def close(self) -> None:
        """Drop what is left."""
        for name in itertools.chain(*self._spare.values()):
            self._drop(name)
        for template in self._templates.values():
            self._drop(template.name)
        self._spare.clear()
        self._templates.clear()

    def _empty(self, name: str, template: _Template) -> bool:
        """Make a database fresh again; False where it cannot be."""
        try:
            with psycopg.connect(self._url_of(name), autocommit=True) as connection:
                return template.contents.restore(connection)
        except psycopg.Error:  # the test has dropped it, say, or a table of it
            return False

    def _template(self, schema: str) -> _Template:
        if schema not in self._templates:
            name = f"towpath_template_{self._session}_{len(self._templates)}"
            self._create(name, "template0")
            asyncio.run(_migrate(self._url_of(name), schema))
            with psycopg.connect(self._url_of(name), autocommit=True) as connection:
                connection.execute(statement("clock", schema))
                self._templates[schema] = _Template(name, Contents(connection, schema))
        return self._templates[schema]

    def _url_of(self, name: str) -> str:
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def _create(self, name: str, template: str) -> None:
        self._execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )

    def _drop(self, name: str) -> None:
        self._execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)


async def _migrate(url: str, schema: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await migrate(connection, schema)


@contextlib.contextmanager
def database_server() -> Iterator[DatabaseServer]:
    """Use the server that TOWPATH_TEST_DATABASE_URL names, else run an embedded one for the block.

    Raises:
        PostgresMissingError: neither is there.
    """
    with _running() as url:
        server = DatabaseServer(url)
        try:
            yield server
        finally:
            server.close()


@contextlib.contextmanager
def _running() -> Iterator[str]:
    if url := os.environ.get(URL_VARIABLE):
        yield url
        return
    from towpath.local import postgres  # noqa: PLC0415 - only where none is named
    from towpath.local.errors import PostgresMissingError  # noqa: PLC0415 - as above

    home = Path(tempfile.mkdtemp(prefix="towpath-tests-"))
    home.chmod(0o755)  # as root, the server's own user passes through it
    try:
        server = postgres.start(home, settings=SETTINGS, ephemeral=True)
    except PostgresMissingError as error:
        error.add_note(f"Or name a server for the tests: {URL_VARIABLE}=postgresql://...")
        raise
    try:
        yield server.url
    finally:
        server.stop()
