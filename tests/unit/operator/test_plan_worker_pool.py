"""What a WorkerPool's plan does and says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.operator.builders import (
    DATABASE,
    FOUND,
    NOW,
    OPERATOR,
    URI,
    children_of,
    condition,
    pods_ready,
    pool,
    queue,
    reason,
    sample,
)
from towpath_operator.model.conditions import Reason
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.actions import ApplyObject, CheckObject, CreateObject, Plan
from towpath_operator.plan.children import carries
from towpath_operator.plan.observed import Blocked, Child, DatabaseState, WorkerPoolObserved
from towpath_operator.plan.workerpool import plan_worker_pool
from towpath_operator.ports.cluster import (
    CONTROLLER_REVISION,
    DEPLOYMENT,
    POD_DISRUPTION_BUDGET,
    SECRET,
)

AWAY = replace(
    DATABASE,
    state=DatabaseState(
        needed_version=3, problem=Blocked(reason=Reason.DATABASE_UNREACHABLE, message="gone")
    ),
)
POOL_SPEC = {"autoscaling": {"min": 0, "max": 5}}
POOL = pool(POOL_SPEC)


def observed(**facts: Any) -> WorkerPoolObserved:
    least: dict[str, Any] = {
        "operator": OPERATOR,
        "database": DATABASE,
        "queues": {"mail": queue()},
        "sample": sample(waiting=15),
    }
    return WorkerPoolObserved(**{**least, **facts})


def children(declared: WorkerPool = POOL, **facts: Any) -> dict[str, Any]:
    """Return the pool's children as they are after its first plan, with all pods available."""
    plan = plan_worker_pool(declared, observed(**facts), NOW)
    (wanted,) = replicas(plan)
    return children_of(plan, pods_ready(wanted))


def planned(declared: WorkerPool = POOL, **facts: Any) -> Plan:
    """Plan for a pool whose children are there."""
    return plan_worker_pool(declared, observed(**{**children(), **facts}), NOW)


def replicas(plan: Plan) -> list[int]:
    """Return the number of pods in each Deployment that the plan makes or applies."""
    return [
        action.manifest["spec"]["replicas"]
        for action in plan.actions
        if isinstance(action, CreateObject | ApplyObject) and action.kind == DEPLOYMENT
    ]


def applied_deployment(plan: Plan) -> ApplyObject:
    """Return the apply of the Deployment."""
    (found,) = (a for a in plan.actions if isinstance(a, ApplyObject) and a.kind == DEPLOYMENT)
    return found


def made_deployment(plan: Plan) -> CreateObject:
    """Return the POST of the Deployment."""
    (found,) = (a for a in plan.actions if isinstance(a, CreateObject) and a.kind == DEPLOYMENT)
    return found


def with_status(child: Child, **status: Any) -> Child:
    return replace(child, live={**child.live, "status": {**child.live["status"], **status}})


def test_a_new_pool_is_checked_and_then_made_with_the_size_that_the_work_asks_for() -> None:
    plan = plan_worker_pool(POOL, observed(), NOW)
    check, *made = plan.actions
    assert isinstance(check, CheckObject)
    assert [(type(a), a.kind) for a in made if isinstance(a, CreateObject)] == [
        (CreateObject, CONTROLLER_REVISION),
        (CreateObject, SECRET),
        (CreateObject, POD_DISRUPTION_BUDGET),
        (CreateObject, DEPLOYMENT),
    ]
    assert replicas(plan) == [2]
    assert reason(plan) == "PodsStarting"
    assert condition(plan, "Reconciling")["status"] == "True"
    assert plan.status["database"] == FOUND
    assert plan.status["autoscaling"] == {"desired": 2}


def test_a_pool_with_all_its_pods_is_ready_and_asks_for_nothing() -> None:
    plan = planned()
    assert plan.actions == ()
    assert reason(plan) == "InForce"
    assert plan.status["replicas"] == 2
    assert plan.status["readyReplicas"] == 2
    assert condition(plan, "TemplateValid")["status"] == "True"
    assert condition(plan, "AutoscalingActive")["status"] == "True"


