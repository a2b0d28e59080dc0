"""`towpath plan` at work: manifests from files, a cluster by a kubeconfig, and what would be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from towpath_operator.adapters.kubernetes import KubernetesCluster, Requests, path_of
from towpath_operator.adapters.postgres import PostgresDatabases
from towpath_operator.assembly import now, read_cluster_uid
from towpath_operator.local.manifests import Sources
from towpath_operator.plan.observed import OperatorFacts
from towpath_operator.ports.cluster import DEPLOYMENT, Cluster, Kind, Manifest, ObjectKey, key_of
from towpath_operator.what_if.kubeconfig import configuration
from towpath_operator.what_if.planning import Forecast, WhatIf

OPERATOR = "towpath"
"""The operator's Deployment, as the chart names it in a release called towpath."""

DRY_RUN = [("fieldValidation", "Strict"), ("dryRun", "All")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command was asked.

    Attributes:
        sources: Files, folders, or - for standard input.
        kubeconfig: Which kubeconfig; None takes $KUBECONFIG, else ~/.kube/config.
        context: Which context of it; None takes the current one.
        namespace: Where manifests go that name no namespace; None takes the context's.
        operator_namespace: Where the operator runs.
    """

    sources: Sequence[str]
    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str | None = None
    operator_namespace: str


async def forecast(options: Options) -> Forecast:
    """Ask the cluster and its databases, and return what the operator would do.

    Raises:
        ManifestsError: a manifest cannot be read or breaks a rule.
        ClusterError: the cluster refuses, or could not be reached.
    """
    where = configuration(options.kubeconfig, options.context)
    namespace = options.namespace or where.namespace
    declared = Sources(options.sources, namespace=namespace).read()
    requests = Requests(where.client)
    cluster, databases = KubernetesCluster(requests), PostgresDatabases()
    try:
        objects = [
            (kind, await _as_accepted(requests, cluster, kind, manifest))
            for (kind, _), manifest in declared.objects.items()
        ]
        facts = await _facts(cluster, options.operator_namespace)
        return await WhatIf(cluster, databases, facts, now).ask(objects)
    finally:
        await databases.close()
        cluster.close()


async def _as_accepted(
    requests: Requests, cluster: Cluster, kind: Kind, manifest: Manifest
) -> Manifest:
    """Return an object as the API server would store it, which is asked by a dry run."""
    metadata: Mapping[str, Any] = manifest["metadata"]
    key = key_of(manifest)
    live = await cluster.get(kind, key)
    if live is None:
        path = path_of(kind, namespace=key.namespace)
        return requests.send("post", path, body=dict(manifest), query_params=DRY_RUN)
    kept = {name: live["metadata"][name] for name in ("uid", "resourceVersion")}
    body = {**manifest, "metadata": {**metadata, **kept}}
    path = path_of(kind, namespace=key.namespace, name=key.name)
    accepted = requests.send("put", path, body=body, query_params=DRY_RUN)
    return {**accepted, "status": live.get("status") or {}}


async def _facts(cluster: Cluster, namespace: str) -> OperatorFacts:
    """Return what every plan needs to know of the operator, as far as the cluster tells."""
    deployment = await cluster.get(DEPLOYMENT, ObjectKey(namespace, OPERATOR)) or {}
    containers = (
        deployment.get("spec", {}).get("template", {}).get("spec", {}).get("containers", ())
    )
    images = [
        entry.get("value")
        for container in containers
        for entry in container.get("env", ())
        if entry["name"] == "TOWPATH_OPERATOR_DEFAULT_IMAGE"
    ]
    return OperatorFacts(
        namespace=namespace,
        cluster_uid=await read_cluster_uid(cluster),
        default_image=images[0] if images else None,
    )
