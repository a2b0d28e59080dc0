"""Who decides the number of pods: the mode, the database's connections, and who else writes it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.unit.operator.builders import (
    DATABASE,
    NOW,
    OPERATOR,
    TEMPLATE,
    children_of,
    condition,
    live,
    pods_ready,
    pool,
    queue,
    reason,
    sample,
)
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.actions import (
    Action,
    ApplyObject,
    CreateObject,
    LeaveFields,
    Plan,
)
from towpath_operator.plan.autoscaling import Decision, LimitedBy, within_room
from towpath_operator.plan.observed import (
    Blocked,
    Child,
    Contested,
    DemandSample,
    Room,
    WorkerPoolObserved,
)
from towpath_operator.plan.queue_pool import plan_queue_pool
from towpath_operator.plan.workerpool import plan_worker_pool
from towpath_operator.ports.cluster import DEPLOYMENT, FIELD_MANAGER, LEFT_TO_OTHERS

MINUTE = timedelta(minutes=1)


def planned(declared: WorkerPool, *, now: datetime = NOW, **facts: Any) -> Plan:
    least: dict[str, Any] = {"queues": {"mail": queue()}, "sample": sample()}
    observed = WorkerPoolObserved(operator=OPERATOR, database=DATABASE, **{**least, **facts})
    return plan_worker_pool(declared, observed, now)


def sized(mode: str, number: int, status: dict[str, Any] | None = None) -> WorkerPool:
    return pool({"autoscaling": {"mode": mode, "min": 1, "max": 10}, "replicas": number}, status)


def number_of(plan: Plan) -> int | None:
    """Return the number that the plan applies; None where it leaves the Deployment alone."""
    numbers = [
        one.manifest["spec"]["replicas"]
        for one in plan.actions
        if isinstance(one, CreateObject | ApplyObject) and one.kind == DEPLOYMENT
    ]
    return numbers[-1] if numbers else None


# Modes.


@pytest.mark.parametrize("mode", ["None", "External"])
def test_the_declared_number_is_obeyed_whatever_the_work(mode: str) -> None:
    plan = planned(sized(mode, 3), sample=sample(waiting=1000))
    assert number_of(plan) == 3
    active = condition(plan, "AutoscalingActive")
    assert (active["status"], active["reason"]) == ("False", "SizeDeclared")


def test_the_builtin_mode_ignores_the_declared_number() -> None:
    assert number_of(planned(sized("Builtin", 7), sample=sample(waiting=15))) == 2


@pytest.mark.parametrize("mode", ["None", "External"])
def test_the_declared_number_needs_no_look_at_the_work(mode: str) -> None:
    plan = planned(sized(mode, 0), sample=None)
    assert number_of(plan) == 0
    assert plan.status["autoscaling"] == {"desired": 0}


def test_a_pool_that_the_operator_sizes_from_now_on_keeps_its_size() -> None:
    there = children_of(planned(sized("None", 5)), pods_ready(5))
    plan = planned(sized("Builtin", 5, {"autoscaling": {"desired": 5}}), **there)
    assert number_of(plan) is None
    assert plan.status["autoscaling"] == {"desired": 5, "limitedBy": "IdlePeriod"}


# Connections.


@pytest.mark.parametrize(
    ("wanted", "current", "others", "pods", "pools", "given"),
    [
        (3, None, 0, 10, 1, 3),
        (12, 4, 0, 10, 1, 10),
        (5, 0, 8, 10, 2, 2),
        (5, 0, 10, 10, 2, 0),
        (8, 8, 8, 10, 2, 5),
        (8, 8, 5, 10, 2, 5),
        (2, 2, 8, 10, 2, 2),
        (1, 1, 30, 10, 20, 0),
    ],
)
def test_a_pool_grows_into_what_is_free_and_shrinks_to_an_equal_part(
    wanted: int, current: int | None, others: int, pods: int, pools: int, given: int
) -> None:
    room = Room(pods=pods, others=others, pools=pools)
    decision = within_room(Decision(desired=wanted), room, current)
    assert decision.desired == given
    assert (decision.limited_by is LimitedBy.CONNECTIONS) == (given != wanted)


def test_a_size_that_is_held_since_nothing_is_known_is_held_beyond_the_connections_too() -> None:
    held = Decision(desired=6, limited_by=LimitedBy.DATABASE_ERROR)
    assert within_room(held, Room(pods=4, others=0, pools=1), 6) == held


def test_a_pool_that_the_connections_limit_says_so_and_looks_again() -> None:
    plan = planned(sized("None", 5), room=Room(pods=4, others=1, pools=2))
    assert number_of(plan) == 3
    assert plan.status["autoscaling"] == {"desired": 3, "limitedBy": "Connections"}


# Others that write the Deployment's number.


def entry(manager: str, at: datetime | None, operation: str = "Update") -> dict[str, Any]:
    """Return who owns spec.replicas; what is written by /scale has no time."""
    owned: dict[str, Any] = {
        "manager": manager,
        "operation": operation,
        "fieldsV1": {"f:spec": {"f:replicas": {}}},
    }
    return owned if at is None else {**owned, "time": at.isoformat()}


def written(number: int, *entries: dict[str, Any]) -> dict[str, Any]:
    """Return the children of a pool of 2 after others have written the Deployment's number."""
    there = children_of(planned(sized("None", 2)), pods_ready(2))
    deployment = there["deployment"]
    metadata = {**deployment.live["metadata"], "generation": 2, "managedFields": list(entries)}
    spec = {**deployment.live["spec"], "replicas": number}
    there["deployment"] = replace(
        deployment, live={**deployment.live, "metadata": metadata, "spec": spec}
    )
    return there