def test_a_pool_at_zero_is_ready() -> None:
    idle = sample(idle=300)
    plan = planned(**children(sample=idle), sample=idle)
    assert plan.actions == ()
    assert reason(plan) == "InForce"
    assert condition(plan)["message"] == "No pods are wanted now."


def test_a_pool_that_is_being_deleted_asks_for_nothing() -> None:
    gone = pool(deletionTimestamp="2026-03-01T11:59:00Z")
    assert plan_worker_pool(gone, observed(), NOW) == Plan()


def test_more_work_is_more_pods_at_once_and_an_event() -> None:
    plan = planned(
        pool(POOL_SPEC, status={"autoscaling": {"desired": 2}}), sample=sample(waiting=35)
    )
    assert replicas(plan) == [4]
    assert [(event.reason, event.message) for event in plan.events] == [
        ("Scaled", "From 2 to 4 pods.")
    ]


def test_the_maximum_is_named_in_the_status() -> None:
    plan = planned(sample=sample(waiting=1000))
    assert plan.status["autoscaling"] == {"desired": 5, "limitedBy": "Maximum"}


def test_no_work_for_a_minute_is_the_minimum() -> None:
    assert replicas(planned(sample=sample(idle=60))) == [0]
    assert replicas(planned(sample=sample(idle=30))) == []


def test_a_number_that_somebody_wrote_into_the_deployment_is_overwritten() -> None:
    there = children()
    deployment = there["deployment"]
    hand = {**deployment.live, "spec": {**deployment.live["spec"], "replicas": 9}}
    hand["metadata"] = {**hand["metadata"], "generation": 2}
    declared = pool(POOL_SPEC, status={"autoscaling": {"desired": 2}})
    plan = planned(declared, **{**there, "deployment": replace(deployment, live=hand)})
    assert replicas(plan) == [2]


def test_a_deployment_that_was_deleted_is_made_again() -> None:
    plan = planned(deployment=None)
    assert [type(action) for action in plan.actions] == [CreateObject]


def test_a_deployment_that_is_just_being_deleted_is_waited_for() -> None:
    there = children()
    meta = {**there["deployment"].live["metadata"], "deletionTimestamp": "2026-03-01T12:00:00Z"}
    going = replace(there["deployment"], live={**there["deployment"].live, "metadata": meta})
    assert planned(**{**there, "deployment": going}).actions == ()


def test_an_old_event_of_a_slow_watch_is_no_drift() -> None:
    there = children()
    ahead = replace(there["deployment"].last, generation=5)
    assert (
        planned(**{**there, "deployment": replace(there["deployment"], last=ahead)}).actions == ()
    )


def of_an_earlier_process(deployment: Child, **spec: Any) -> Child:
    changed = {**deployment.live, "spec": {**deployment.live["spec"], **spec}}
    return replace(deployment, last=None, live=changed)


def test_after_a_start_a_deployment_that_has_all_we_apply_is_left_alone() -> None:
    there = children()
    defaulted = of_an_earlier_process(there["deployment"], minReadySeconds=0)
    assert planned(**{**there, "deployment": defaulted}).actions == ()


def test_after_a_start_a_deployment_that_lacks_something_is_applied() -> None:
    there = children()
    edited = of_an_earlier_process(there["deployment"], progressDeadlineSeconds=7, strategy={})
    plan = planned(**{**there, "deployment": edited})
    assert [type(action) for action in plan.actions] == [ApplyObject]


def test_a_changed_template_is_applied() -> None:
    template = {"spec": {"containers": [{"name": "worker", "image": "shop:2"}]}}
    plan = planned(pool({**POOL_SPEC, "template": template}))
    action = applied_deployment(plan)
    containers = action.manifest["spec"]["template"]["spec"]["containers"]
    assert containers[0]["image"] == "shop:2"


