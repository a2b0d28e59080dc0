"""Templates of any shape are rendered or refused by their field; refusals are told in the user's terms."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.operator.builders import TEMPLATE, pool
from towpath_operator.adapters.wire import yaml_of
from towpath_operator.model.conditions import Reason
from towpath_operator.plan.actions import CheckObject
from towpath_operator.plan.children import carries
from towpath_operator.plan.failures import explain
from towpath_operator.ports.cluster import DEPLOYMENT, ClusterError, ObjectKey
from towpath_operator.render.environment import PodDatabase
from towpath_operator.render.facts import PodFacts, build_id, inputs_hash
from towpath_operator.render.names import BUILD_ID_LABEL, POOL_LABEL
from towpath_operator.render.pool import render_deployment
from towpath_operator.render.revision import Revision, read_revision, render_revision
from towpath_operator.render.shapes import TemplateError
from towpath_operator.render.template import render_template

FACTS = PodFacts(queue_names=("mail",), database=PodDatabase(schema="towpath"))
WORKER: dict[str, Any] = {"name": "worker", "image": "shop:1"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
POD_FIELDS = (
    "initContainers",
    "volumes",
    "securityContext",
    "terminationGracePeriodSeconds",
    "automountServiceAccountToken",
    "topologySpreadConstraints",
)
CONTAINER_FIELDS = (
    "name",
    "image",
    "command",
    "args",
    "env",
    "envFrom",
    "volumeMounts",
    "securityContext",
    "readinessProbe",
)


def container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{**WORKER, **fields}]}}


def pod(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [WORKER], **fields}}


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(POD_FIELDS), JSON), JSON, JSON)
def test_a_pod_with_anything_in_it_is_rendered_or_refused(
    fields: dict[str, Any], metadata: Any, labels: Any
) -> None:
    for given_metadata in (metadata, {"labels": labels}):
        template = {**pod(**fields), "metadata": given_metadata}
        _render_or_refuse(template)


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(CONTAINER_FIELDS), JSON), JSON)
def test_a_container_with_anything_in_it_is_rendered_or_refused(
    fields: dict[str, Any], entry: Any
) -> None:
    _render_or_refuse(container(**fields))
    _render_or_refuse(container(env=[entry], securityContext={"capabilities": {"add": entry}}))
    _render_or_refuse({"spec": {"containers": [WORKER, entry]}})


def _render_or_refuse(template: dict[str, Any]) -> None:
    declared = pool({"template": template})
    assert build_id(declared)
    try:
        rendered = render_template(declared, FACTS)
    except TemplateError as error:
        if not error.field.startswith("spec.template"):
            raise
        return
    revision = Revision(number=1, inputs=inputs_hash(declared, FACTS), template=rendered)
    assert read_revision(declared, render_revision(declared, revision)) == revision


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ({"spec": {"containers": [WORKER, WORKER]}}, "another container is called 'worker' too"),
        (
            {"spec": {"containers": [WORKER, {"name": "worker", "image": "b"}]}},
            "spec.template.spec.containers[1].name",
        ),
        ({"spec": {"containers": []}}, "must have a container called worker"),
        (container(env="no"), "spec.template.spec.containers[0].env: must be a list of objects"),
        (container(env=["A=1"]), "spec.template.spec.containers[0].env: must be a list of objects"),
        (
            container(env=[{"name": "TOWPATH_SLOTS", "value": "1"}]),
            "container 'worker' sets TOWPATH_SLOTS",
        ),
        (
            {
                "spec": {
                    "containers": [
                        WORKER,
                        {"name": "side", "image": "b", "env": [{"name": "TOWPATH_POOL"}]},
                    ]
                }
            },
            "spec.template.spec.containers[1].env: container 'side' sets TOWPATH_POOL",
        ),
        (
            container(securityContext={"capabilities": {"add": "ALL"}}),
            "spec.template.spec.containers[0].securityContext.capabilities.add",
        ),
        (pod(terminationGracePeriodSeconds="10"), "must be a whole number of seconds"),
        (pod(terminationGracePeriodSeconds=True), "must be a whole number of seconds"),
        (pod(volumes=[3]), "spec.template.spec.volumes: must be a list of objects"),
        ({**pod(), "metadata": {"labels": {POOL_LABEL: "x"}}}, f"{POOL_LABEL} is set by Towpath"),
        ({**pod(), "metadata": {"labels": {BUILD_ID_LABEL: "x"}}}, "leave it out"),
        ({**pod(), "metadata": {"labels": ["a"]}}, "spec.template.metadata.labels"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_by_its_field(
    template: dict[str, Any], said: str
) -> None:
    with pytest.raises(TemplateError) as refusal:
        render_template(pool({"template": template}), FACTS)
    assert said in str(refusal.value)


def test_a_field_that_is_null_is_as_silent_as_none() -> None:
    nulls = {**container(env=None, readinessProbe=None), "metadata": None}
    nulls["spec"] |= {
        "volumes": None,
        "securityContext": None,
        "terminationGracePeriodSeconds": None,
    }
    declared = pool({"template": nulls})
    assert render_template(declared, FACTS) == render_template(pool({"template": TEMPLATE}), FACTS)


def test_what_a_config_map_says_of_a_reserved_name_is_overridden_by_ours() -> None:
    """Kubernetes gives `env` precedence over `envFrom`, so ours has to stand there."""
    source = [{"configMapRef": {"name": "settings"}}]
    rendered = render_template(pool({"template": container(envFrom=source)}), FACTS)
    worker = rendered["spec"]["containers"][0]
    assert worker["envFrom"] == source
    assert "TOWPATH_QUEUES" in [one["name"] for one in worker["env"]]


def test_a_users_spread_over_zones_stands_alone() -> None:
    zones = [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]
    template = pod(topologySpreadConstraints=zones)
    rendered = render_template(pool({"template": template}), FACTS)
    assert rendered["spec"]["topologySpreadConstraints"] == zones


# What the API server says.


def refused(message: str, status: int = 422) -> Any:
    declared = pool({"template": container(env=[{"name": "A"}, {"name": "B"}])})
    template = render_template(declared, FACTS)
    manifest = render_deployment(
        declared, Revision(number=1, inputs="i", template=template), replicas=1
    )
    check = CheckObject(kind=DEPLOYMENT, key=ObjectKey("shop", "mailers"), manifest=manifest)
    return explain(check, ClusterError(message, status=status))


@pytest.mark.parametrize(
    ("status", "message", "said"),
    [
        (
            422,
            'Deployment.apps "mailers" is invalid: spec.template.spec.containers[0].image: Required',
            "spec.template.spec.containers[0].image: Required",
        ),
        (
            422,
            'Deployment.apps "mailers" is invalid: spec.template.spec.containers[0].env[13].name: no',
            "spec.template.spec.containers[0].env[1].name: no",
        ),
        (
            500,
            "failed to create typed patch object (shop/mailers; apps/v1, Kind=Deployment): .spec.x: no",
            "spec.x: no",
        ),
        (400, "admission webhook says no", "admission webhook says no"),
    ],
)
def test_a_refusal_names_the_field_as_the_user_wrote_it(
    status: int, message: str, said: str
) -> None:
    failure = refused(message, status)
    assert failure.reason is Reason.TEMPLATE_REJECTED
    assert failure.message == f"The API server refuses the template: {said}"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (500, "etcd is not there"),
        (403, "unable to create new content in namespace shop because it is being terminated"),
        (403, 'deployments.apps "mailers" is forbidden: User "x" cannot patch resource'),
        (0, "the API server could not be reached"),
    ],
)
def test_what_is_not_the_templates_fault_is_tried_again(status: int, message: str) -> None:
    assert refused(message, status).reason is None


# What goes over the wire, and what is compared.


@settings(max_examples=40)
@given(JSON, st.text(max_size=20))
def test_a_manifest_means_the_same_as_yaml(value: Any, text: str) -> None:
    r"""Astral characters are the one thing that JSON writes otherwise; `\\ud83d` in a text is none."""
    manifest = {"a": value, "b": [text, f"\\ud83d\\ude00 {text}", "\N{GRINNING FACE}"]}
    written = yaml_of(manifest)
    if "\\ud8" not in json.dumps(manifest):
        assert written == json.dumps(manifest).encode()
    assert json.loads(written) == manifest


@pytest.mark.parametrize(
    "text", ["\N{GRINNING FACE}", "\\\N{GRINNING FACE}", "\\\\ud83d\\ude00", '"\x85\u2028']
)
def test_yaml_reads_every_character_back(text: str) -> None:
    assert yaml.safe_load(yaml_of({"text": text})) == {"text": text}


@pytest.mark.parametrize(
    ("live", "wanted", "holds"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 2}}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": [{"x": 1, "y": 2}]}, {"a": [{"x": 1}]}, True),
        (None, {"a": 1}, False),
    ],
)
def test_a_live_object_may_have_more_than_we_apply_and_nothing_else(
    live: Any, wanted: Any, *, holds: bool
) -> None:
    assert carries(live, wanted) is holds
