"""The pod template that was rendered once is kept: who is restarted by what, and by what not."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.operator.builders import (
    DATABASE,
    NOW,
    OPERATOR,
    TEMPLATE,
    children_of,
    live,
    pods_ready,
    pool,
    queue,
    reason,
    sample,
)
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.actions import (
    ApplyObject,
    CheckObject,
    CreateObject,
    DeleteObject,
    Plan,
)
from towpath_operator.plan.observed import Child, WorkerPoolObserved
from towpath_operator.plan.workerpool import plan_worker_pool
from towpath_operator.ports.cluster import CONTROLLER_REVISION, DEPLOYMENT, SECRET
from towpath_operator.render import template as rendering
from towpath_operator.render.facts import build_id
from towpath_operator.render.names import REVISION_ANNOTATION, annotation
from towpath_operator.render.revision import read_revision

BAD = {"spec": {"containers": [{"image": "shop:1"}]}}
ELSE = {"spec": {"containers": [{"name": "worker", "image": "shop:2"}]}}


def planned(declared: WorkerPool, **facts: Any) -> Plan:
    least: dict[str, Any] = {"queues": {"mail": queue()}, "sample": sample()}
    observed = WorkerPoolObserved(operator=OPERATOR, database=DATABASE, **{**least, **facts})
    return plan_worker_pool(declared, observed, NOW)


def there(declared: WorkerPool | None = None) -> dict[str, Any]:
    """Return the pool's children after its first plan, with one pod available."""
    return children_of(planned(declared or pool()), pods_ready(1))


def after_restart(children: dict[str, Any]) -> dict[str, Any]:
    """Return the children as a new process sees them."""
    known = {name: replace(one, last=None) for name, one in children.items() if name != "revisions"}
    return {**children, **known}


