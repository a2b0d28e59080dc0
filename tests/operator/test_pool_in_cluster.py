"""A WorkerPool in a real cluster: its children, its template, its number of pods, and who else writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.operator import next_release
from tests.operator.running import (
    Api,
    OperatorProcess,
    eventually,
    kubeconfig_of_operator,
)
from towpath_operator.adapters.kubernetes import Requests, path_of
from towpath_operator.ports.cluster import (
    CONTROLLER_REVISION,
    DEPLOYMENT,
    POD_DISRUPTION_BUDGET,
    QUEUE,
    REPLICA_SET,
    SECRET,
    WORKER_POOL,
    Kind,
)

RESYNC = {"TOWPATH_OPERATOR_RESYNC_SECONDS": "3"}
IMAGE = "registry.invalid/shop:1"
TEMPLATE: dict[str, Any] = {"spec": {"containers": [{"name": "worker", "image": IMAGE}]}}
AT_REST: dict[str, Any] = {"autoscaling": {"mode": "None"}, "replicas": 0}
QUOTA = Kind("v1", "ResourceQuota", "resourcequotas")


@pytest.fixture(scope="module")
def operator_process(
    cluster: Cluster, administrator: Requests, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """Run an operator that looks at everything again every 3 s instead of every minute."""
    del administrator
    folder: Path = tmp_path_factory.mktemp("operator")
    kubeconfig = kubeconfig_of_operator(cluster, folder)
    process = OperatorProcess(kubeconfig, folder / "operator.log", settings=RESYNC)
    process.start()
    yield process
    if process.running:
        process.stop()


@pytest.fixture
def shop(api: Api, empty_database_url: str) -> Api:
    """Return a namespace with a database and the Queue mail."""
    api.database(empty_database_url)
    api.queue("mail")
    return api


def declare(api: Api, name: str = "mailers", **spec: Any) -> None:
    """Declare a WorkerPool of the queue mail, at rest unless told otherwise."""
    least = {"application": "shop.work", "queues": [{"name": "mail"}], "template": TEMPLATE}
    api.create(WORKER_POOL, name, {**least, **AT_REST, **spec})


def template_with(**container: Any) -> dict[str, Any]:
    """Return a template whose worker has these fields too."""
    return {"spec": {"containers": [{"name": "worker", "image": IMAGE, **container}]}}


def listed(api: Api, kind: Kind) -> list[dict[str, Any]]:
    """Return the pool's objects of a kind, the oldest first."""
    path = path_of(kind, namespace=api.namespace)
    found, _ = api.requests.pages(path, label_selector="towpath.dev/pool=mailers")
    return sorted(found, key=lambda one: str(one["metadata"]["creationTimestamp"]))


def deployment(api: Api) -> dict[str, Any]:
    return api.must_get(DEPLOYMENT, "mailers")


def replicas(api: Api) -> int:
    return int(deployment(api)["spec"]["replicas"])