def test_the_first_apply_after_a_start_says_nothing_until_its_effect_is_seen() -> None:
    there = children()
    edited = of_an_earlier_process(there["deployment"], strategy={})
    plan = planned(**{**there, "deployment": edited})
    assert (plan.status_changed, plan.requeue_after) == (False, timedelta(0))


def test_a_rotated_uri_changes_the_secret_and_rolls_no_pods() -> None:
    target = replace(DATABASE.target, uri=URI.replace("hunter2", "hunter3"))
    plan = planned(database=replace(DATABASE, target=target))
    (action,) = plan.actions
    assert isinstance(action, ApplyObject)
    assert action.kind == SECRET


def test_a_hand_edited_secret_is_written_again() -> None:
    there = children()
    edited = replace(there["secret"], live={**there["secret"].live, "data": {"uri": "eA=="}})
    (action,) = planned(**{**there, "secret": edited}).actions
    assert isinstance(action, ApplyObject)
    assert action.kind == SECRET


@pytest.mark.parametrize("which", ["secret", "deployment"])
def test_a_child_of_that_name_that_is_not_ours_is_left_alone(which: str) -> None:
    there = children()
    meta = {**there[which].live["metadata"], "ownerReferences": []}
    there[which] = replace(there[which], live={**there[which].live, "metadata": meta})
    plan = planned(**there)
    assert plan.actions == ()
    assert reason(plan) == "NameTaken"
    assert condition(plan, "Stalled")["status"] == "True"


# Databases and queues that are not there.


@pytest.mark.parametrize(
    ("database", "why"),
    [
        (Blocked(reason=Reason.SECRET_NOT_FOUND, message="none"), "SecretNotFound"),
        (AWAY, "DatabaseUnreachable"),
        (replace(DATABASE, state=DatabaseState(needed_version=3)), "SchemaPending"),
    ],
)
def test_without_a_usable_database_nothing_is_made(database: Any, why: str) -> None:
    plan = plan_worker_pool(POOL, observed(database=database), NOW)
    assert plan.actions == ()
    assert reason(plan) == why
    assert plan.requeue_after is not None


def test_what_runs_goes_on_at_its_size_while_the_database_is_away() -> None:
    plan = planned(database=AWAY, sample=sample(idle=300, age=500))
    assert plan.actions == ()
    assert reason(plan) == "DatabaseUnreachable"
    assert plan.status["autoscaling"] == {"desired": 2, "limitedBy": "DatabaseError"}
    assert condition(plan, "AutoscalingActive")["status"] == "False"


def test_a_changed_template_is_applied_also_while_the_database_is_away() -> None:
    template = {"spec": {"containers": [{"name": "worker", "image": "shop:2"}]}}
    plan = planned(pool({**POOL_SPEC, "template": template}), database=AWAY)
    assert applied_deployment(plan)


def test_a_pool_without_any_queue_waits_for_one() -> None:
    plan = plan_worker_pool(POOL, observed(queues={}), NOW)
    assert plan.actions == ()
    assert reason(plan) == "QueueNotFound"
    assert "shop/mail" in condition(plan)["message"]
    assert condition(plan, "Reconciling")["status"] == "True"


@pytest.mark.parametrize("idle", [None, 600])
def test_pods_whose_queue_is_gone_for_a_while_keep_their_template_and_their_number(
    idle: int | None,
) -> None:
    """A Queue is deleted and applied again, or breaks a rule of a newer operator."""
    work = replace(sample(idle=idle), queues={})
    declared = pool(POOL_SPEC, {"autoscaling": {"desired": 2}})
    plan = planned(declared, queues={}, sample=work)
    assert plan.actions == ()
    assert reason(plan) == "QueueNotFound"
    assert plan.status["autoscaling"] == {"desired": 2, "limitedBy": "NoSample"}


