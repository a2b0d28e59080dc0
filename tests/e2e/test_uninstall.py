"""Uninstalled: nothing hangs, nothing that runs stops. The folder's last file, for it ends the release."""

from __future__ import annotations

from tests.e2e import manifests
from tests.e2e.release import SYSTEM, Release
from tests.e2e.space import Space
from towpath import Client


def test_helm_uninstall_ends_at_once_and_workers_go_on_without_an_operator(
    space: Space, client: Client, release: Release
) -> None:
    """The same pods run what is enqueued before and after; even then namespaces go in a minute, its own too."""
    space.apply(manifests.queue("orphaned", workers=manifests.workers(release.image)))
    space.until_ready("queue", "orphaned")
    before = space.kubectl("get", "pods", "--output=jsonpath={.items[*].metadata.uid}")
    running = client.enqueue("orphaned", "walk", 10, 0.3)
    space.until(lambda: running.get_status().status == "PENDING", "a running workflow")
    release.uninstall()
    assert client.enqueue("orphaned", "walk", 1, 0.0).get_result(timeout=60)
    assert running.get_result(timeout=60)
    assert running.get_status().attempt == 1
    assert space.kubectl("get", "pods", "--output=jsonpath={.items[*].metadata.uid}") == before
    # What people declared is theirs, and stays.
    assert space.names("queues,workerpools") == [
        "queue.towpath.dev/orphaned",
        "workerpool.towpath.dev/orphaned",
    ]
    for namespace in (SYSTEM, space.namespace):
        space.cluster.kubectl("delete", "namespace", namespace, "--timeout=60s", seconds=70)
