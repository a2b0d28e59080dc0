"""A Queue's limits and its switches, seen by what its workflows do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.e2e import manifests
from tests.e2e.rate_limited.observed import (
    FOLDER,
    IMAGE,
    MANIFEST,
    NAME,
    assert_within_limits,
    enqueue_operations,
)
from tests.e2e.release import Release
from tests.e2e.space import Space
from towpath import Client
from towpath.errors import QueueClosedError

OPERATIONS = 16
SWITCHED = "switched"
CONTROL = "control"


@pytest.fixture
def shop(release: Release) -> Iterator[Space]:
    """Return the namespace that the user's manifest names."""
    space = Space(release, "shop")
    release.cluster.kubectl("create", "namespace", space.namespace)
    yield space
    space.leave()


def test_the_users_manifest_holds_its_limits_as_it_is_written(
    shop: Space, client: Client, release: Release
) -> None:
    """`kubectl apply`, pods from zero: at most 2 at once, at most 5 starts in any 10 s."""
    arguments = {"TOWPATH_IMAGE": release.image}
    image = release.cluster.build_image(
        "rate-limited:test", dockerfile=FOLDER / "Dockerfile", context=FOLDER, arguments=arguments
    )
    release.cluster.apply(MANIFEST.replace(IMAGE, image), namespace=shop.namespace)
    shop.until_ready("queue", NAME)
    for handle in enqueue_operations(release.uri(), client, OPERATIONS):
        handle.get_result(timeout=90)
    assert_within_limits(release.uri(), OPERATIONS)
    effective = shop.get("queue", NAME)["status"]["effective"]
    assert effective["limiter"] == {"limit": 5, "period": "10s"}


@pytest.fixture(scope="module")
def switched(new_module_space: Callable[..., Space], release: Release) -> Space:
    """Run a pool that serves a queue which is switched, and another one."""
    space = new_module_space()
    queues = [{"name": SWITCHED}, {"name": CONTROL}]
    pool = {**manifests.workers(release.image, slots=3), "queues": queues}
    space.apply(
        manifests.application(),
        manifests.queue(SWITCHED, concurrency={"global": 1}),
        manifests.queue(CONTROL),
        manifests.manifest("WorkerPool", SWITCHED, pool),
    )
    space.until_ready("workerpool", SWITCHED)
    return space


def switch(space: Space, **switches: bool) -> None:
    """Patch the queue, and return once its row says the same, which is at once."""
    space.patch("queue", SWITCHED, {"spec": switches})
    query = "SELECT paused, closed FROM towpath.queue WHERE name = %s"

    def row() -> dict[str, bool]:
        ((paused, closed),) = space.release.rows(query, SWITCHED)
        return {"paused": paused, "closed": closed}

    space.until(lambda: switches.items() <= row().items(), f"the row {switches}", seconds=5)


def ended(client: Client) -> set[str]:
    """Return the ids of the queue's workflows that have ended well."""
    found = client.list_workflows(queue_name=SWITCHED)
    return {one.workflow_id for one in found if one.status == "SUCCESS"}


def test_a_queue_that_a_patch_pauses_starts_nothing_until_a_patch_lets_it_go_on(
    switched: Space, client: Client
) -> None:
    """What runs ends, enqueueing goes on, the pool serves its other queue, and all are Ready."""
    handles = [client.enqueue(SWITCHED, "walk", 1, 0.2) for _ in range(30)]
    handles[0].get_result(timeout=60)
    switch(switched, paused=True)
    held = "SELECT 1 FROM towpath.running WHERE queue = %s"
    switched.until(lambda: not switched.release.rows(held, SWITCHED), "an end", seconds=5)
    before = ended(client)
    assert 0 < len(before) < len(handles)
    handles.append(client.enqueue(SWITCHED, "walk", 1, 0.0))
    client.enqueue(CONTROL, "walk", 5, 0.4).get_result(timeout=60)
    assert ended(client) == before
    switched.until(
        lambda: switched.condition("queue", SWITCHED, "Paused").get("status") == "True", "Paused"
    )
    for kind in ("queue", "workerpool"):
        switched.until_ready(kind, SWITCHED)
    head, *lines = switched.kubectl("get", "queue", SWITCHED, "--output=wide").splitlines()
    assert lines[0][head.index("PAUSED") :].startswith("True")
    switch(switched, paused=False)
    for handle in handles:
        handle.get_result(timeout=60)


def test_a_queue_that_a_patch_closes_refuses_what_is_new_and_ends_what_waits(
    switched: Space, client: Client
) -> None:
    """QueueClosedError from outside the cluster, until a patch opens it."""
    waiting = [client.enqueue(SWITCHED, "walk", 1, 0.2) for _ in range(5)]
    switch(switched, closed=True)
    with pytest.raises(QueueClosedError, match=SWITCHED):
        client.enqueue(SWITCHED, "walk", 1, 0.0)
    for handle in waiting:
        handle.get_result(timeout=60)
    switched.until_ready("queue", SWITCHED)
    switch(switched, closed=False)
    client.enqueue(SWITCHED, "walk", 1, 0.0).get_result(timeout=60)
