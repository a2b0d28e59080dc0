"""The kit's fixtures, on the server of the session and with an App of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from towpath import App
from towpath.local import postgres
from towpath.testing import DatabaseServer


@pytest.fixture(scope="session")
def towpath_server(postgres_server: postgres.Server) -> Iterator[DatabaseServer]:
    """Return the databases of the session's server."""
    server = DatabaseServer(postgres_server.url)
    yield server
    server.close()


@pytest.fixture
def towpath_application() -> App:
    """Return a new App, on which the test declares."""
    return App()