def environment(api: Api) -> Mapping[str, str]:
    (container,) = deployment(api)["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one.get("value", "") for one in container["env"]}


def scale(api: Api, kind: Kind, name: str, number: int, *, manager: str = "a-person") -> None:
    """Write a number through /scale, as kubectl scale and an HPA do."""
    api.requests.send(
        "patch",
        path_of(kind, namespace=api.namespace, name=name) + "/scale",
        body={"spec": {"replicas": number}},
        content_type="application/merge-patch+json",
        field_manager=manager,
    )


def replace_template(api: Api, template: Mapping[str, Any]) -> None:
    """Replace the pool's template as a whole: a merge would keep what is not named."""
    api.requests.send(
        "patch",
        path_of(WORKER_POOL, namespace=api.namespace, name="mailers"),
        body=[{"op": "replace", "path": "/spec/template", "value": template}],
        content_type="application/json-patch+json",
    )


def owners(api: Api, kind: Kind, name: str) -> set[str]:
    """Return the field managers of spec.replicas."""
    entries = api.must_get(kind, name)["metadata"]["managedFields"]
    return {one["manager"] for one in entries if "f:replicas" in one["fieldsV1"].get("f:spec", {})}


def test_a_pool_has_its_children_with_our_labels_and_owner_and_none_of_its_own_labels(
    shop: Api,
) -> None:
    """What the pool itself is labelled with is its owner's: Argo CD would claim a child that had it."""
    declare(shop)
    shop.wait_ready(WORKER_POOL, "mailers")
    theirs = {"app.kubernetes.io/instance": "shop"}
    shop.merge(WORKER_POOL, "mailers", {"metadata": {"labels": theirs, "annotations": {"a": "b"}}})
    shop.merge(WORKER_POOL, "mailers", {"spec": {"strategy": {"maxSurge": 1}}})
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": "25%"}}
    eventually(lambda: deployment(shop)["spec"]["strategy"] == rolling)
    (revision,) = listed(shop, CONTROLLER_REVISION)
    children = [
        deployment(shop),
        revision,
        shop.must_get(SECRET, "mailers-database"),
        shop.must_get(POD_DISRUPTION_BUDGET, "mailers"),
    ]
    pool = shop.must_get(WORKER_POOL, "mailers")
    build = pool["status"]["buildId"]
    labels = {"towpath.dev/pool": "mailers", "towpath.dev/deployment": "mailers"}
    for child in children:
        metadata = child["metadata"]
        assert metadata["labels"] == {**labels, "towpath.dev/build-id": build}
        assert [one["uid"] for one in metadata["ownerReferences"]] == [pool["metadata"]["uid"]]
        assert "a" not in metadata.get("annotations", {})
    budget = children[-1]["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (
        "25%",
        "AlwaysAllow",
    )
    assert deployment(shop)["spec"]["selector"] == {"matchLabels": labels}
    pods = deployment(shop)["spec"]["template"]
    assert pods["metadata"]["labels"]["towpath.dev/build-id"] == build
    assert pods["spec"]["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "ScheduleAnyway"
    assert pool["status"]["selector"] == ",".join(f"{k}={v}" for k, v in sorted(labels.items()))


def test_every_child_that_was_edited_or_deleted_is_repaired(shop: Api) -> None:
    """The others within a resync; what a hand added beside our fields stays."""
    declare(shop)
    shop.wait_ready(WORKER_POOL, "mailers")
    uri = shop.must_get(SECRET, "mailers-database")["data"]["uri"]
    (revision,) = listed(shop, CONTROLLER_REVISION)
    name = revision["metadata"]["name"]
    shop.merge(SECRET, "mailers-database", {"data": {"uri": "eA==", "more": "eA=="}})
    shop.merge(POD_DISRUPTION_BUDGET, "mailers", {"spec": {"maxUnavailable": 0}})
    shop.merge(CONTROLLER_REVISION, name, {"metadata": {"labels": {"towpath.dev/pool": None}}})

    def repaired() -> bool:
        secret = shop.must_get(SECRET, "mailers-database")["data"]
        budget = shop.must_get(POD_DISRUPTION_BUDGET, "mailers")["spec"]
        found = [one["metadata"]["name"] for one in listed(shop, CONTROLLER_REVISION)]
        kept = secret == {"uri": uri, "more": "eA=="}
        return kept and budget["maxUnavailable"] == "25%" and found == [name]

    eventually(repaired, seconds=10)
    shop.delete(POD_DISRUPTION_BUDGET, "mailers")
    shop.delete(SECRET, "mailers-database")
    shop.delete(CONTROLLER_REVISION, name)
    eventually(lambda: shop.get(POD_DISRUPTION_BUDGET, "mailers") is not None, seconds=10)
    eventually(lambda: shop.get(SECRET, "mailers-database") is not None, seconds=10)
    eventually(lambda: len(listed(shop, CONTROLLER_REVISION)) == 1, seconds=10)
    shop.wait_ready(WORKER_POOL, "mailers")
    assert len(listed(shop, REPLICA_SET)) == 1


def test_the_operator_of_a_later_release_restarts_no_pods(
    shop: Api, operator: OperatorProcess
) -> None:
    """It would render another template, and applies the kept one; also where that is lost meanwhile."""
    declare(shop)
    shop.wait_ready(WORKER_POOL, "mailers")
    eventually(lambda: shop.must_get(WORKER_POOL, "mailers")["status"].get("templateHash"))
    (kept,) = listed(shop, CONTROLLER_REVISION)
    operator.stop()
    operator.module = next_release.__name__
    try:
        operator.start()
        # Once it has dealt with another change, it has dealt with the template.
        shop.merge(WORKER_POOL, "mailers", {"spec": {"strategy": {"maxSurge": 2}}})
        eventually(lambda: deployment(shop)["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 2)
        shop.delete(CONTROLLER_REVISION, kept["metadata"]["name"])
        (adopted,) = eventually(lambda: listed(shop, CONTROLLER_REVISION), seconds=10)
        assert adopted["metadata"]["name"] != kept["metadata"]["name"]
        shop.wait_ready(WORKER_POOL, "mailers")
        assert next_release.ADDED not in environment(shop)
        assert len(listed(shop, REPLICA_SET)) == 1
        change = {"spec": {"template": template_with(imagePullPolicy="Always")}}
        shop.merge(WORKER_POOL, "mailers", change)
        eventually(lambda: environment(shop).get(next_release.ADDED) == "1")
        eventually(lambda: len(listed(shop, REPLICA_SET)) == 2)
    finally:
        operator.stop()
        operator.module = "towpath_operator"
        operator.start()


def test_a_manifest_that_goes_back_has_its_old_pods_template_again_and_few_are_kept(
    shop: Api,
) -> None:
    """The ReplicaSet of before is scaled up again instead of a third one being made."""
    declare(shop)
    shop.wait_ready(WORKER_POOL, "mailers")
    first = shop.must_get(WORKER_POOL, "mailers")["status"]["revision"]
    for slots in (1, 2, 3, 4):
        shop.merge(WORKER_POOL, "mailers", {"spec": {"slots": slots}})
        eventually(lambda slots=slots: environment(shop)["TOWPATH_SLOTS"] == str(slots))  # type: ignore[misc]
    eventually(lambda: len(listed(shop, CONTROLLER_REVISION)) == 3)
    assert first not in [one["metadata"]["name"] for one in listed(shop, CONTROLLER_REVISION)]
    sets = len(listed(shop, REPLICA_SET))
    shop.merge(WORKER_POOL, "mailers", {"spec": {"slots": 3}})
    eventually(lambda: environment(shop)["TOWPATH_SLOTS"] == "3")
    shop.wait_ready(WORKER_POOL, "mailers")
    assert len(listed(shop, REPLICA_SET)) == sets


def starts(api: Api) -> bool:
    """Tell whether the pool waits for nothing but its pods, whose image does not exist."""
    return api.condition(WORKER_POOL, "mailers").get("reason") in {"PodsStarting", "ImagePull"}


def tells(api: Api, said: str) -> bool:
    """Tell whether the pool's Ready condition says something."""
    return said in api.condition(WORKER_POOL, "mailers")["message"]


BAD_TEMPLATES = [
    (template_with(imagePullPolicy="Perhaps"), "spec.template.spec.containers[0].imagePullPolicy"),
    (
        template_with(env=[{"name": "GOOD", "value": "1"}, {"name": "", "value": "x"}]),
        "spec.template.spec.containers[0].env[1].name",
    ),
    (template_with(resources="lots"), 'template: spec.template.spec.containers[name="worker"]'),
    ({**template_with(), "colour": "red"}, "template: spec.template.colour: field not declared"),
    (template_with(name="Hostile/Name"), "spec.template.spec.containers[0].name"),
    (
        template_with(env=[{"name": "TOWPATH_QUEUES", "value": "all"}]),
        "container 'worker' sets TOWPATH_QUEUES",
    ),
]


def test_a_bad_template_changes_nothing_and_is_told_by_its_field(shop: Api) -> None:
    """The pods of before stay, their number still follows, and a corrected template comes into force."""
    declare(shop)
    shop.wait_ready(WORKER_POOL, "mailers")
    before = deployment(shop)["spec"]["template"]
    for template, said in BAD_TEMPLATES:
        replace_template(shop, template)
        eventually(partial(tells, shop, said), what=said)
        assert shop.condition(WORKER_POOL, "mailers")["reason"] == "TemplateRejected"
        assert shop.condition(WORKER_POOL, "mailers", "TemplateValid")["status"] == "False"
    shop.merge(WORKER_POOL, "mailers", {"spec": {"replicas": 1}})
    eventually(lambda: replicas(shop) == 1)
    assert deployment(shop)["spec"]["template"] == before
    assert len(listed(shop, CONTROLLER_REVISION)) == 1
    shop.merge(WORKER_POOL, "mailers", {"spec": {"replicas": 0}})
    replace_template(shop, template_with(tty=True))
    shop.wait_ready(WORKER_POOL, "mailers", seconds=60)


def test_a_pool_is_scaled_by_kubectl_and_its_queue_does_not_take_that_back(
    shop: Api, cluster: Cluster
) -> None:
    """With mode External the number is whose who writes it; without, the manifest's comes back."""
    workers = {
        "application": "shop.work",
        "template": TEMPLATE,
        "replicas": 2,
        "autoscaling": {"mode": "External"},
    }
    shop.queue("post", workers=workers)
    eventually(lambda: shop.must_get(DEPLOYMENT, "post")["spec"]["replicas"] == 2)
    eventually(lambda: "towpath.dev/operator" not in owners(shop, WORKER_POOL, "post"))
    place = f"--namespace={shop.namespace}"
    cluster.kubectl("scale", "workerpools.towpath.dev/post", "--replicas=3", place)
    eventually(lambda: shop.must_get(DEPLOYMENT, "post")["spec"]["replicas"] == 3)
    shop.merge(QUEUE, "post", {"spec": {"workers": {"slots": 4}}})
    eventually(lambda: shop.must_get(WORKER_POOL, "post")["spec"]["slots"] == 4)
    assert shop.must_get(WORKER_POOL, "post")["spec"]["replicas"] == 3
    shop.merge(QUEUE, "post", {"spec": {"workers": {"autoscaling": {"mode": "None"}}}})
    eventually(lambda: shop.must_get(DEPLOYMENT, "post")["spec"]["replicas"] == 2)
    shop.merge(QUEUE, "post", {"spec": {"workers": {"autoscaling": {"mode": "External"}}}})
    eventually(lambda: "towpath.dev/operator" not in owners(shop, WORKER_POOL, "post"))
    assert shop.must_get(WORKER_POOL, "post")["spec"]["replicas"] == 2


def test_who_keeps_writing_the_number_is_not_fought_but_named(shop: Api) -> None:
    """Once it is overwritten; a second time within five minutes it stays, and the pool says whose it is."""
    declare(shop)
    shop.wait_ready(WORKER_POOL, "mailers")
    scale(shop, DEPLOYMENT, "mailers", 2, manager="an-hpa")
    eventually(lambda: replicas(shop) == 0)
    scale(shop, DEPLOYMENT, "mailers", 2, manager="an-hpa")
    told = shop.wait_reason(WORKER_POOL, "mailers", "ReplicasConflict")
    assert "an-hpa" in told["message"]
    assert replicas(shop) == 2
    active = shop.condition(WORKER_POOL, "mailers", "AutoscalingActive")
    assert active["reason"] == "ReplicasConflict"
    shop.merge(WORKER_POOL, "mailers", {"spec": {"replicas": 2}})
    eventually(partial(starts, shop))


def test_a_quota_that_leaves_no_room_is_the_reason_until_it_does(shop: Api) -> None:
    """The Deployment's own word for it becomes the pool's, and goes when pods can be made."""
    shop.create(QUOTA, "none", {"hard": {"pods": "0"}})
    declare(shop, replicas=1)
    refused = shop.wait_reason(WORKER_POOL, "mailers", "QuotaExceeded")
    assert "exceeded quota" in refused["message"]
    shop.delete(QUOTA, "none")
    # The ReplicaSet tries again later and later, and at once for another number.
    shop.merge(WORKER_POOL, "mailers", {"spec": {"replicas": 2}})
    eventually(partial(starts, shop))


def test_the_connections_of_a_database_bound_the_pods_of_all_its_pools(
    api: Api, empty_database_url: str
) -> None:
    """Who comes first has what it asks for; the other gets the rest, and says what limits it."""
    api.database(empty_database_url, connections={"max": 18, "perPod": 6})
    api.queue("mail")
    declare(api, replicas=2)
    eventually(lambda: replicas(api) == 2)
    declare(api, "others", replicas=3)
    eventually(lambda: api.must_get(DEPLOYMENT, "others")["spec"]["replicas"] == 1)
    limited = {"desired": 1, "limitedBy": "Connections"}
    eventually(lambda: api.must_get(WORKER_POOL, "others")["status"]["autoscaling"] == limited)
    api.merge(WORKER_POOL, "mailers", {"spec": {"replicas": 0}})
    eventually(lambda: api.must_get(DEPLOYMENT, "others")["spec"]["replicas"] == 3, seconds=20)
