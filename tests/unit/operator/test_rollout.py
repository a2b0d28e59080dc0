"""A pool is Ready when its pods are as declared, and at no moment of a rollout before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.operator.builders import (
    DATABASE,
    NOW,
    OPERATOR,
    children_of,
    condition,
    pods_ready,
    pool,
    queue,
    reason,
    sample,
)
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.actions import ApplyObject, Plan
from towpath_operator.plan.observed import Child, WorkerPoolObserved
from towpath_operator.plan.workerpool import plan_worker_pool
from towpath_operator.ports.cluster import DEPLOYMENT

BEFORE = pool({"slots": 2, "autoscaling": {"min": 2, "max": 5}})
CHANGED = pool({"slots": 3, "autoscaling": {"min": 2, "max": 5}}, generation=2)
IN_FORCE_BEFORE = {**pods_ready(2), "observedGeneration": 1}


def planned(declared: WorkerPool, **children: Any) -> Plan:
    facts: dict[str, Any] = {"queues": {"mail": queue()}, "sample": sample(), **children}
    observed = WorkerPoolObserved(operator=OPERATOR, database=DATABASE, **facts)
    return plan_worker_pool(declared, observed, NOW)


def children(declared: WorkerPool) -> dict[str, Any]:
    """Return the children as the first plan makes them."""
    return children_of(planned(declared))


def rolling(status: dict[str, Any], *, generation: int = 2, **metadata: Any) -> dict[str, Any]:
    """Return the children after the changed pool's apply, with what the Deployment says of itself."""
    there = children(CHANGED)
    applied = there["deployment"]
    assert applied.last is not None
    meta = {**applied.live["metadata"], "generation": generation, **metadata}
    there["deployment"] = Child(
        live={**applied.live, "metadata": meta, "status": status},
        last=replace(applied.last, generation=2),
    )
    return there


def counts(
    replicas: int, updated: int, available: int, *, observed: int | None = 2
) -> dict[str, int]:
    """Return a Deployment's status; as the API server does, without what is zero."""
    said = {
        "observedGeneration": observed,
        "replicas": replicas,
        "updatedReplicas": updated,
        "readyReplicas": available,
        "availableReplicas": available,
        "unavailableReplicas": max(0, 2 - available),
    }
    return {name: number for name, number in said.items() if number}


NOT_TAKEN_UP = "The pods are about to change: the Deployment's last change has not been taken up."


@pytest.mark.parametrize(
    ("status", "message"),
    [
        pytest.param({}, NOT_TAKEN_UP, id="no status yet"),
        pytest.param(IN_FORCE_BEFORE, NOT_TAKEN_UP, id="complete, but of the generation before"),
        pytest.param(
            counts(2, 0, 2),
            "Pods of an older template that are still being replaced: 2.",
            id="begun",
        ),
        pytest.param(
            counts(3, 1, 2),
            "Pods of an older template that are still being replaced: 2.",
            id="surge",
        ),
        pytest.param(
            counts(3, 2, 2),
            "Pods of an older template that are still being replaced: 1.",
            id="enough updated, enough available, and an old one among these",
        ),
        pytest.param(
            counts(3, 2, 3),
            "Pods of an older template that are still being replaced: 1.",
            id="all new ones available, and an old one too",
        ),
        pytest.param(counts(1, 1, 1), "1 of 2 pods are available.", id="one new, none old"),
        pytest.param(counts(2, 2, 1), "1 of 2 pods are available.", id="one is unavailable"),
        pytest.param(counts(2, 2, 0), "0 of 2 pods are available.", id="none is available"),
        pytest.param(counts(0, 0, 0), "0 of 2 pods are available.", id="no pod at all"),
    ],
)
def test_while_a_rollout_is_under_way_the_new_generation_is_reconciling(
    status: dict[str, Any], message: str
) -> None:
    plan = planned(CHANGED, **rolling(status))
    assert plan.actions == ()
    ready, reconciling = condition(plan), condition(plan, "Reconciling")
    assert (ready["status"], ready["observedGeneration"]) == ("False", 2)
    assert (reconciling["status"], reconciling["observedGeneration"]) == ("True", 2)
    assert (ready["reason"], ready["message"]) == ("PodsStarting", message)
    assert plan.events == ()


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(counts(2, 2, 2), id="as many as wanted"),
        pytest.param(counts(3, 3, 3), id="more than wanted, all of the declared template"),
        pytest.param(counts(2, 2, 2, observed=3), id="seen since in a later generation"),
    ],
)
def test_when_only_pods_of_the_declared_template_are_left_the_pool_is_ready(
    status: dict[str, Any],
) -> None:
    plan = planned(CHANGED, **rolling(status))
    assert plan.actions == ()
    assert (condition(plan)["status"], condition(plan)["observedGeneration"]) == ("True", 2)
    assert condition(plan, "Reconciling") == {}


def test_the_apply_of_a_change_leaves_the_status_of_the_generation_before() -> None:
    """What is unwritten speaks of generation 1: nobody can take it for the new one's."""
    there = children(BEFORE)
    there["deployment"] = replace(
        there["deployment"], live={**there["deployment"].live, "status": IN_FORCE_BEFORE}
    )
    assert reason(planned(BEFORE, **there)) == "InForce"
    plan = planned(CHANGED, **there)
    assert any(isinstance(one, ApplyObject) and one.kind == DEPLOYMENT for one in plan.actions)
    assert not plan.status_changed


def test_a_deployment_as_it_was_before_our_last_apply_proves_nothing() -> None:
    """An answer that is older than that of the apply: complete, and of the template before."""
    plan = planned(CHANGED, **rolling(IN_FORCE_BEFORE, generation=1))
    assert plan.actions == ()
    assert (reason(plan), condition(plan)["message"]) == ("PodsStarting", NOT_TAKEN_UP)


def test_a_deployment_that_is_being_deleted_is_not_in_force_though_its_pods_are_still_there() -> (
    None
):
    going = rolling(counts(2, 2, 2), deletionTimestamp="2026-03-01T12:00:00Z")
    plan = planned(CHANGED, **going)
    assert plan.actions == ()
    assert reason(plan) == "PodsStarting"
    assert "being deleted" in condition(plan)["message"]


def test_trouble_of_the_new_pods_is_said_rather_than_that_old_ones_are_still_there() -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    containers = [{"name": "worker", "state": {"waiting": waiting}}]
    pod = {"metadata": {"name": "new"}, "status": {"containerStatuses": containers}}
    plan = planned(CHANGED, **rolling(counts(3, 1, 2)), pods=(pod,))
    assert reason(plan) == "ImagePull"
