"""What kubectl, Flux, Helm and Argo CD make of our statuses: their rules, over every reason we give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lupa
import pytest
import yaml

from towpath_operator.model.conditions import STALLING, ConditionType, Reason
from towpath_operator.model.errors import ManifestError, Problem
from towpath_operator.model.parse import PARSERS
from towpath_operator.plan.actions import Failure, Plan
from towpath_operator.plan.observed import Blocked
from towpath_operator.plan.status import Draft, Verdict, failed, invalid, no, settle, yes

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "charts/towpath/argocd/health.lua"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = {
    "Queue": {},
    "WorkerPool": {
        "application": "shop",
        "queues": [{"name": "mail"}],
        "template": {"spec": {"containers": [{"name": "worker", "image": "shop:1"}]}},
    },
    "QueueDatabase": {"uriSecretRef": {"name": "pg"}},
}
Manifest = dict[str, Any]


def kstatus(manifest: Mapping[str, Any]) -> str:
    """Return what sigs.k8s.io/cli-utils' kstatus says of an object of a kind that it does not know."""
    metadata, status = manifest["metadata"], manifest.get("status") or {}
    if "deletionTimestamp" in metadata:
        return "Terminating"
    if status.get("observedGeneration", metadata["generation"]) != metadata["generation"]:
        return "InProgress"
    held = {one["type"]: one["status"] for one in status.get("conditions", ())}
    if held.get("Reconciling") == "True":
        return "InProgress"
    if held.get("Stalled") == "True":
        return "Failed"
    return "InProgress" if held.get("Ready") in {"False", "Unknown"} else "Current"


@pytest.fixture(scope="module")
def argo() -> Callable[[Mapping[str, Any]], tuple[str, str]]:
    """Return the shipped script as Argo CD runs it: the object is the global `obj`."""
    lua = lupa.LuaRuntime()

    def run(manifest: Mapping[str, Any]) -> tuple[str, str]:
        lua.globals().obj = lua.table_from(manifest, recursive=True)
        health = lua.execute(SCRIPT.read_text("utf-8"))
        return health.status, health.message

    return run


def declare(kind: str = "Queue", generation: int = 3) -> Manifest:
    """Return an object as it was just applied."""
    return {
        "apiVersion": "towpath.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "mail", "namespace": "shop", "uid": "u", "generation": generation},
        "spec": KINDS[kind],
    }


def with_verdict(verdict: Verdict, kind: str = "Queue") -> Manifest:
    """Return an object with the status that a plan gives it for a verdict."""
    manifest = declare(kind)
    plan = settle(Draft(subject=PARSERS[kind](manifest), ready=verdict), NOW)
    return {**manifest, "status": plan.status}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_in_force_is_current_and_healthy(
    kind: str, argo: Callable[[Manifest], tuple[str, str]]
) -> None:
    """Ready alone: neither Reconciling nor Stalled is present while it is not true."""
    manifest = with_verdict(yes(Reason.IN_FORCE, "In force."), kind)
    assert [one["type"] for one in manifest["status"]["conditions"]] == ["Ready"]
    assert kstatus(manifest) == "Current"
    assert argo(manifest) == ("Healthy", "InForce: In force.")


@pytest.mark.parametrize("reason", [one for one in Reason if one is not Reason.IN_FORCE])
def test_every_obstacle_is_failed_where_a_person_must_act_and_in_progress_elsewhere(
    reason: Reason, argo: Callable[[Manifest], tuple[str, str]]
) -> None:
    """So a pipeline ends with an error at once, or waits; and both tools agree."""
    manifest = with_verdict(no(Blocked(reason=reason, message="Because.")))
    stalled = reason in STALLING
    assert kstatus(manifest) == ("Failed" if stalled else "InProgress")
    assert argo(manifest) == ("Degraded" if stalled else "Progressing", f"{reason}: Because.")


def test_a_status_of_an_older_generation_is_never_believed(
    argo: Callable[[Manifest], tuple[str, str]],
) -> None:
    """After an edit nothing is healthy until the operator has seen it."""
    for verdict in (yes(Reason.IN_FORCE, "x"), no(Blocked(reason=Reason.CRASH_LOOP, message="x"))):
        manifest = with_verdict(verdict)
        manifest["metadata"]["generation"] += 1
        assert kstatus(manifest) == "InProgress"
        assert argo(manifest)[0] == "Progressing"


def test_an_object_that_was_not_looked_at_or_is_deleted_is_progressing_to_argo(
    argo: Callable[[Manifest], tuple[str, str]],
) -> None:
    """Kstatus calls an object without a status current; the script of ours does not."""
    fresh = declare()
    assert argo(fresh)[0] == "Progressing"
    gone = with_verdict(yes(Reason.IN_FORCE, "x"))
    gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert (kstatus(gone), argo(gone)[0]) == ("Terminating", "Progressing")


def test_an_invalid_spec_has_failed_and_a_passing_failure_is_in_progress() -> None:
    """Both ways to a status beside a plan give the same conditions."""
    manifest = declare()
    error = ManifestError(
        subject="Queue shop/mail",
        problems=[Problem(field="spec.queueName", reason="is too long")],
        next_step="Make it shorter.",
    )
    manifest["status"] = invalid(manifest, error, NOW).status
    assert kstatus(manifest) == "Failed"
    manifest = declare()
    queue = PARSERS["Queue"](manifest)
    failure = Failure(reason=None, message="the API server answered 500")
    manifest["status"] = failed(queue, Plan(status={}), failure, NOW).status
    assert kstatus(manifest) == "InProgress"


def test_at_most_one_of_reconciling_and_stalled_stands_beside_ready() -> None:
    """The two contradict each other."""
    for reason in Reason:
        conditions = with_verdict(no(Blocked(reason=reason, message="x")))["status"]["conditions"]
        found = {one["type"] for one in conditions}
        assert len(found & {ConditionType.RECONCILING, ConditionType.STALLED}) == 1
        assert {one["observedGeneration"] for one in conditions} == {3}


def test_the_shipped_patch_of_argo_cd_holds_the_script_for_each_kind() -> None:
    """`argocd-cm.yaml` is what is applied, `health.lua` is what is tested."""
    patch = yaml.safe_load((SCRIPT.parent / "argocd-cm.yaml").read_text("utf-8"))
    prefix = "resource.customizations.health.towpath.dev_"
    assert patch == {"data": {f"{prefix}{kind}": SCRIPT.read_text("utf-8") for kind in KINDS}}
