"""The chart by the real helm on a real API server: install, upgrade, uninstall.

No image is needed: what helm makes and leaves is looked at, while tests/e2e runs what it starts.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.chart.rendering import CHART
from tests.cluster import Cluster

RELEASE = "towpath-chart"
KINDS = (
    "deployment,poddisruptionbudget,networkpolicy,serviceaccount,role,rolebinding,clusterrole,"
    "clusterrolebinding"
)


_numbers = itertools.count(1)


@pytest.fixture
def space(cluster: Cluster) -> Iterator[str]:
    """Return a namespace for the release; afterwards neither is there."""
    name = f"chart-{next(_numbers)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    if json.loads(helm(cluster, name, "list", "--output=json")):
        helm(cluster, name, "uninstall", RELEASE)
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def helm(cluster: Cluster, space: str, verb: str, *arguments: str) -> str:
    """Run helm in the release's namespace."""
    return cluster.helm(verb, *arguments, f"--namespace={space}", seconds=60)


def objects(cluster: Cluster) -> set[tuple[str, str]]:
    """Return the kind and namespace of every object that the release has in the cluster."""
    selector = f"--selector=app.kubernetes.io/instance={RELEASE}"
    text = cluster.kubectl("get", KINDS, "--all-namespaces", selector, "--output=json")
    return {
        (one["kind"], one["metadata"].get("namespace", "")) for one in json.loads(text)["items"]
    }


def get(cluster: Cluster, space: str, *what: str) -> Any:
    """Return an object of the release's namespace, or of none."""
    return json.loads(cluster.kubectl("get", *what, f"--namespace={space}", "--output=json"))


def test_a_release_is_installed_upgraded_and_uninstalled(cluster: Cluster, space: str) -> None:
    """Upgrading moves it between its variants; uninstalling leaves what people declared, at once."""
    first = helm(
        cluster,
        space,
        "install",
        RELEASE,
        str(CHART),
        "--set=database.existingSecret=pg",
        "--set=database.allowedNamespaces={*}",
    )
    assert "kubectl get queues.towpath.dev,workerpools.towpath.dev" in first
    assert get(cluster, space, "queuedatabases.towpath.dev", "default")["spec"][
        "allowedNamespaces"
    ] == ["*"]
    assert {("ClusterRole", ""), ("PodDisruptionBudget", space)} <= objects(cluster)
    queue = {"apiVersion": "towpath.dev/v1alpha1", "kind": "Queue", "metadata": {"name": "mail"}}
    cluster.apply(yaml.safe_dump({**queue, "spec": {}}), namespace=space)

    helm(
        cluster,
        space,
        "upgrade",
        RELEASE,
        str(CHART),
        "--reuse-values",
        "--set=replicas=1",
        "--set=watchNamespaces={default}",
        "--set=clusterUid=0f0f0f0f-0f0f-0f0f-0f0f-0f0f0f0f0f0f",
        "--set=rbac.aggregate=false",
    )
    found = objects(cluster)
    assert {("Role", "default"), ("Role", space), ("RoleBinding", "default")} <= found
    assert not {"ClusterRole", "ClusterRoleBinding", "PodDisruptionBudget"} & {k for k, _ in found}
    deployment = get(cluster, space, "deployment", RELEASE)
    assert deployment["spec"]["replicas"] == 1
    assert deployment["metadata"]["generation"] == 2

    helm(cluster, space, "uninstall", RELEASE, "--wait")
    assert objects(cluster) == set()
    assert get(cluster, space, "queues.towpath.dev", "mail")["spec"]["deletionPolicy"] == "Retain"
    crds = cluster.kubectl("get", "crd", "--output=name").split()
    assert sum("towpath.dev" in name for name in crds) == 3


def test_the_crds_of_a_release_are_upgraded_by_towpath_crds(cluster: Cluster, space: str) -> None:
    """Helm made them and leaves them as they are; kubectl takes over the fields that changed."""
    helm(cluster, space, "install", RELEASE, str(CHART))
    name = "queues.towpath.dev"
    older = json.dumps([{"op": "remove", "path": "/spec/names/categories"}])
    cluster.kubectl("patch", "crd", name, "--type=json", f"--patch={older}")
    helm(cluster, space, "upgrade", RELEASE, str(CHART))
    assert "categories" not in get(cluster, space, "crd", name)["spec"]["names"]
    text = "---\n".join(file.read_text() for file in sorted((CHART / "crds").iterdir()))
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=text)
    assert get(cluster, space, "crd", name)["spec"]["names"]["categories"] == ["towpath"]
