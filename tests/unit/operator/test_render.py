"""The children of a pool and of a Queue with workers."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operator.builders import TEMPLATE, URI, metadata, pool, queue
from towpath_operator.model.parse import parse_worker_pool
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.render.environment import RESERVED, PodDatabase
from towpath_operator.render.facts import PodFacts, build_id, inputs_hash
from towpath_operator.render.names import APPLIED_ANNOTATION, hash_of
from towpath_operator.render.pool import render_deployment, render_secret
from towpath_operator.render.queue import render_worker_pool
from towpath_operator.render.revision import Revision
from towpath_operator.render.shapes import TemplateError
from towpath_operator.render.template import render_template


def rendered(declared: WorkerPool, *, replicas: int = 2, **other: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"queue_names": ("mail",), "database": PodDatabase(schema="towpath")}
    facts = PodFacts(**{**values, **other})
    template = render_template(declared, facts)
    revision = Revision(number=1, inputs=inputs_hash(declared, facts), template=template)
    return render_deployment(declared, revision, replicas=replicas)


def pod_spec(template: Mapping[str, Any], **other: Any) -> dict[str, Any]:
    spec: dict[str, Any] = rendered(pool({"template": template}, **other))["spec"]["template"][
        "spec"
    ]
    return spec


def worker(template: Mapping[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = pod_spec(template)["containers"][0]
    return container


def container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "worker", "image": "shop:1", **fields}]}}


def environment(template: Mapping[str, Any] = TEMPLATE) -> dict[str, Any]:
    return {
        entry["name"]: entry.get("value", entry.get("valueFrom"))
        for entry in worker(template)["env"]
    }


def test_the_deployment_is_named_labelled_and_owned_after_its_pool() -> None:
    deployment = rendered(pool())
    found_by = {"towpath.dev/pool": "mailers", "towpath.dev/deployment": "mailers"}
    labels = {**found_by, "towpath.dev/build-id": build_id(pool())}
    assert deployment["metadata"]["name"] == "mailers"
    assert deployment["metadata"]["namespace"] == "shop"
    assert deployment["metadata"]["labels"] == labels
    assert deployment["spec"]["selector"] == {"matchLabels": found_by}
    assert deployment["spec"]["template"]["metadata"]["labels"] == labels
    assert deployment["spec"]["replicas"] == 2
    (reference,) = deployment["metadata"]["ownerReferences"]
    assert reference["uid"] == "uid-mailers"
    assert reference["controller"] is True
    assert reference["kind"] == "WorkerPool"
    # It takes a right on the owner, in clusters that guard it.
    assert "blockOwnerDeletion" not in reference


def test_the_environment_is_that_of_the_contract() -> None:
    declared = pool({"slots": 4, "drain": {"timeout": "1m30s"}})
    deployment = rendered(
        declared, queue_names=["post", "mail"], database=PodDatabase(schema="team")
    )
    entries = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {e["name"]: e["value"] for e in entries if "value" in e} == {
        "TOWPATH_DATABASE_URL_FILE": "/var/run/towpath/database/uri",
        "TOWPATH_SCHEMA": "team",
        "TOWPATH_QUEUES": "mail,post",
        "TOWPATH_SLOTS": "4",
        "TOWPATH_DRAIN_SECONDS": "90",
        "TOWPATH_POOL": "shop/mailers",
        "TOWPATH_VERSION": "",
        "TOWPATH_MIGRATE": "0",
        "TOWPATH_HTTP_PORT": "8686",
    }
    paths = {
        e["name"]: e["valueFrom"]["fieldRef"]["fieldPath"] for e in entries if "valueFrom" in e
    }
    assert paths == {
        "TOWPATH_POD_NAME": "metadata.name",
        "TOWPATH_POD_UID": "metadata.uid",
        "TOWPATH_NODE": "spec.nodeName",
    }


def test_a_drain_of_a_part_of_a_second_is_written_as_such() -> None:
    deployment = rendered(pool({"drain": {"timeout": "1500ms"}}))
    spec = deployment["spec"]["template"]["spec"]
    env = {e["name"]: e.get("value") for e in spec["containers"][0]["env"]}
    assert env["TOWPATH_DRAIN_SECONDS"] == "1.5"
    assert spec["terminationGracePeriodSeconds"] == 22


def test_the_command_runs_the_application_unless_the_template_says_another() -> None:
    assert worker(container())["command"] == ["towpath", "worker", "run", "--app", "shop.work"]
    assert worker(container(command=["./start"]))["command"] == ["./start"]
    assert "command" not in worker(container(args=["start"]))


def test_the_users_variables_come_after_ours_so_that_they_can_refer_to_them() -> None:
    names = [
        e["name"]
        for e in worker(container(env=[{"name": "ME", "value": "$(TOWPATH_NODE)"}]))["env"]
    ]
    assert names[-1] == "ME"
    assert names.index("TOWPATH_NODE") < names.index("ME")


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_a_reserved_variable_in_a_template_is_refused(name: str) -> None:
    with pytest.raises(TemplateError, match=name) as refusal:
        worker(container(env=[{"name": name, "value": "x"}]))
    assert refusal.value.field == "spec.template.spec.containers[0].env"


def test_a_reserved_variable_is_refused_in_a_side_container_too() -> None:
    template = container()
    template["spec"]["initContainers"] = [
        {"name": "wait", "image": "x", "env": [{"name": "TOWPATH_QUEUES", "value": ""}]}
    ]
    with pytest.raises(TemplateError, match=r"initContainers\[0\]"):
        worker(template)


def test_other_variables_that_begin_with_towpath_are_the_users() -> None:
    assert (
        environment(container(env=[{"name": "TOWPATH_MINE", "value": "1"}]))["TOWPATH_MINE"] == "1"
    )


def test_the_uri_is_mounted_as_a_file_without_sub_path() -> None:
    spec = pod_spec(TEMPLATE)
    assert spec["volumes"] == [
        {"name": "towpath-database", "secret": {"secretName": "mailers-database"}}
    ]
    assert spec["containers"][0]["volumeMounts"] == [
        {"name": "towpath-database", "mountPath": "/var/run/towpath/database", "readOnly": True}
    ]


def test_the_probes_allow_five_minutes_to_import_and_ninety_seconds_without_life() -> None:
    container = worker(TEMPLATE)
    start, live, ready = (
        container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")
    )
    assert start["periodSeconds"] * start["failureThreshold"] == 300
    assert live["periodSeconds"] * live["failureThreshold"] == 90
    assert (ready["periodSeconds"], ready["failureThreshold"]) == (1, 1)
    assert live["httpGet"] == {"path": "/livez", "port": 8686}
    assert ready["httpGet"] == {"path": "/readyz", "port": 8686}


def test_pods_get_the_drain_and_twenty_seconds_to_end_or_more_if_the_user_says_so() -> None:
    assert pod_spec(TEMPLATE)["terminationGracePeriodSeconds"] == 50
    longer = {"spec": {**TEMPLATE["spec"], "terminationGracePeriodSeconds": 600}}
    assert pod_spec(longer)["terminationGracePeriodSeconds"] == 600


def test_where_the_template_is_silent_the_pod_is_restricted() -> None:
    spec = pod_spec(TEMPLATE)
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert spec["automountServiceAccountToken"] is False
    assert spec["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["containers"][0]["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_what_the_template_says_about_security_stands() -> None:
    template = container(
        securityContext={"runAsUser": 0, "capabilities": {"add": ["SYS_ADMIN"], "drop": []}}
    )
    template["spec"] |= {"automountServiceAccountToken": True, "securityContext": {"fsGroup": 7}}
    spec = pod_spec(template)
    assert spec["automountServiceAccountToken"] is True
    assert spec["securityContext"]["fsGroup"] == 7
    context = spec["containers"][0]["securityContext"]
    assert context == {
        "runAsUser": 0,
        "runAsNonRoot": False,
        "capabilities": {"add": ["SYS_ADMIN"], "drop": []},
    }


def test_the_container_called_worker_is_the_worker_else_the_first() -> None:
    two = [{"name": "proxy", "image": "p"}, {"name": "worker", "image": "w"}]
    spec = pod_spec({"spec": {"containers": two}})
    assert "env" not in spec["containers"][0]
    assert spec["containers"][1]["env"]
    other = [{"name": "main", "image": "m"}, {"name": "proxy", "image": "p"}]
    assert pod_spec({"spec": {"containers": other}})["containers"][0]["env"]


def test_what_else_the_template_says_is_kept() -> None:
    template = {
        "metadata": {"labels": {"team": "mail"}, "annotations": {"a": "b"}},
        "spec": {**TEMPLATE["spec"], "nodeSelector": {"disk": "ssd"}},
    }
    made = rendered(pool({"template": template}))["spec"]["template"]
    assert made["metadata"]["labels"]["team"] == "mail"
    assert made["metadata"]["annotations"] == {"a": "b"}
    assert made["spec"]["nodeSelector"] == {"disk": "ssd"}
    assert template["metadata"] == {"labels": {"team": "mail"}, "annotations": {"a": "b"}}


@pytest.mark.parametrize(
    ("template", "field"),
    [
        ({}, "spec.template.spec.containers"),
        ({"spec": []}, "spec.template.spec"),
        ({"spec": {"containers": "worker"}}, "containers"),
        ({"spec": {"containers": [{"image": "x"}]}}, "spec.template.spec.containers[0].name"),
        ({"spec": {"containers": [{"name": "worker"}]}}, "spec.template.spec.containers[0].image"),
        ({"metadata": 3, **TEMPLATE}, "spec.template.metadata"),
        (
            {"spec": {**TEMPLATE["spec"], "volumes": [{"name": "towpath-database"}]}},
            "spec.template.spec.volumes",
        ),
    ],
)
def test_a_template_of_the_wrong_shape_is_refused_with_its_field(
    template: dict[str, Any], field: str
) -> None:
    with pytest.raises(TemplateError) as refusal:
        rendered(pool({"template": template}))
    assert field in refusal.value.field


def test_a_default_image_makes_an_empty_template_enough() -> None:
    made = rendered(pool({"template": {}}), default_image="local")
    (only,) = made["spec"]["template"]["spec"]["containers"]
    assert (only["name"], only["image"]) == ("worker", "local")


def test_the_annotation_is_the_hash_of_the_rest() -> None:
    deployment = rendered(pool())
    applied = deployment["metadata"]["annotations"].pop(APPLIED_ANNOTATION)
    assert applied == hash_of(deployment)
    assert rendered(pool(), replicas=3)["metadata"]["annotations"][APPLIED_ANNOTATION] != applied


@given(st.permutations(["a", "b", "c", "d"]))
def test_the_order_of_a_pools_queues_rolls_no_pods(names: list[str]) -> None:
    assert rendered(pool(), queue_names=names) == rendered(pool(), queue_names=sorted(names))


def test_the_secret_holds_the_uri_and_no_hash_of_it() -> None:
    made = render_secret(pool(), "build", uri=URI)
    assert made["metadata"]["name"] == "mailers-database"
    assert base64.b64decode(made["data"]["uri"]).decode() == URI
    assert "annotations" not in made["metadata"]


def test_the_secret_holds_the_certificates_that_its_uri_may_name() -> None:
    made = render_secret(pool(), "build", uri=URI, ca="pem")
    assert base64.b64decode(made["data"]["ca.crt"]) == b"pem"


def test_pods_behind_a_pooler_poll_and_take_no_more_connections_than_they_may() -> None:
    behind = PodDatabase(schema="towpath", pooled=True, connections=8)
    deployment = rendered(pool(), database=behind)
    (made,) = deployment["spec"]["template"]["spec"]["containers"]
    variables = {entry["name"]: entry.get("value") for entry in made["env"]}
    assert variables["TOWPATH_LISTEN"] == "0"
    assert variables["TOWPATH_MAX_CONNECTIONS"] == "8"
    assert not {"TOWPATH_LISTEN", "TOWPATH_MAX_CONNECTIONS"} & set(environment())


def test_a_queue_with_workers_is_a_pool_of_the_same_name_that_serves_it_alone() -> None:
    workers = {
        "application": "shop.work",
        "slots": 3,
        "autoscaling": {"min": 0},
        "template": TEMPLATE,
    }
    declared = queue(
        "mail", {"queueName": "letters", "databaseRef": {"name": "x"}, "workers": workers}
    )
    assert declared.spec.workers is not None
    made = render_worker_pool(declared, declared.spec.workers)
    live = {**made, "metadata": {**metadata("mail"), **made["metadata"]}}
    parsed = parse_worker_pool(live)
    assert parsed.metadata.name == "mail"
    assert parsed.metadata.controller_uid == "uid-mail"
    assert [entry.name for entry in parsed.spec.queues] == ["mail"]
    assert parsed.spec.database_ref == declared.spec.database_ref
    assert (parsed.spec.slots, parsed.spec.autoscaling.min) == (3, 0)
    assert parsed.spec.template == TEMPLATE
