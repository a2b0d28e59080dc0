"""The chart, as helm renders it: the operator's rights, its pod, its database, its answers to nonsense."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.cluster import Cluster, ClusterError
from tests.operator.running import ROOT

CHART = ROOT / "charts/towpath"
WRITES = {"create", "update", "patch", "delete", "deletecollection"}


def render(cluster: Cluster, *settings: str, release: str = "towpath") -> list[dict[str, Any]]:
    """Render the chart as `helm install` would, and return its objects."""
    flags = [word for setting in settings for word in ("--set", setting)]
    text = cluster.helm(
        "template", release, str(CHART), "--namespace=towpath", "--kube-version=1.31.0", *flags
    )
    return [one for one in yaml.safe_load_all(text) if one]


def of_kind(objects: list[dict[str, Any]], kind: str, name: str = "towpath") -> dict[str, Any]:
    """Return the object of a kind and name."""
    return next(o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name)


def test_the_operator_never_lists_secrets_and_writes_only_what_it_makes(cluster: Cluster) -> None:
    """What people declare is read; Secrets are read by name; nothing is a wildcard."""
    rules = of_kind(render(cluster), "ClusterRole")["rules"]
    verbs: dict[str, set[str]] = {}
    for rule in rules:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        for resource in rule["resources"]:
            verbs.setdefault(resource, set()).update(rule["verbs"])
    assert verbs["secrets"] == {"get", "create", "patch"}
    assert verbs["queues"] & WRITES == {"patch"}
    assert not verbs["queuedatabases"] & WRITES
    assert not verbs["pods"] & WRITES
    assert verbs["namespaces"] == {"get"}


def test_the_operators_pod_is_restricted_and_probed(cluster: Cluster) -> None:
    """It passes the restricted Pod Security Standard and cannot write to its own disk."""
    deployment = of_kind(render(cluster), "Deployment")["spec"]
    pod = deployment["template"]["spec"]
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


def test_a_database_is_declared_only_where_its_secret_is_named(cluster: Cluster) -> None:
    """`default`, with key uri, for the namespaces that are allowed."""
    assert not any(one["kind"] == "QueueDatabase" for one in render(cluster))
    made = render(cluster, "database.existingSecret=pg", "database.allowedNamespaces={*}")
    assert of_kind(made, "QueueDatabase", "default")["spec"] == {
        "uriSecretRef": {"name": "pg", "key": "uri"},
        "schema": "towpath",
        "migration": "Auto",
        "pooler": "None",
        "allowedNamespaces": ["*"],
    }


@pytest.mark.parametrize(
    "setting",
    [
        "databse.existingSecret=x",
        "image.pullPolicy=Sometimes",
        "logLevel=LOUD",
        "database.schema=Big",
    ],
)
def test_a_value_that_means_nothing_is_refused(cluster: Cluster, setting: str) -> None:
    """A misspelled value is an error of helm's, not a default that nobody asked for."""
    with pytest.raises(ClusterError):
        render(cluster, setting)


def test_the_charts_crds_are_those_of_the_repository() -> None:
    """Helm installs the files that `towpath crds` prints."""
    ours = {file.name: file.read_bytes() for file in (ROOT / "crds").iterdir()}
    assert {file.name: file.read_bytes() for file in (CHART / "crds").iterdir()} == ours


def test_the_api_server_accepts_every_object_of_the_chart(cluster: Cluster) -> None:
    """Strict validation, on the server, with every optional part on."""
    cluster.kubectl("apply", f"--filename={ROOT / 'crds'}")
    objects = render(
        cluster,
        "database.existingSecret=pg",
        "priorityClassName=system-cluster-critical",
        "imagePullSecrets[0].name=pull",
        "nodeSelector.disk=fast",
        "defaultWorkerImage=shop:1",
        "podLabels.team=queues",
        release="towpath-dry-run",
    )
    for one in objects:
        if one["metadata"].get("namespace"):
            one["metadata"]["namespace"] = "default"
    text = yaml.safe_dump_all(objects)
    cluster.kubectl("create", "--dry-run=server", "--validate=strict", "--filename=-", stdin=text)