def contest(plan: Plan) -> str | None:
    (apply,) = (a for a in plan.actions if isinstance(a, ApplyObject) and a.kind == DEPLOYMENT)
    return apply.contested_by


@pytest.mark.parametrize("at", [NOW, NOW - 20 * MINUTE, None])
def test_a_number_of_another_is_overwritten_once(at: datetime | None) -> None:
    plan = planned(sized("None", 2), **written(9, entry("hpa", at)))
    assert (number_of(plan), contest(plan)) == (2, "hpa")


@pytest.mark.parametrize("at", [NOW, None])
def test_who_writes_it_again_within_five_minutes_is_left_its_number_and_named(
    at: datetime | None,
) -> None:
    there = written(9, entry("hpa", at))
    before = Contested(manager="hpa", at=NOW - 4 * MINUTE)
    plan = planned(sized("None", 2), **there, contested=before)
    assert (number_of(plan), contest(plan)) == (9, "hpa")
    assert plan.status["autoscaling"] == {"desired": 2}


def test_once_its_number_is_applied_the_pool_says_whose_it_is_and_until_when() -> None:
    there = written(9, entry("hpa", NOW - MINUTE), entry(FIELD_MANAGER, NOW, "Apply"))
    first = planned(
        sized("None", 2), **there, contested=Contested(manager="hpa", at=NOW - 4 * MINUTE)
    )
    (applied,) = (a for a in first.actions if isinstance(a, ApplyObject) and a.kind == DEPLOYMENT)
    shown = live(applied, pods_ready(9)).live
    managed = {**shown["metadata"], "managedFields": [entry("hpa", NOW - MINUTE)]}
    there["deployment"] = Child(live={**shown, "metadata": managed}, last=live(applied).last)
    plan = planned(sized("None", 2), **there, contested=Contested(manager="hpa", at=NOW))
    assert plan.actions == ()
    assert reason(plan) == "ReplicasConflict"
    assert "hpa" in condition(plan)["message"]
    assert condition(plan, "Stalled")["status"] == "True"
    assert condition(plan, "AutoscalingActive")["reason"] == "ReplicasConflict"
    assert plan.requeue_after == 4 * MINUTE


def conflicted() -> dict[str, Any]:
    """Return the status of a pool that has left another its number."""
    said = {"type": "AutoscalingActive", "status": "False", "reason": "ReplicasConflict"}
    return {"autoscaling": {"desired": 2}, "conditions": [said]}


def test_who_goes_on_writing_is_left_alone_until_it_has_been_quiet_for_five_minutes() -> None:
    declared = sized("None", 2, conflicted())
    long_ago = Contested(manager="hpa", at=NOW - 60 * MINUTE)
    there = written(9, entry("hpa", NOW - 4 * MINUTE))
    assert number_of(planned(declared, **there, contested=long_ago)) == 9
    there = written(9, entry("hpa", NOW - 5 * MINUTE))
    assert number_of(planned(declared, **there, contested=long_ago)) == 2


