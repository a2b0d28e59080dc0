"""A pytest plugin: the session's cluster.

The cluster is one for the session, so its tests belong in one process: with pytest-xdist, run with
`--dist loadgroup`, and every test that uses the fixture goes to the same worker.
"""

from collections.abc import Iterator

import pytest

from tests.cluster import Cluster
from tests.cluster import cluster as running_cluster

GROUP = "cluster"
TEST_SECONDS = 300


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Return a cluster that answers; a test that wants one fails where none can be had."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    context = running_cluster()
    # A cold build takes minutes: its progress is for the person who waits.
    with capture.global_and_fixture_disabled():
        running = context.__enter__()
    try:
        yield running
    finally:
        with capture.global_and_fixture_disabled():
            context.__exit__(None, None, None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use the cluster, and keep its start out of their time limit."""
    for item in items:
        if "cluster" not in getattr(item, "fixturenames", ()):
            continue
        item.add_marker(pytest.mark.cluster)
        item.add_marker(pytest.mark.xdist_group(GROUP))
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_SECONDS, func_only=True))
