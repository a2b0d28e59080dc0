"""What is declared is what there is, whoever changes or deletes something, operator included."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.e2e import manifests
from tests.e2e.release import OPERATOR, SYSTEM, Release
from tests.e2e.space import OURS, Space
from towpath import Client

NAME = "steady"
BESIDE = "beside"


@pytest.fixture(scope="module")
def steady(new_module_space: Callable[..., Space], release: Release) -> Space:
    """Run a queue with one worker, for all tests of this file."""
    space = new_module_space()
    pool = manifests.workers(release.image, slots=2)
    space.apply(
        manifests.application(),
        manifests.queue(NAME, concurrency={"global": 4}, workers=pool),
        manifests.queue(BESIDE),
    )
    space.until_ready("queue", NAME)
    return space


def environment(space: Space) -> dict[str, str]:
    """Return the literal environment of the worker in the Deployment."""
    spec = space.get("deployment", NAME)["spec"]["template"]["spec"]
    return {one["name"]: one.get("value", "") for one in spec["containers"][0]["env"]}


def identities(space: Space) -> set[tuple[str, ...]]:
    """Return what would be other if anything was made anew, changed, or looked otherwise for a time."""
    kinds = f"{OURS},deployments,replicasets,pods"
    said = json.loads(space.kubectl("get", kinds, "--output=json"))
    there = (one for one in said["items"] if "deletionTimestamp" not in one["metadata"])
    return {(one["kind"], *_identity(one)) for one in there if one["metadata"]["name"] != BESIDE}


def _identity(one: manifests.Manifest) -> list[str]:
    metadata = one["metadata"]
    seen = [str(metadata.get(field)) for field in ("name", "uid", "generation")]
    if one["apiVersion"] == manifests.API_VERSION:
        conditions = one["status"]["conditions"]
        seen += [f"{c['type']} {c['status']} {c['lastTransitionTime']}" for c in conditions]
    return seen


def test_a_changed_spec_reaches_the_row_and_the_pods(
    steady: Space, client: Client, release: Release
) -> None:
    """New limits are in Postgres, new slots in the environment of new pods.

    An old pod may answer after Ready too: it takes work until the kubelet's SIGTERM reaches it.
    """
    change = {"concurrency": {"global": 3, "perWorker": 2}, "workers": {"slots": 3}}
    steady.patch("queue", NAME, {"spec": change})
    steady.until(lambda: environment(steady)["TOWPATH_SLOTS"] == "3", "the new slots")
    steady.until_ready("queue", NAME)
    limits = "SELECT concurrency_global, concurrency_per_worker FROM towpath.queue WHERE name = %s"
    assert release.rows(limits, NAME) == [(3, 2)]
    steady.until(
        lambda: client.enqueue(NAME, "setting", "TOWPATH_SLOTS").get_result(timeout=60) == "3",
        "the answer of a new pod",
    )


def test_a_deleted_deployment_comes_back_with_its_pods(steady: Space, client: Client) -> None:
    """Nobody need do anything: it is made again, and work goes on."""
    uid = steady.get("deployment", NAME)["metadata"]["uid"]
    steady.delete("deployment", NAME, "--cascade=foreground")
    steady.until(
        lambda: steady.get("deployment", NAME)["metadata"]["uid"] != uid, "another Deployment"
    )
    assert client.enqueue(NAME, "walk", 1, 0.0).get_result(timeout=60)
    steady.until_ready("queue", NAME)


def test_a_deployment_that_was_edited_by_hand_is_repaired(steady: Space) -> None:
    """`kubectl scale` and `kubectl set env` do not last; what they replaced is there again."""
    before = environment(steady)
    steady.kubectl("scale", "deployment", NAME, "--replicas=3")
    steady.until(lambda: steady.get("deployment", NAME)["spec"]["replicas"] == 1, "one replica")
    steady.kubectl("set", "env", f"deployment/{NAME}", "TOWPATH_SLOTS=9", "TOWPATH_QUEUES-")
    steady.until(lambda: environment(steady) == before, "the environment as it was")
    steady.until_alone(NAME)
    assert len(steady.pods()) == 1


def test_a_restarted_operator_changes_nothing(steady: Space, client: Client) -> None:
    """Its pod is deleted in the middle of a workflow: no object, pod or condition becomes another."""
    steady.until_ready("queue", BESIDE)
    # The test before left a rollout: what it still changes would look like the operator's doing, and
    # a pod that ends hands the workflow on.
    steady.until_alone(NAME)
    # Each operator writes one trace of an object that asks for one.
    steady.kubectl("annotate", "workerpool", NAME, "towpath.dev/trace=restart")
    steady.until(lambda: _traced(steady), "a trace of the pool")
    before = identities(steady)
    handle = client.enqueue(NAME, "walk", 10, 0.3)
    steady.cluster.kubectl(
        "delete", "pod", f"--namespace={SYSTEM}", f"--selector=app.kubernetes.io/name={OPERATOR}"
    )
    steady.release.wait_available()
    assert len(set(handle.get_result(timeout=60))) == 1
    steady.until(lambda: _traced(steady), "every child looked at anew")
    # What comes after them has been dealt with, so they have been too.
    steady.patch("queue", BESIDE, {"spec": {"concurrency": {"global": 1}}})
    steady.until_ready("queue", BESIDE)
    assert identities(steady) == before


def _traced(space: Space) -> bool:
    """Tell whether a present pod of the operator has traced a reconcile of the pool to its end."""
    about = ("trace ended", f"WorkerPool {space.namespace}/{NAME}")
    return any((line["event"], line.get("object")) == about for line in space.release.log())
