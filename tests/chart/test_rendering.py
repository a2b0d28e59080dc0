"""The chart, as helm renders it: its pods, its database, what is optional, its answers to nonsense."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.chart.rendering import CHART, of_kind, render, the
from tests.cluster import Cluster, ClusterError
from tests.operator.running import ROOT

MONITORING = ("monitoring.coreos.com/v1/PodMonitor", "monitoring.coreos.com/v1/PrometheusRule")


def test_helm_lints_the_chart(cluster: Cluster) -> None:
    """Strictly: a warning is an error."""
    assert "0 chart(s) failed" in cluster.helm("lint", "--strict", str(CHART))


def test_the_operators_pod_is_restricted_and_probed(cluster: Cluster) -> None:
    """It passes the restricted Pod Security Standard and cannot write to its own disk."""
    pod = the(render(cluster), "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_two_operators_run_apart_where_they_can_and_one_is_always_left(cluster: Cluster) -> None:
    """Soft anti-affinity by node and zone; neither a rollout nor a drain takes both."""
    objects = render(cluster)
    spec = the(objects, "Deployment")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    apart = spec["template"]["spec"]["affinity"]["podAntiAffinity"]
    assert set(apart) == {"preferredDuringSchedulingIgnoredDuringExecution"}
    terms = [term["podAffinityTerm"] for terms in apart.values() for term in terms]
    assert {term["topologyKey"] for term in terms} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }
    selector = spec["selector"]["matchLabels"]
    assert all(term["labelSelector"]["matchLabels"] == selector for term in terms)
    budget = the(objects, "PodDisruptionBudget")["spec"]
    assert (budget["maxUnavailable"], budget["selector"]["matchLabels"]) == (1, selector)


def test_one_operator_alone_has_no_budget_that_a_drain_would_hang_on(cluster: Cluster) -> None:
    """And an affinity of one's own takes the chart's place."""
    objects = render(cluster, "replicas=1", "affinity.nodeAffinity.x=y")
    assert of_kind(objects, "PodDisruptionBudget") == []
    pod = the(objects, "Deployment")["spec"]["template"]["spec"]
    assert pod["affinity"] == {"nodeAffinity": {"x": "y"}}


def test_a_database_is_declared_only_where_its_secret_is_named(cluster: Cluster) -> None:
    """`default`, with key uri, for the namespaces that are allowed."""
    assert of_kind(render(cluster), "QueueDatabase") == []
    made = render(cluster, "database.existingSecret=pg", "database.allowedNamespaces={*}")
    assert the(made, "QueueDatabase", "default")["spec"] == {
        "uriSecretRef": {"name": "pg", "key": "uri"},
        "schema": "towpath",
        "migration": "Auto",
        "pooler": "None",
        "allowedNamespaces": ["*"],
    }


FULL_DATABASE = (
    "database.existingSecret=pg",
    "database.workerCredentialsSecret=workers",
    "database.operatorUriSecret=direct",
    "database.migration=Manual",
    "database.pooler=Transaction",
    "database.retention.succeeded=168h",
    "database.connections.max=200",
    "database.connections.perPod=8",
)


def test_every_field_of_the_values_reaches_the_database(cluster: Cluster) -> None:
    """Two logins, a pooler and bounds are a few words each."""
    spec = the(render(cluster, *FULL_DATABASE), "QueueDatabase", "default")["spec"]
    assert spec == {
        "uriSecretRef": {"name": "pg", "key": "uri"},
        "schema": "towpath",
        "workerCredentialsSecretRef": {"name": "workers"},
        "operatorUriSecretRef": {"name": "direct", "key": "uri"},
        "migration": "Manual",
        "pooler": "Transaction",
        "retention": {"succeeded": "168h"},
        "connections": {"max": 200, "perPod": 8},
    }


@pytest.mark.parametrize(
    ("settings", "apis", "made"),
    [
        ((), (), 0),
        ((), MONITORING, 1),
        (("metrics.podMonitor.create=Always", "metrics.prometheusRule.create=Always"), (), 1),
        (
            ("metrics.podMonitor.create=Never", "metrics.prometheusRule.create=Never"),
            MONITORING,
            0,
        ),
    ],
    ids=["no API", "API", "Always", "Never"],
)
def test_the_prometheus_operator_is_told_where_its_api_is_there(
    cluster: Cluster, settings: tuple[str, ...], apis: tuple[str, ...], made: int
) -> None:
    """Or wherever somebody says so: `helm template` sees no cluster."""
    objects = render(cluster, *settings, apis=apis)
    assert len(of_kind(objects, "PodMonitor")) == len(of_kind(objects, "PrometheusRule")) == made


def test_the_network_policy_lets_in_the_scrape_and_out_what_is_asked_for(cluster: Cluster) -> None:
    """Egress is everything unless restricted, since no chart knows every database's port."""
    open_ended = the(render(cluster), "NetworkPolicy")["spec"]
    assert open_ended["policyTypes"] == ["Ingress"]
    assert open_ended["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}]}]
    closed = the(
        render(
            cluster, "networkPolicy.restrictEgress=true", "networkPolicy.databasePorts={5432,6432}"
        ),
        "NetworkPolicy",
    )["spec"]
    ports = [port["port"] for rule in closed["egress"] for port in rule["ports"]]
    assert ports == [53, 53, 443, 6443, 5432, 6432]
    assert of_kind(render(cluster, "networkPolicy.create=false"), "NetworkPolicy") == []


@pytest.mark.parametrize(
    "setting",
    [
        "databse.existingSecret=x",
        "database.existingSecret=Not_A_Name",
        "database.schema=Big",
        "database.pooler=Session",
        "database.retention.succeeded=soon",
        "database.retention.forever=true",
        "database.connections.perPod=1",
        "database.allowedNamespaces={Shop}",
        "replicas=0",
        "replicas=two",
        "watchNamespaces={*}",
        "watchNamespaces=shop",
        "clusterUid=here",
        "image.pullPolicy=Sometimes",
        "image.name=x",
        "imagePullSecrets[0].nam=x",
        "logLevel=LOUD",
        "metrics.podMonitor.create=true",
        "metrics.podMonitor.interval=often",
        "metrics.podmonitor.create=Auto",
        "networkPolicy.databasePorts={70000}",
        "rbac.create=yes",
        "serviceAccount.annotation=x",
        "resources.request.cpu=1",
        "podLabels.a.b=c",
    ],
)
def test_a_value_that_means_nothing_is_refused(cluster: Cluster, setting: str) -> None:
    """A misspelled value is an error that names it, not a default that nobody asked for."""
    with pytest.raises(ClusterError) as refused:
        render(cluster, setting)
    first = setting.replace("[", ".").partition("=")[0].split(".")[0]
    assert first in refused.value.log


def test_the_charts_crds_are_those_of_the_repository() -> None:
    """Helm installs the files that `towpath crds` prints."""
    ours = {file.name: file.read_bytes() for file in (ROOT / "crds").iterdir()}
    assert {file.name: file.read_bytes() for file in (CHART / "crds").iterdir()} == ours
    assert all(len(text) < 200_000 for text in ours.values())


def test_the_api_server_accepts_every_object_of_the_chart(cluster: Cluster) -> None:
    """Strict validation, on the server, with every optional part on."""
    cluster.kubectl("apply", f"--filename={ROOT / 'crds'}")
    objects = render(
        cluster,
        *FULL_DATABASE,
        "priorityClassName=system-cluster-critical",
        "imagePullSecrets[0].name=pull",
        "nodeSelector.disk=fast",
        "defaultWorkerImage=shop:1",
        "podLabels.team=queues",
        "watchNamespaces={default}",
        "networkPolicy.restrictEgress=true",
        release="towpath-dry-run",
    )
    unique: dict[tuple[str, str], dict[str, Any]] = {}
    for one in objects:
        if one["metadata"].get("namespace"):
            one["metadata"]["namespace"] = "default"
        unique[one["kind"], one["metadata"]["name"]] = one
    text = yaml.safe_dump_all(unique.values())
    cluster.kubectl("create", "--dry-run=server", "--validate=strict", "--filename=-", stdin=text)
