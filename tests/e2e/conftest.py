"""Towpath installed once by its chart; a namespace for each test, and no secret told in any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster, build_shop, build_towpath
from tests.e2e.manifests import SELDOM, application, queue, workers
from tests.e2e.release import Release
from tests.e2e.space import Space, new_space
from towpath import Client

HERE = Path(__file__).parent
SOON = 10.0
"""Seconds. At rest the operator looks by itself once a minute: only NOTIFY is quicker."""
_releases: list[Release] = []


@pytest.fixture(scope="session")
def release(cluster: Cluster) -> Iterator[Release]:
    """Install the chart for the tests of this folder."""
    one = Release(cluster=cluster, image=build_towpath(cluster), postgres=cluster.postgres())
    _releases.append(one)
    one.install()
    yield one
    _clear()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Remove the release after the folder's last test: other tests bring an operator of their own."""
    if nextitem is None or HERE not in nextitem.path.parents:
        _clear()


def _clear() -> None:
    while _releases:
        _releases.pop().clear()


@pytest.fixture(scope="session")
def shop_image(release: Release) -> str:
    """Build the example application on top of the image."""
    return build_shop(release.cluster, release.image)


@pytest.fixture(scope="module")
def new_module_space(release: Release) -> Iterator[Callable[..., Space]]:
    """Return a function that makes a namespace for the tests of a file."""
    yield from _spaces(release)


@pytest.fixture
def new_space_(release: Release) -> Iterator[Callable[..., Space]]:
    """Return a function that makes a namespace for one test."""
    yield from _spaces(release)


@pytest.fixture
def space(new_space_: Callable[..., Space]) -> Space:
    """Return a namespace of the test's own, with the application that workers may run."""
    one = new_space_()
    one.apply(application())
    return one


@pytest.fixture
def client(release: Release) -> Iterator[Client]:
    """Return a client of the release's database, in this process."""
    with Client(release.uri()) as one:
        yield one


@pytest.fixture(scope="session")
def seldom(release: Release) -> Iterator[Space]:
    """Return the namespace of a pool that was at zero, then had work, and has none any more.

    It is the session's, so that the minute until its pods go passes while other tests run.
    """
    space = new_space(release)
    pool = workers(release.image, slots=2, pods=(0, 2))
    space.apply(application(), queue(SELDOM, workers=pool))
    space.until_ready("queue", SELDOM)
    assert space.pods() == []
    asleep = "SELECT 1 FROM towpath.sleeper WHERE queue = %s"
    space.until(lambda: release.rows(asleep, SELDOM), "the operator to be asleep")
    with Client(release.uri()) as client:
        handles = [client.enqueue(SELDOM, "walk", 2, 0.5) for _ in range(12)]
        space.until(lambda: len(space.pods()) == 2, "two pods", seconds=SOON)
        for handle in handles:
            handle.get_result(timeout=60)
    pool_path = "--output=jsonpath={.status.autoscaling.limitedBy}"
    space.until(
        lambda: space.kubectl("get", "workerpool", SELDOM, pool_path) == "IdlePeriod",
        "two pods kept for a while",
    )
    yield space
    space.leave()


def _spaces(release: Release) -> Iterator[Callable[..., Space]]:
    made: list[Space] = []

    def make(*labels: str) -> Space:
        made.append(new_space(release, *labels))
        return made[-1]

    yield make
    try:
        for one in made:
            _check(one)
    finally:
        for one in made:
            one.leave()


def _check(space: Space) -> None:
    """Nothing here tells the password, and the operator has met no bug of its own."""
    assert space.release.password not in space.texts()
    if space.release.installed:
        log = space.release.log()
        assert space.release.password not in str(log)
        assert [line for line in log if line["level"] == "error"] == []
