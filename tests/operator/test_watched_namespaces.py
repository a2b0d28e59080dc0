"""An operator that watches some namespaces alone, with the rights that the chart gives it there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.chart.rendering import CHART
from tests.cluster import Cluster
from tests.operator.running import Api, OperatorProcess, kubeconfig_of_operator, new_namespace
from tests.operator.test_observability import WORKERS, page, scrape
from towpath_operator.adapters.kubernetes import Requests
from towpath_operator.ports.cluster import QUEUE, WORKER_POOL

NARROW = "towpath-narrow"


@pytest.fixture
def narrow(
    cluster: Cluster, administrator: Requests, tmp_path: Path
) -> Iterator[tuple[OperatorProcess, Api]]:
    """Run an operator that has rights in one namespace and its own, and no ClusterRole at all."""
    api = new_namespace(administrator)
    uid = cluster.kubectl("get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}")
    cluster.apply(
        yaml.safe_dump({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NARROW}})
    )
    rights = cluster.helm(
        "template", NARROW, str(CHART), f"--namespace={NARROW}", "--kube-version=1.31.0",
        "--show-only=templates/serviceaccount.yaml", "--show-only=templates/rbac.yaml",
        f"--set=watchNamespaces={{{api.namespace}}}", f"--set=clusterUid={uid}",
    )  # fmt: skip
    assert "ClusterRole" not in rights
    cluster.apply(rights)
    process = OperatorProcess(
        kubeconfig_of_operator(cluster, tmp_path, release=NARROW, namespace=NARROW),
        tmp_path / "operator.log",
        settings={
            "TOWPATH_OPERATOR_NAMESPACE": NARROW,
            "TOWPATH_OPERATOR_NAMESPACES": api.namespace,
            "TOWPATH_OPERATOR_CLUSTER_UID": uid,
        },
    )
    process.start()
    yield process, api
    process.stop()
    cluster.kubectl("delete", "namespace", NARROW, api.namespace, "--wait=false")


def test_an_operator_of_one_namespace_needs_no_right_outside(
    narrow: tuple[OperatorProcess, Api], administrator: Requests, empty_database_url: str
) -> None:
    """There it brings everything into force; elsewhere it sees nothing; nothing is refused to it."""
    operator, api = narrow
    elsewhere = new_namespace(administrator)
    elsewhere.queue("mail")
    api.database(empty_database_url)
    api.queue("mail", workers=WORKERS)
    api.wait_ready(QUEUE, "mail")
    api.wait_ready(WORKER_POOL, "mail")
    assert "status" not in elsewhere.must_get(QUEUE, "mail")
    administrator.send("delete", f"/api/v1/namespaces/{elsewhere.namespace}")
    refused = {key: value for key, value in scrape(operator).items() if ("code", "403") in key[1]}
    assert {dict(labels)["resource"] for _, labels in refused} <= {"customresourcedefinitions"}
    assert "unknown" in yaml.safe_load(page(operator, "/readyz"))["crds"]
    assert [line for line in operator.log() if line["level"] in {"warning", "error"}] == []
