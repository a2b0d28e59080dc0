"""What the API server itself says: a sentence for each field, and no to what breaks a rule."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.cluster import ClusterError
from tests.e2e import manifests
from tests.e2e.release import Release
from tests.e2e.space import Space

KINDS = ("Queue", "WorkerPool", "QueueDatabase")
POOL = {"application": "shop.workflows", "queues": [{"name": "mail"}]}


def test_kubectl_explains_the_concurrency_of_a_queue(release: Release) -> None:
    """The kind, the field, its own sentence and one for each field in it."""
    said = release.cluster.kubectl("explain", "queue.spec.concurrency")
    assert "KIND:       Queue" in said
    assert "FIELD: concurrency <Object>" in said
    for field in ("global", "perWorker"):
        about = " ".join(said.partition(f"{field}\t<integer>")[2].split())
        assert about[:1].isupper(), said
        assert "." in about, said


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_a_sentence(kind: str, release: Release) -> None:
    """What `kubectl explain` reads has a description at every field of spec and status."""
    path = "/openapi/v3/apis/towpath.dev/v1alpha1"
    schemas = json.loads(release.cluster.kubectl("get", "--raw", path))["components"]["schemas"]
    (schema,) = (one for name, one in schemas.items() if name.endswith(f".{kind}"))
    fields = dict(_fields(schema, kind.lower()))
    assert len(fields) > 10
    mute = [field for field, said in fields.items() if not said.endswith(".") or len(said) < 10]
    assert mute == []


def _fields(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for name, field in schema.get("properties", {}).items():
        if path.count(".") == 0 and name not in ("spec", "status"):
            continue  # the API machinery's own
        yield f"{path}.{name}", field.get("description", "")
        yield from _fields(field, f"{path}.{name}")
        yield from _fields(field.get("items", {}), f"{path}.{name}[]")


@pytest.mark.parametrize(
    ("kind", "spec", "field", "why"),
    [
        ("Queue", {"concurency": {"global": 3}}, "spec.concurency", "unknown field"),
        ("Queue", {"concurrency": {"globl": 3}}, "spec.concurrency.globl", "unknown field"),
        ("Queue", {"concurrency": {"global": 0}}, "spec.concurrency.global", "greater than or"),
        ("Queue", {"concurrency": {"global": "3"}}, "spec.concurrency.global", "integer"),
        (
            "Queue",
            {"concurrency": {"global": 2, "perWorker": 3}},
            "spec.concurrency.perWorker",
            "at most concurrency.global",
        ),
        (
            "Queue",
            {"limiter": {"limit": 5, "period": "400d"}},
            "spec.limiter.period",
            "should match",
        ),
        (
            "Queue",
            {"limiter": {"limit": 5, "period": "8785h"}},
            "spec.limiter.period",
            "from 1ms to 8784h (366 days)",
        ),
        (
            "Queue",
            {"partitionLimiter": {"limit": 5, "period": "10s"}},
            "spec.partitionLimiter",
            "none without partitioning (partitioning.enabled: true)",
        ),
        ("Queue", {"workers": {"slots": 2}}, "spec.workers.application", "Required value"),
        (
            "WorkerPool",
            {**POOL, "autoscaling": {"min": 3, "max": 2}},
            "spec.autoscaling.min",
            "at most autoscaling.max",
        ),
        ("WorkerPool", {**POOL, "drain": {"timeout": "soon"}}, "spec.drain.timeout", "match"),
        ("QueueDatabase", {}, "spec.uriSecretRef", "exactly one of uriSecretRef and connection"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused_with_the_path_of_the_field(
    kind: str, spec: Mapping[str, Any], field: str, why: str, plain: Space
) -> None:
    """`kubectl apply` fails, says where and why, and nothing is made."""
    with pytest.raises(ClusterError) as refused:
        plain.apply(manifests.manifest(kind, "wrong", spec))
    assert field in refused.value.log
    assert why in refused.value.log
    assert plain.names("queues,workerpools,queuedatabases") == []


def test_a_field_that_cannot_change_is_refused_with_its_path(plain: Space) -> None:
    """A queue's name in the database stays what it was."""
    plain.apply(manifests.queue("named", queueName="one"))
    with pytest.raises(ClusterError) as refused:
        plain.apply(manifests.queue("named", queueName="other"))
    assert "queueName" in refused.value.log
    plain.delete("queue", "named")


@pytest.fixture(scope="module")
def plain(new_module_space: Any) -> Space:
    """Return a namespace for what is refused."""
    space: Space = new_module_space()
    return space