@pytest.fixture
def next_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the renderer give every worker one variable more."""
    today = vars(rendering)["worker_environment"]

    def with_one_more(*arguments: Any) -> list[dict[str, Any]]:
        return [*today(*arguments), {"name": "TOWPATH_NEW", "value": "1"}]

    monkeypatch.setitem(vars(rendering), "worker_environment", with_one_more)


def applied_template(plan: Plan) -> dict[str, Any]:
    (found,) = (
        one.manifest["spec"]["template"]
        for one in plan.actions
        if isinstance(one, ApplyObject) and one.kind == DEPLOYMENT
    )
    return dict(found)


def template_of(children: dict[str, Any]) -> dict[str, Any]:
    return dict(children["deployment"].live["spec"]["template"])


def test_a_renderer_that_adds_a_variable_changes_no_template(
    request: pytest.FixtureRequest,
) -> None:
    children = after_restart(there())
    request.getfixturevalue("next_release")
    assert planned(pool(), **children).actions == ()
    drifted = replace(
        children["deployment"],
        live={
            **children["deployment"].live,
            "spec": {**children["deployment"].live["spec"], "strategy": {}},
        },
    )
    plan = planned(pool(), **{**children, "deployment": drifted})
    assert applied_template(plan) == template_of(children)
    assert not any(isinstance(one, CheckObject) for one in plan.actions)


def test_with_the_next_changed_template_the_new_rendering_comes(
    request: pytest.FixtureRequest,
) -> None:
    children = after_restart(there())
    request.getfixturevalue("next_release")
    plan = planned(pool({"template": ELSE}), **children)
    templates = [
        one.manifest["spec"]["template"]
        for one in plan.actions
        if isinstance(one, ApplyObject) and one.kind == DEPLOYMENT
    ]
    assert "TOWPATH_NEW" in json.dumps(templates[-1])


@pytest.mark.parametrize(
    "change",
    [
        {"slots": 3},
        {"application": "shop.other"},
        {"drain": {"timeout": "40s"}},
        {"template": ELSE},
    ],
)
def test_what_the_pods_are_made_from_makes_a_new_revision(change: dict[str, Any]) -> None:
    plan = planned(pool(change), **there())
    made = [one.kind for one in plan.actions if isinstance(one, CreateObject)]
    assert made == [CONTROLLER_REVISION]
    assert isinstance(plan.actions[0], CheckObject)


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 4},
        {"autoscaling": {"min": 0, "max": 3}},
        {"strategy": {"maxSurge": 1}},
        {"template": {"metadata": None, **TEMPLATE}},
        {"drain": {"timeout": "30000ms"}},
    ],
)
def test_what_the_pods_are_not_made_from_makes_none(change: dict[str, Any]) -> None:
    plan = planned(pool(change), **there())
    assert not any(isinstance(one, CheckObject | CreateObject) for one in plan.actions)


def test_the_build_id_is_of_the_users_template_and_application_alone() -> None:
    assert build_id(pool()) == build_id(pool({"slots": 2, "drain": {"timeout": "1s"}}))
    assert build_id(pool()) == build_id(pool({"template": {"metadata": None, **TEMPLATE}}))
    assert build_id(pool()) != build_id(pool({"template": ELSE}))
    assert build_id(pool()) != build_id(pool({"application": "shop.other"}))
    assert len(build_id(pool())) == 10


def test_a_lost_revision_is_taken_from_the_deployment_if_nobody_has_touched_that(
    request: pytest.FixtureRequest,
) -> None:
    children = there()
    status = planned(pool(), **children).status
    request.getfixturevalue("next_release")
    lost = {**after_restart(children), "revisions": ()}
    (made,) = planned(pool(status=status), **lost).actions
    assert isinstance(made, CreateObject)
    adopted = read_revision(pool(), made.manifest)
    assert adopted is not None
    assert adopted.template == template_of(children)


def test_a_lost_revision_is_not_taken_from_a_deployment_that_a_hand_has_changed(
    request: pytest.FixtureRequest,
) -> None:
    children = there()
    status = planned(pool(), **children).status
    request.getfixturevalue("next_release")
    deployment = children["deployment"]
    spec = {**deployment.live["spec"]["template"]["spec"], "nodeSelector": {"disk": "fast"}}
    hand = {**deployment.live["spec"], "template": {**template_of(children), "spec": spec}}
    touched = replace(deployment, live={**deployment.live, "spec": hand})
    lost = {**after_restart({**children, "deployment": touched}), "revisions": ()}
    text = json.dumps(applied_template(planned(pool(status=status), **lost)))
    assert "nodeSelector" not in text
    assert "TOWPATH_NEW" in text


def test_a_revision_that_a_hand_made_anew_with_another_content_goes_and_rolls_nothing() -> None:
    children = there()
    (kept,) = children["revisions"]
    data = {**kept.live["data"], "template": json.dumps({"spec": {"containers": []}})}
    forged = Child(live={**kept.live, "data": data})
    plan = planned(pool(), **{**children, "revisions": (forged,)})
    uid = kept.live["metadata"]["uid"]
    assert [(type(one), getattr(one, "uid", "")) for one in plan.actions] == [(DeleteObject, uid)]


def test_two_older_revisions_are_kept_and_the_present_one_whatever_its_number() -> None:
    declared = pool()
    children = there(declared)
    others = []
    for number, slots in enumerate((1, 2, 3, 4), start=2):
        plan = planned(pool({"slots": slots}), **children)
        (made,) = (one for one in plan.actions if isinstance(one, CreateObject))
        others.append(Child(live={**live(made).live, "revision": number}))
    plan = planned(declared, **{**children, "revisions": (*children["revisions"], *others)})
    gone = [one.key.name for one in plan.actions if isinstance(one, DeleteObject)]
    assert gone == [others[1].live["metadata"]["name"], others[0].live["metadata"]["name"]]


def test_while_a_template_cannot_be_used_the_number_follows_with_the_one_before() -> None:
    children = there()
    declared = pool({"template": BAD}, status={"autoscaling": {"desired": 1}})
    plan = planned(
        declared,
        **children,
    )
    assert (plan.actions, reason(plan)) == ((), "TemplateRejected")
    plan = planned(declared, **{**children, "sample": sample(waiting=35)})
    (action,) = plan.actions
    assert isinstance(action, ApplyObject)
    assert action.manifest["spec"]["replicas"] == 4
    assert action.manifest["spec"]["template"] == template_of(children)
    assert reason(plan) == "TemplateRejected"


def test_while_a_template_cannot_be_used_a_rotated_uri_reaches_the_pods() -> None:
    target = replace(DATABASE.target, uri="postgresql://app:other@db.example/shop")
    observed = WorkerPoolObserved(
        operator=OPERATOR,
        database=replace(DATABASE, target=target),
        queues={"mail": queue()},
        sample=sample(),
        **there(),
    )
    plan = plan_worker_pool(pool({"template": BAD}), observed, NOW)
    assert [one.kind for one in plan.actions if isinstance(one, ApplyObject)] == [SECRET]


def test_an_unknown_template_is_checked_after_the_number_and_before_anything_of_its_own() -> None:
    declared = pool({"template": ELSE}, status={"autoscaling": {"desired": 1}})
    children = there()
    plan = planned(declared, **{**children, "sample": sample(waiting=35)})
    kinds = [(type(one).__name__, one.kind.name) for one in plan.actions if hasattr(one, "kind")]
    assert kinds[0] == ("ApplyObject", "Deployment")
    assert kinds[1] == ("CheckObject", "Deployment")
    assert kinds[-1] == ("ApplyObject", "Deployment")
    first, last = plan.actions[0], plan.actions[-1]
    assert isinstance(first, ApplyObject)
    assert isinstance(last, ApplyObject)
    assert first.manifest["spec"]["template"] == template_of(children)
    names = [annotation(one.manifest, REVISION_ANNOTATION) for one in (first, last)]
    assert names[0] != names[1]


def test_the_status_names_the_build_the_revision_and_the_template_that_the_api_server_has() -> None:
    children = there()
    status = planned(pool(), **children).status
    assert status["buildId"] == build_id(pool())
    (kept,) = children["revisions"]
    assert status["revision"] == kept.live["metadata"]["name"]
    assert status["templateHash"]
    assert status["selector"] == "towpath.dev/deployment=mailers,towpath.dev/pool=mailers"


def test_a_plan_shows_no_template() -> None:
    """A user may have written a password into it."""
    secret = {"name": "PGPASS", "value": "hunter2"}
    template = {"spec": {"containers": [{"name": "worker", "image": "x", "env": [secret]}]}}
    assert "hunter2" not in repr(planned(pool({"template": template})))
    assert timedelta(0) == planned(pool({"template": template})).requeue_after
