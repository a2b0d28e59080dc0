"""A Queue of ten lines: pods, results, columns; and what is left when it is deleted."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.e2e import manifests
from tests.e2e.release import SYSTEM, Release
from tests.e2e.space import OURS, RESTRICTED, Space
from towpath import Client

TEN_LINES = """\
apiVersion: towpath.dev/v1alpha1
kind: Queue
metadata:
  name: ten-lines
spec:
  concurrency: {global: 3}
  workers:
    application: deeds
    autoscaling: {min: 2}
    template: {spec: {containers: [{name: worker, image: IMAGE}]}}
"""


@pytest.fixture(scope="module")
def image_with_deeds(release: Release) -> str:
    """Build an image of one's own: FROM Towpath's, with the application in its working directory."""
    folder = manifests.APPLICATION
    arguments = {"TOWPATH_IMAGE": release.image}
    return release.cluster.build_image(
        "deeds:test", dockerfile=folder / "Dockerfile", context=folder, arguments=arguments
    )


def test_ten_lines_of_yaml_start_pods_that_run_what_is_enqueued_from_outside(
    space: Space, image_with_deeds: str, client: Client
) -> None:
    """`kubectl apply`, two pods, results; the columns show it, and no object holds up its deletion."""
    space.cluster.apply(TEN_LINES.replace("IMAGE", image_with_deeds), namespace=space.namespace)
    space.until_ready("queue", "ten-lines")
    assert len(space.ready_pods()) == 2
    handles = [client.enqueue("ten-lines", "walk", 2, 0.2) for _ in range(6)]
    results = [handle.get_result(timeout=60) for handle in handles]
    assert {pod for walked in results for pod in walked} <= set(space.ready_pods())
    assert [len(walked) for walked in results] == [2] * 6
    at_rest = {"READY": "True", "WAITING": "0", "RUNNING": "0"}
    names = ("queue.towpath.dev/ten-lines", "workerpool.towpath.dev/ten-lines")
    # Numbers are written sparingly: those of the work may stand there for some seconds more.
    space.until(lambda: _columns(space) == dict.fromkeys(names, at_rest), "columns at rest")
    _assert_nothing_holds_up(space)


def _columns(space: Space) -> dict[str, dict[str, str]]:
    """Return what `kubectl get queues,workerpools` shows in the columns of every kind."""
    found: dict[str, dict[str, str]] = {}
    for table in space.kubectl("get", "queues,workerpools").strip().split("\n\n"):
        head, *lines = [line.split() for line in table.splitlines()]
        for line in lines:
            shown = dict(zip(head, line, strict=False))
            found[shown["NAME"]] = {name: shown[name] for name in ("READY", "WAITING", "RUNNING")}
    return found


def _assert_nothing_holds_up(space: Space) -> None:
    """No finalizer; no annotation of ours or kopf's but the hash on the pool that is our child."""
    here = json.loads(space.kubectl("get", OURS, "--output=json"))["items"]
    there = space.cluster.kubectl("get", OURS, f"--namespace={SYSTEM}", "--output=json")
    for one in [*here, *json.loads(there)["items"]]:
        metadata = one["metadata"]
        assert "finalizers" not in metadata
        ours = {n for n in metadata.get("annotations", {}) if "kopf" in n or "towpath" in n}
        assert ours == ({"towpath.dev/applied"} if one["kind"] == "WorkerPool" else set())


def test_deleting_a_queue_takes_its_workers_and_keeps_its_workflows(
    space: Space, client: Client, release: Release
) -> None:
    """WorkerPool, Deployment, Secret and pods go; the row is free, and what was done can be read."""
    space.apply(manifests.queue("leaving", workers=manifests.workers(release.image)))
    space.until_ready("queue", "leaving")
    handle = client.enqueue("leaving", "walk", 1, 0.0)
    handle.get_result(timeout=60)
    left = client.enqueue("leaving", "nobody_has_this", 1)
    kinds = "queues.towpath.dev,workerpools.towpath.dev,deployments,replicasets,secrets,pods"
    assert len(space.names(kinds)) == 6
    space.delete("queue", "leaving")
    space.until(lambda: not space.names(kinds), "all children gone", seconds=30)
    space.until(
        lambda: (
            release.rows("SELECT owner_uid FROM towpath.queue WHERE name = 'leaving'") == [(None,)]
        ),
        "the row without an owner",
    )
    assert client.retrieve_workflow(handle.workflow_id).get_status().status == "SUCCESS"
    assert client.retrieve_workflow(left.workflow_id).get_status().status == "ENQUEUED"


def test_deleting_a_namespace_with_everything_in_it_does_not_hang(
    space: Space, release: Release
) -> None:
    """A database, a queue, a pool, pods and a workflow in the middle: gone within a minute."""
    space.apply(
        manifests.secret("database", uri=release.uri_for_pods()),
        manifests.database("default", secret="database", schema="leaving"),  # noqa: S106
        manifests.queue("at-work", workers=manifests.workers(release.image)),
    )
    space.until_ready("queue", "at-work")
    with Client(release.uri(), schema="leaving") as here:
        handle = here.enqueue("at-work", "walk", 100, 0.2)
        space.until(lambda: here.list_workflows()[0].status == "PENDING", "a running workflow")
        space.cluster.kubectl("delete", "namespace", space.namespace, "--timeout=60s", seconds=70)
        # Handed back at a step's end by the drain, it waits for whoever serves the queue next.
        assert here.retrieve_workflow(handle.workflow_id).get_status().status == "ENQUEUED"


def test_workers_are_admitted_where_the_restricted_standard_is_enforced(
    new_space_: Callable[..., Space], release: Release, client: Client
) -> None:
    """A template that says nothing of security makes pods that a restricted namespace admits."""
    space = new_space_(RESTRICTED)
    space.apply(
        manifests.application(),
        manifests.queue("restricted", workers=manifests.workers(release.image)),
    )
    space.until_ready("queue", "restricted")
    assert client.enqueue("restricted", "walk", 1, 0.0).get_result(timeout=60)
    pods = space.kubectl("get", "pods", "--output=jsonpath={..securityContext}")
    assert "privileged" not in pods
    refused = json.loads(space.kubectl("get", "namespace", space.namespace, "--output=json"))
    assert refused["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