def test_a_pool_serves_the_queues_that_are_there_and_names_the_one_that_is_not() -> None:
    declared = pool({"queues": [{"name": "mail"}, {"name": "post"}]})
    plan = plan_worker_pool(declared, observed(), NOW)
    assert reason(plan) == "QueueNotFound"
    assert "shop/post" in condition(plan)["message"]
    assert environment(made_deployment(plan))["TOWPATH_QUEUES"] == "mail"


def environment(action: CreateObject) -> dict[str, Any]:
    container = action.manifest["spec"]["template"]["spec"]["containers"][0]
    return {entry["name"]: entry.get("value") for entry in container["env"]}


def test_a_pool_serves_queues_by_the_name_that_python_says() -> None:
    plan = plan_worker_pool(
        POOL,
        observed(queues={"mail": queue(spec={"queueName": "letters"})}),
        NOW,
    )
    assert environment(made_deployment(plan))["TOWPATH_QUEUES"] == "letters"


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (queue(spec={"databaseRef": {"name": "other"}}), "QueueNotFound"),
        (queue(status={"database": {**FOUND, "schema": "team"}}), "QueueNotFound"),
        (
            queue(
                status={
                    "conditions": [{"type": "Ready", "status": "False", "reason": "QueueConflict"}]
                }
            ),
            "QueueConflict",
        ),
    ],
)
def test_a_queue_of_another_database_or_without_its_name_is_not_served(
    other: Any, why: str
) -> None:
    plan = plan_worker_pool(POOL, observed(queues={"mail": other}), NOW)
    assert plan.actions == ()
    assert reason(plan) == why


# Templates and pods that do not work.


def test_a_template_that_cannot_be_used_changes_nothing_and_is_said() -> None:
    bad = {
        "spec": {
            "containers": [
                {"name": "worker", "image": "x", "env": [{"name": "TOWPATH_SLOTS", "value": "1"}]}
            ]
        }
    }
    plan = planned(pool({"template": bad}))
    assert plan.actions == ()
    assert reason(plan) == "TemplateRejected"
    assert condition(plan, "TemplateValid")["status"] == "False"
    assert "spec.template.spec.containers[0].env" in condition(plan)["message"]
    assert plan.requeue_after is None


def test_pods_that_are_still_starting_are_counted() -> None:
    there = children()
    there["deployment"] = with_status(there["deployment"], availableReplicas=1)
    plan = planned(**there)
    assert reason(plan) == "PodsStarting"
    assert condition(plan)["message"] == "1 of 2 pods are available."
    assert plan.events == ()


def test_a_pod_that_cannot_import_the_application_is_the_pools_reason() -> None:
    there = children()
    there["deployment"] = with_status(there["deployment"], availableReplicas=0)
    message = "Starting\nerror: cannot import application 'shop.work': No module named 'stripe'\n"
    pod = {
        "metadata": {"name": "mailers-1"},
        "status": {
            "containerStatuses": [
                {
                    "name": "worker",
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": {"terminated": {"exitCode": 1, "message": message}},
                }
            ]
        },
    }
    plan = planned(**there, pods=(pod,))
    assert reason(plan) == "ImportFailed"
    assert condition(plan)["message"].endswith("No module named 'stripe'")
    assert condition(plan, "Stalled")["status"] == "True"
    assert [event.warning for event in plan.events] == [True]


def test_the_work_of_its_queues_is_in_the_status() -> None:
    status = planned(sample=sample(waiting=12, running=3)).status
    assert (status["waiting"], status["running"]) == (12, 3)


def test_nothing_secret_shows_in_a_plan() -> None:
    text = repr(plan_worker_pool(POOL, observed(), NOW)) + repr(observed())
    assert "hunter2" not in text


def test_what_is_empty_may_be_left_out_by_the_api_server() -> None:
    assert carries({"env": [{"name": "A"}]}, {"env": [{"name": "A", "value": ""}], "labels": {}})
    assert not carries({}, {"automountServiceAccountToken": False})
    assert not carries(
        {"env": [{"name": "A", "value": "b"}]}, {"env": [{"name": "A", "value": ""}]}
    )
