"""Conditions, numbers, failures, and what the cluster's refusals mean."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operator.builders import (
    NOW,
    TARGET,
    condition,
    database,
    metadata,
    owner,
    pool,
    queue,
    reason,
)
from towpath.domain.queue import QueueSettings
from towpath_operator.model.conditions import Reason
from towpath_operator.model.errors import ManifestError
from towpath_operator.model.parse import parse_queue
from towpath_operator.plan.actions import (
    Action,
    ApplyObject,
    CreateObject,
    DeclareQueue,
    Failure,
    MigrateSchema,
    Plan,
)
from towpath_operator.plan.failures import explain
from towpath_operator.plan.observed import Blocked
from towpath_operator.plan.pods import pods_trouble
from towpath_operator.plan.status import Draft, Verdict, failed, invalid, no, settle, yes
from towpath_operator.ports.cluster import (
    DEPLOYMENT,
    SECRET,
    WORKER_POOL,
    AlreadyExists,
    ClusterError,
    ObjectKey,
)

GOOD = yes(Reason.IN_FORCE, "fine")
BAD = no(Blocked(reason=Reason.CREDENTIALS_REJECTED, message="no"))
SLOW = no(Blocked(reason=Reason.PODS_STARTING, message="soon"))
LATER = NOW + timedelta(minutes=5)


def settled(ready: Verdict, previous: dict[str, Any] | None = None, **other: Any) -> Plan:
    return settle(Draft(subject=queue(status=previous), ready=ready, **other), LATER)


def test_a_transition_time_is_kept_while_the_status_is_the_same() -> None:
    first = settle(Draft(subject=queue(), ready=BAD), NOW)
    again = settled(SLOW, first.status)
    assert condition(again)["lastTransitionTime"] == "2026-03-01T12:00:00Z"
    assert condition(again)["reason"] == "PodsStarting"
    turned = settled(GOOD, first.status)
    assert condition(turned)["lastTransitionTime"] == "2026-03-01T12:05:00Z"


def test_stalled_and_reconciling_are_there_only_while_true() -> None:
    kinds = [[c["type"] for c in settled(v).status["conditions"]] for v in (GOOD, BAD, SLOW)]
    assert kinds == [["Ready"], ["Ready", "Stalled"], ["Ready", "Reconciling"]]


def test_a_condition_says_which_generation_it_is_about() -> None:
    plan = settle(Draft(subject=queue(generation=7), ready=GOOD), NOW)
    assert condition(plan)["observedGeneration"] == 7
    assert plan.status["observedGeneration"] == 7


@pytest.mark.parametrize(
    ("before", "after", "events"),
    [
        (None, GOOD, [("InForce", False)]),
        (GOOD, GOOD, []),
        (GOOD, SLOW, []),
        (SLOW, GOOD, []),
        (GOOD, BAD, [("CredentialsRejected", True)]),
        (BAD, BAD, []),
        (BAD, GOOD, [("InForce", False)]),
    ],
)
def test_events_are_of_transitions_that_are_not_every_days(
    before: Verdict | None, after: Verdict, events: list[tuple[str, bool]]
) -> None:
    previous = settled(before).status if before is not None else None
    plan = settled(after, previous)
    assert [(event.reason, event.warning) for event in plan.events] == events


# Numbers.


def numbers(old: int | None, new: int | None, seconds_ago: float | None) -> Plan:
    status = settled(GOOD, numbers={"waiting": old}).status
    written = None if seconds_ago is None else LATER - timedelta(seconds=seconds_ago)
    return settled(GOOD, status, numbers={"waiting": new}, numbers_written_at=written)


@pytest.mark.parametrize(
    ("old", "new", "seconds_ago", "written"),
    [
        (None, 5, None, True),
        (100, 110, 60, True),
        (100, 90, 60, True),
        (100, 109, 60, False),
        (100, 100, 60, False),
        (0, 1, 60, True),
        (1, 0, 60, True),
        (100, 200, 9, False),
        (100, 200, 10, True),
        (0, 1, 3, False),
    ],
)
def test_numbers_are_written_on_a_change_of_a_tenth_and_every_ten_seconds_at_most(
    old: int | None, new: int, seconds_ago: float | None, *, written: bool
) -> None:
    plan = numbers(old, new, seconds_ago)
    assert plan.status_changed is plan.numbers_changed is written
    assert plan.status.get("waiting") == (new if written else old)


def test_a_number_that_comes_too_early_is_looked_at_when_it_is_due() -> None:
    assert numbers(100, 200, 4).requeue_after == timedelta(seconds=6)
    assert numbers(100, 101, 4).requeue_after is None


def test_a_changed_condition_takes_the_numbers_along() -> None:
    status = settled(GOOD, numbers={"waiting": 100}).status
    plan = settled(BAD, status, numbers={"waiting": 101}, numbers_written_at=LATER)
    assert plan.status_changed
    assert plan.status["waiting"] == 101


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.none() | st.floats(0, 60))
def test_a_status_that_is_settled_again_is_not_written_again(
    old: int, new: int, seconds_ago: float | None
) -> None:
    status = numbers(old, new, seconds_ago).status
    again = settled(GOOD, status, numbers={"waiting": status.get("waiting")})
    assert not again.status_changed


# Failures.


def test_a_failed_action_is_said_in_the_place_of_what_would_be() -> None:
    plan = settled(GOOD, facts={"queueName": "mail"})
    after = failed(queue(), plan, Failure(reason=Reason.QUOTA_EXCEEDED, message="full"), LATER)
    assert reason(after) == "QuotaExceeded"
    assert condition(after, "Stalled")["message"] == "full"
    assert after.status["queueName"] == "mail"
    assert after.status_changed
    assert [event.warning for event in after.events] == [True]
    assert after.requeue_after is not None


def test_a_rejected_template_is_said_in_its_own_condition_too() -> None:
    failure = Failure(reason=Reason.TEMPLATE_REJECTED, message="no")
    after = failed(pool(), settled(GOOD), failure, LATER)
    assert condition(after, "TemplateValid")["status"] == "False"


def test_a_passing_trouble_says_nothing_of_an_object_that_is_in_force() -> None:
    status = settled(GOOD).status
    after = failed(
        queue(status=status), settled(SLOW, status), Failure(reason=None, message="503"), LATER
    )
    assert not after.status_changed
    assert after.status == status
    assert after.events == ()
    assert after.requeue_after is not None


def test_a_passing_trouble_is_said_of_an_object_that_is_not_in_force_yet() -> None:
    after = failed(queue(), settled(SLOW), Failure(reason=None, message="503"), LATER)
    assert reason(after) == "Retrying"
    assert condition(after, "Reconciling")["message"] == "503"
    assert after.events == ()


def test_a_spec_that_breaks_a_rule_is_said_with_its_field() -> None:
    manifest = {
        "apiVersion": "towpath.dev/v1alpha1",
        "kind": "Queue",
        "metadata": metadata("mail", generation=4),
        "spec": {"concurrency": {"global": 0}},
        "status": {"waiting": 3},
    }
    with pytest.raises(ManifestError) as refusal:
        parse_queue(manifest)
    plan = invalid(manifest, refusal.value, NOW)
    assert reason(plan) == "InvalidSpec"
    assert "spec.concurrency.global" in condition(plan)["message"]
    assert condition(plan, "Stalled")["observedGeneration"] == 4
    assert plan.status["waiting"] == 3
    assert plan.actions == ()
    assert not invalid({**manifest, "status": plan.status}, refusal.value, LATER).status_changed


# What refusals mean.


def child(kind: Any, verb: type[Any] = ApplyObject) -> Action:
    key = ObjectKey("shop", "mail")
    action: Action = verb(kind=kind, key=key, manifest={}, applied="")
    return action


DECLARE = DeclareQueue(
    target=TARGET,
    queue_name="mail",
    settings=QueueSettings(),
    paused=None,
    closed=None,
    owner=owner(queue()),
    replaces=None,
)


@pytest.mark.parametrize(
    ("action", "error", "why"),
    [
        (
            child(DEPLOYMENT, CreateObject),
            AlreadyExists("there", status=409),
            Reason.NAME_TAKEN,
        ),
        (child(DEPLOYMENT), ClusterError("invalid", status=422), Reason.TEMPLATE_REJECTED),
        (child(DEPLOYMENT), ClusterError("bad", status=400), Reason.TEMPLATE_REJECTED),
        (
            child(DEPLOYMENT),
            ClusterError("admission webhook denied the request", status=403),
            Reason.TEMPLATE_REJECTED,
        ),
        (
            child(DEPLOYMENT),
            ClusterError("exceeded quota: count/deployments.apps", status=403),
            Reason.QUOTA_EXCEEDED,
        ),
        (child(DEPLOYMENT), ClusterError("user x cannot patch resource", status=403), None),
        (child(DEPLOYMENT), ClusterError("timeout", status=0), None),
        (child(DEPLOYMENT), ClusterError("conflict", status=409), None),
        (child(DEPLOYMENT), ClusterError("oops", status=500), None),
        (child(WORKER_POOL), ClusterError("invalid", status=422), None),
        (child(SECRET), ClusterError("exceeded quota: secrets", status=403), None),
        (MigrateSchema(target=TARGET), ClusterError("x", status=500), None),
        (DECLARE, ClusterError("x", status=500), None),
    ],
)
def test_a_refusal_by_the_cluster_has_a_meaning(
    action: Action, error: ClusterError, why: Reason | None
) -> None:
    assert explain(action, error).reason == why


def test_a_refused_secret_is_never_quoted() -> None:
    error = ClusterError("data: Invalid value: postgresql://app:hunter2@h/d", status=422)
    assert "hunter2" not in explain(child(SECRET), error).message


# What pods say.


def pod(container: dict[str, Any], **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "mail-1"},
        "status": {"containerStatuses": [{"name": "worker", **container}], **status},
    }


def waiting(why: str, message: str = "") -> dict[str, Any]:
    return {"state": {"waiting": {"reason": why, "message": message}}}


@pytest.mark.parametrize(
    ("container", "why", "said"),
    [
        (waiting("ImagePullBackOff", "Back-off pulling"), Reason.IMAGE_PULL, "Back-off pulling"),
        (waiting("ErrImagePull", "not found"), Reason.IMAGE_PULL, "not found"),
        (
            waiting("CreateContainerConfigError", "image will run as root"),
            Reason.PODS_REJECTED,
            "run as root",
        ),
        (
            {
                **waiting("CrashLoopBackOff"),
                "lastState": {"terminated": {"exitCode": 3, "message": "one\ntwo\n"}},
            },
            Reason.CRASH_LOOP,
            "(code 3): two",
        ),
        (waiting("CrashLoopBackOff"), Reason.CRASH_LOOP, "printed nothing"),
        (
            {"state": {"terminated": {"exitCode": 1, "message": "cannot import application 'x'"}}},
            Reason.IMPORT_FAILED,
            "cannot import application 'x'",
        ),
    ],
)
def test_a_pod_that_does_not_come_up_says_why(
    container: dict[str, Any], why: Reason, said: str
) -> None:
    trouble = pods_trouble([pod(container)], {})
    assert trouble is not None
    assert trouble.reason is why
    assert said in trouble.message


def test_pods_that_come_up_or_go_are_no_trouble() -> None:
    creating = pod(waiting("ContainerCreating"))
    going = pod(waiting("CrashLoopBackOff"))
    going["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    assert pods_trouble([creating, going, pod({"ready": True})], {}) is None
    assert pods_trouble([{"metadata": {"name": "new"}}], {}) is None


def test_a_pod_that_fits_no_node_is_unschedulable() -> None:
    unscheduled = pod(
        {},
        conditions=[
            {"type": "PodScheduled", "reason": "Unschedulable", "message": "0/3 nodes"},
        ],
    )
    trouble = pods_trouble([unscheduled], {})
    assert trouble is not None
    assert (trouble.reason, "0/3 nodes" in trouble.message) == (Reason.UNSCHEDULABLE, True)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ('pods "x" is forbidden: exceeded quota: small', Reason.QUOTA_EXCEEDED),
        ('pods "x" is forbidden: violates PodSecurity', Reason.PODS_REJECTED),
    ],
)
def test_pods_that_the_api_server_refuses_are_read_from_the_deployment(
    message: str, why: Reason
) -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": message}
    trouble = pods_trouble([], {"status": {"conditions": [refused]}})
    assert trouble == Blocked(reason=why, message=message)


def test_the_gravest_trouble_is_the_one_that_is_said() -> None:
    importing = {"state": {"terminated": {"message": "cannot import application 'x'"}}}
    trouble = pods_trouble([pod(waiting("ErrImagePull")), pod(importing)], {})
    assert trouble is not None
    assert trouble.reason is Reason.IMPORT_FAILED


def test_every_kind_can_be_said_to_have_failed() -> None:
    for subject in (queue(), pool(), database()):
        after = failed(subject, Plan(), Failure(reason=None, message="x"), NOW)
        assert reason(after) == "Retrying"
        assert after.status["observedGeneration"] == 1
