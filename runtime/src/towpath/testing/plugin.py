"""The pytest plugin: fixtures for an application's own tests.

It is found by its entry point. Nothing of it runs, or is imported beyond this module, before a test asks
for a fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from towpath import App
    from towpath.testing import Clock, DatabaseServer, Kit

MARKER = "towpath"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        f'{MARKER}(clock="automatic", launch=True, slots=10): how the App under test runs; clock may be '
        '"manual" or "real".',
    )


@pytest.fixture(scope="session")
def towpath_server() -> Iterator[DatabaseServer]:
    """The server of the session: that of TOWPATH_TEST_DATABASE_URL, else an embedded one."""
    from towpath.testing import database_server  # noqa: PLC0415 - only where it is asked for

    with database_server() as server:
        yield server


@pytest.fixture
def towpath_application() -> App:
    """The App under test; override it to name another than that of `towpath.workflow()`."""
    from towpath.api.default import default_app  # noqa: PLC0415 - as above

    return default_app


@pytest.fixture
def towpath_kit(
    request: pytest.FixtureRequest, towpath_server: DatabaseServer, towpath_application: App
) -> Iterator[Kit]:
    """All that a test has in hand; the marker `towpath` has its options, the closest of each."""
    from towpath.testing import under_test  # noqa: PLC0415 - as above

    options: dict[str, Any] = {}
    for marker in request.node.iter_markers(MARKER):
        options = {**marker.kwargs, **options}
    with under_test(towpath_application, towpath_server, **options) as kit:
        yield kit


@pytest.fixture
def towpath_app(towpath_kit: Kit) -> App:
    """The App under test, on a fresh database, launched."""
    return towpath_kit.app


@pytest.fixture
def towpath_clock(towpath_kit: Kit) -> Clock:
    """The clock of the App under test."""
    if towpath_kit.clock is None:
        pytest.fail("this test runs on real time: its marker says clock='real'")
    return towpath_kit.clock
