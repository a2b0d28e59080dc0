"""What a Pod proves of its workers. The Pods were recorded from a real kubelet and real controllers."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from towpath_operator.plan.proof import Proof, proved_by

RECORDED: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("recorded_pods.json").read_text("utf-8")
)


def proof(pod: dict[str, Any]) -> str | None:
    """Say what a pod proves: all, or those that began before a time of day."""
    found = proved_by(pod)
    if found is None:
        return None
    assert found.pod_uid == pod["metadata"]["uid"]
    return "all" if found.began_before is None else f"{found.began_before:%H:%M:%S}"


@pytest.mark.parametrize(
    ("what", "proves"),
    [
        # The container has ended, and may run again in the same pod.
        ("killed", "16:58:13"),
        ("killed and started again", "16:58:13"),
        ("killed and backing off", "16:58:16"),
        ("killed twice", "16:58:16"),
        ("out of memory", "16:58:15"),
        # The pod has ended: its kubelet starts nothing in it any more.
        ("past its deadline", "all"),
        ("evicted by its kubelet", "all"),
        ("drained", "all"),
        ("drained and deleted", "all"),
        ("evicted by the API and deleted", "all"),
        ("killed after its grace and deleted", "all"),
        # Nothing has ended yet.
        ("running", None),
        ("draining", None),
        ("evicted by the API, still running", None),
        ("past its deadline before it ran", None),
        # Whoever wrote this had not heard from the kubelet: the container may run on.
        ("deleted by force", None),
        ("on a node that is not ready", None),
        ("marked by the taint manager", None),
        ("failed by the garbage collector", None),
        ("deleted by the garbage collector", None),
    ],
)
def test_only_the_kubelets_word_is_proof(what: str, proves: str | None) -> None:
    """By the last word of it that the Pod holds."""
    assert proof(RECORDED[what]) == proves


def test_every_recorded_pod_is_looked_at() -> None:
    """None was recorded in vain."""
    (table,) = test_only_the_kubelets_word_is_proof.pytestmark  # type: ignore[attr-defined]
    assert {what for what, _ in table.args[1]} == set(RECORDED)


@pytest.mark.parametrize(
    "status",
    [
        {"reason": "NodeLost"},
        {
            "conditions": [
                {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}
            ]
        },
    ],
)
def test_a_pod_that_another_says_has_failed_proves_no_more_than_its_container(
    status: dict[str, Any],
) -> None:
    """It had just ended when the node was lost: the kubelet may have started it again since."""
    pod = copy.deepcopy(RECORDED["killed"])
    pod["status"] |= {"phase": "Failed", **status}
    assert proof(pod) == "16:58:13"


def test_a_disruption_that_is_not_the_collectors_takes_nothing_from_the_kubelets_word() -> None:
    """It says why a pod was ended; that it has ended the kubelet says."""
    pod = copy.deepcopy(RECORDED["evicted by its kubelet"])
    target = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
    pod["status"]["conditions"].append(target)
    assert proof(pod) == "all"


def test_the_end_of_another_container_proves_nothing_of_the_worker() -> None:
    """The worker is the container of that name, wherever it stands, else the first."""
    pod = copy.deepcopy(RECORDED["killed"])
    sidecar = {"name": "proxy", "state": {"running": {}}, "lastState": {}}
    pod["spec"]["containers"].insert(0, {"name": "proxy", "image": "proxy:1"})
    pod["status"]["containerStatuses"].insert(0, sidecar)
    assert proof(pod) == "16:58:13"
    for part in (*pod["spec"]["containers"], *pod["status"]["containerStatuses"]):
        part["name"] = {"worker": "other", "proxy": "first"}[part["name"]]
    assert proof(pod) is None


def test_an_end_of_which_nobody_knows_the_time_is_no_proof_while_the_pod_lives() -> None:
    """After a restart of its node the kubelet does not find the container, and starts another."""
    pod = copy.deepcopy(RECORDED["past its deadline"])
    pod["status"]["phase"] = "Running"
    (container,) = pod["status"]["containerStatuses"]
    container["lastState"], container["state"] = container["state"], {"running": {}}
    assert proof(pod) is None


def test_a_pod_of_which_no_kubelet_has_said_anything_proves_nothing() -> None:
    """It waits for a node."""
    pod = {**RECORDED["running"], "status": {"phase": "Pending"}}
    assert proved_by(pod) is None
    pod.pop("status")
    assert proved_by(pod) is None


def test_the_moment_is_an_aware_time_in_whole_seconds() -> None:
    """As the kubelet writes it."""
    pod = RECORDED["killed"]
    expected = datetime(2026, 11, 24, 16, 58, 13, tzinfo=UTC)
    assert proved_by(pod) == Proof(pod["metadata"]["uid"], expected)
