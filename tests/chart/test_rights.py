"""The operator's rights: each has a reason, none is missing, none is more."""

from __future__ import annotations

from tests.chart.rendering import NAMESPACE, of_kind, render, rights, the
from tests.cluster import Cluster

TOWPATH, APPS, POLICY, CORE = "towpath.dev", "apps", "policy", ""
READ = ("get", "list", "watch")

IN_NAMESPACES: dict[tuple[str, str], dict[str, str]] = {
    (TOWPATH, "queues"): {
        "get": "a reconcile reads the object anew",
        "list": "everything is listed at the start and at each resync",
        "watch": "kopf's watch",
        "patch": "the finalizer towpath.dev/delete-rows, where a deletion of rows is confirmed",
    },
    (TOWPATH, "workerpools"): {
        "get": "a reconcile reads the object anew, and a Queue its own pool",
        "list": "everything is listed at the start and at each resync",
        "watch": "kopf's watch",
        "create": "the pool of a Queue's `workers`",
        "patch": "the same, changed",
        "delete": "the same, when `workers` is taken out of the Queue",
    },
    (TOWPATH, "queuedatabases"): {
        "get": "a reconcile reads the object anew",
        "list": "everything is listed at the start and at each resync",
        "watch": "kopf's watch",
    },
    **{
        (TOWPATH, f"{kind}/status"): {"patch": "the status is applied"}
        for kind in ("queues", "workerpools", "queuedatabases")
    },
    (APPS, "deployments"): {
        "get": "a pool's reconcile reads its child",
        "list": "the watch of children begins with a list",
        "watch": "drift and deletion are seen within seconds",
        "create": "a child is first made by POST",
        "patch": "and then applied",
    },
    (APPS, "replicasets"): {
        "get": "a rollout's state",
        "list": "the watch of children begins with a list",
        "watch": "a rollout's state",
    },
    (APPS, "controllerrevisions"): {
        "get": "the stored pod template is read",
        "list": "older ones are found",
        "create": "a new template is stored",
        "patch": "one that a hand edited is made right",
        "delete": "older ones go",
    },
    (POLICY, "poddisruptionbudgets"): {
        "get": "a pool's reconcile reads its child",
        "list": "children are read by their label",
        "create": "a child is first made by POST",
        "patch": "and then applied",
    },
    (CORE, "pods"): {
        "get": "why a pod does not run",
        "list": "the pods of a pool",
        "watch": "the kubelet's proof that a worker has ended",
    },
    (CORE, "secrets"): {
        "get": "a database's Secret by its name, and a pool's own",
        "create": "a pool's own",
        "patch": "the same, after a rotation",
    },
    ("events.k8s.io", "events"): {"create": "transitions are told"},
}
OUTSIDE = {
    (CORE, "namespaces"): {"get": "kube-system's uid names the cluster"},
    ("apiextensions.k8s.io", "customresourcedefinitions"): {"get": "whether the CRDs are older"},
}
LEASE = {
    ("coordination.k8s.io", "leases"): {
        "create": "the first leader makes it",
        "get": "who leads is read",
        "update": "it is taken, renewed and given up, guarded by its resourceVersion",
    }
}


def listed(table: dict[tuple[str, str], dict[str, str]]) -> set[tuple[str, str, str]]:
    """Return a table's rights, each of which must have its reason."""
    assert all(reason for verbs in table.values() for reason in verbs.values())
    return {(group, name, verb) for (group, name), verbs in table.items() for verb in verbs}


def test_the_operator_has_the_rights_that_have_a_reason_and_no_others(cluster: Cluster) -> None:
    """Cluster-wide: one ClusterRole, and a Role for the Lease beside the operator."""
    objects = render(cluster)
    wide = set(rights(the(objects, "ClusterRole")["rules"]))
    assert wide == listed(IN_NAMESPACES) | listed(OUTSIDE)
    (role,) = of_kind(objects, "Role")
    assert role["metadata"]["namespace"] == NAMESPACE
    assert set(rights(role["rules"])) == listed(LEASE)


def test_nothing_is_a_wildcard_and_secrets_are_never_listed(cluster: Cluster) -> None:
    """In no variant, and what it reads outside of namespaces it reads by name."""
    for settings in ((), ("watchNamespaces={a,b}",)):
        roles = render(cluster, *settings)
        for role in [*of_kind(roles, "ClusterRole"), *of_kind(roles, "Role")]:
            for group, resource, verb in rights(role["rules"]):
                assert "*" not in (group, resource, verb)
                assert (resource, verb) not in {("secrets", "list"), ("secrets", "watch")}
                assert resource != "secrets" or verb != "delete"
            for rule in role["rules"]:
                outside = {"namespaces", "customresourcedefinitions"} & set(rule["resources"])
                assert not outside or rule["resourceNames"]


def test_an_operator_of_some_namespaces_has_rights_there_alone(cluster: Cluster) -> None:
    """A Role in each of them and in its own; outside it reads two things by name."""
    objects = render(cluster, "watchNamespaces={shop,bank}")
    roles = [one for one in of_kind(objects, "Role") if one["metadata"]["name"] == "towpath"]
    assert {role["metadata"]["namespace"] for role in roles} == {"shop", "bank", NAMESPACE}
    assert all(set(rights(role["rules"])) == listed(IN_NAMESPACES) for role in roles)
    bound = [one for one in of_kind(objects, "RoleBinding") if one["roleRef"]["name"] == "towpath"]
    assert {one["metadata"]["namespace"] for one in bound} == {"shop", "bank", NAMESPACE}
    assert {one["subjects"][0]["namespace"] for one in bound} == {NAMESPACE}
    assert set(rights(the(objects, "ClusterRole")["rules"])) == listed(OUTSIDE)
    environment = the(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"]
    told = {one["name"]: one.get("value") for one in environment}
    assert told["TOWPATH_OPERATOR_NAMESPACES"] == f"bank,shop,{NAMESPACE}"


def test_with_the_clusters_uid_given_it_has_no_cluster_role_of_its_own(cluster: Cluster) -> None:
    """For a platform that gives none away; the people's roles are another switch."""
    uid = "0f0f0f0f-0f0f-0f0f-0f0f-0f0f0f0f0f0f"
    objects = render(cluster, "watchNamespaces={shop}", f"clusterUid={uid}", "rbac.aggregate=false")
    assert of_kind(objects, "ClusterRole") == of_kind(objects, "ClusterRoleBinding") == []
    environment = the(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "TOWPATH_OPERATOR_CLUSTER_UID", "value": uid} in environment


def test_who_may_view_sees_and_who_may_edit_writes(cluster: Cluster) -> None:
    """Writing a WorkerPool is running pods: it begins where creating pods begins, at edit."""
    objects = render(cluster)
    view, edit = (the(objects, "ClusterRole", f"towpath-{name}") for name in ("view", "edit"))
    assert {verb for _, _, verb in rights(view["rules"])} <= set(READ)
    aggregated = "rbac.authorization.k8s.io/aggregate-to-"
    assert {f"{aggregated}view"} == {k for k in view["metadata"]["labels"] if aggregated in k}
    labels = {name for name in edit["metadata"]["labels"] if aggregated in name}
    assert labels == {f"{aggregated}edit", f"{aggregated}admin"}
    assert (TOWPATH, "workerpools", "create") in set(rights(edit["rules"]))
    assert (TOWPATH, "workerpools/scale", "update") in set(rights(edit["rules"]))
