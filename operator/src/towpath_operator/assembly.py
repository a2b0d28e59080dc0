"""Puts a controller together over any cluster and any databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from towpath_operator.controller import Controller
from towpath_operator.declarations import Declarations
from towpath_operator.desk import DatabaseDesk
from towpath_operator.pace import SteadyPace
from towpath_operator.plan.observed import OperatorFacts
from towpath_operator.ports.cluster import NAMESPACE, Cluster, ClusterError, ObjectKey
from towpath_operator.ports.database import Databases
from towpath_operator.services import Services
from towpath_operator.what_if.holding import hold
from towpath_operator.work_queue import RESYNC_SECONDS


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def assemble(
    cluster: Cluster,
    databases: Databases,
    *,
    namespace: str,
    cluster_uid: str,
    default_image: str | None = None,
    namespaces: tuple[str, ...] = (),
    clock: Callable[[], datetime] = now,
    resync: float = RESYNC_SECONDS,
) -> Controller:
    """Return a controller; `run` it, and tell it of changes.

    Args:
        cluster: Where objects live.
        databases: Where queues live.
        namespace: The operator's own: the second place where a databaseRef is looked for.
        cluster_uid: What names this cluster in a queue's row.
        default_image: The image of pools whose template names none.
        namespaces: The namespaces that are watched; empty is all.
        clock: What time it is.
        resync: After how many seconds everything is listed and looked at again.
    """
    facts = OperatorFacts(
        namespace=namespace,
        cluster_uid=cluster_uid,
        default_image=default_image,
        namespaces=namespaces,
    )
    declared = Declarations()
    return Controller(
        Services(
            cluster=cluster,
            databases=databases,
            operator=facts,
            declared=declared,
            desk=DatabaseDesk(cluster, databases, declared, facts, clock),
            pace=SteadyPace(),
            clock=clock,
            hold=hold,
        ),
        resync=resync,
    )


async def read_cluster_uid(cluster: Cluster) -> str:
    """Return the uid of the namespace kube-system, which lives as long as the cluster."""
    namespace = await cluster.get(NAMESPACE, ObjectKey("", "kube-system"))
    if namespace is None:
        raise ClusterError("the namespace kube-system is not there", status=404)
    uid: str = namespace["metadata"]["uid"]
    return uid