def test_another_manager_than_the_one_before_is_overwritten_too() -> None:
    there = written(9, entry("somebody", NOW))
    plan = planned(sized("None", 2), **there, contested=Contested(manager="hpa", at=NOW))
    assert number_of(plan) == 2


def test_who_writes_the_number_that_is_wanted_is_in_nobodys_way() -> None:
    there = written(2, entry("hpa", NOW))
    plan = planned(sized("None", 2, conflicted()), **there)
    assert number_of(plan) == 2  # the generation is another: applied once more
    assert contest(plan) is None


def test_a_deployment_as_it_was_before_our_last_apply_has_no_writer() -> None:
    there = written(9, entry("hpa", NOW))
    last = replace(there["deployment"].last, generation=3)
    there["deployment"] = replace(there["deployment"], last=last)
    plan = planned(sized("None", 2), **there, contested=Contested(manager="hpa", at=NOW))
    assert number_of(plan) is None


def of_another_leader(number: int) -> dict[str, Any]:
    """Return a pool's children when its leader has scaled it, and had no time to say so."""
    there = written(number, entry(FIELD_MANAGER, NOW, "Apply"))
    there["deployment"] = replace(there["deployment"], last=None)
    return there


@pytest.mark.parametrize("work", [None, sample(waiting=25)])
def test_a_leader_that_ended_between_a_scaling_and_its_status_leaves_no_busy_pod_to_be_killed(
    work: DemandSample | None,
) -> None:
    """The next one knows by whose hand the number in the Deployment is, whatever the status says."""
    declared = sized("Builtin", 1, {"autoscaling": {"desired": 1}})
    plan = planned(declared, **of_another_leader(5), sample=work)
    assert number_of(plan) == 5
    assert plan.status["autoscaling"]["desired"] == 5


# The WorkerPool of a Queue.


def of_queue(mode: str, number: int = 3) -> Any:
    workers = {
        "application": "shop.work",
        "template": TEMPLATE,
        "replicas": number,
        "autoscaling": {"mode": mode},
    }
    return queue("mail", {"workers": workers})


def made(mode: str, *owners: str) -> Child:
    """Return the Queue's pool, whose number belongs to some managers."""
    action = plan_queue_pool(of_queue(mode), None)
    assert isinstance(action, CreateObject)
    return live(action, managedFields=[entry(one, NOW) for one in owners])


def sent(action: Action | Blocked | None) -> dict[str, Any]:
    assert isinstance(action, CreateObject | ApplyObject | LeaveFields)
    return dict(action.manifest["spec"])


@pytest.mark.parametrize("mode", ["Builtin", "None", "External"])
def test_a_queues_pool_begins_with_the_number_that_the_queue_says(mode: str) -> None:
    assert sent(plan_queue_pool(of_queue(mode), None))["replicas"] == 3


def test_a_number_that_is_others_from_now_on_keeps_its_value_first() -> None:
    action = plan_queue_pool(of_queue("External"), made("None", FIELD_MANAGER))
    assert isinstance(action, LeaveFields)
    assert sent(action) == {"replicas": 3}


def test_then_the_apply_leaves_it_out() -> None:
    action = plan_queue_pool(of_queue("External"), made("None", FIELD_MANAGER, LEFT_TO_OTHERS))
    assert isinstance(action, ApplyObject)
    assert "replicas" not in sent(action)


def test_then_it_is_never_sent_again() -> None:
    action = plan_queue_pool(of_queue("External"), made("None", "hpa"))
    assert "replicas" not in sent(action)
    assert isinstance(action, ApplyObject)
    there = live(action, managedFields=[entry("hpa", NOW)])
    assert plan_queue_pool(of_queue("External"), there) is None
    assert plan_queue_pool(of_queue("External", number=7), there) is None


def test_a_number_that_is_the_manifests_again_is_applied() -> None:
    external = plan_queue_pool(of_queue("External"), made("None", "hpa"))
    assert isinstance(external, ApplyObject)
    action = plan_queue_pool(of_queue("None"), live(external, managedFields=[entry("hpa", NOW)]))
    assert sent(action)["replicas"] == 3
