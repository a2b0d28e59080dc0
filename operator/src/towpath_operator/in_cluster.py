"""The operator's parts in a real cluster, joined: client, watches, kopf, controller."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from towpath_operator.adapters.kubernetes import KubernetesCluster, Requests, client_configuration
from towpath_operator.adapters.kubernetes_watch import ChildrenWatch
from towpath_operator.adapters.postgres import PostgresDatabases
from towpath_operator.assembly import assemble, read_cluster_uid
from towpath_operator.bindings import Watch
from towpath_operator.controller import Controller
from towpath_operator.ports.cluster import ClusterError, ObjectKey
from towpath_operator.settings import Settings

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Running:
    """What is asked whether it is well."""

    controller: Controller
    children: ChildrenWatch
    watch: Watch


async def run_in_cluster(settings: Settings, note: Callable[[Running], None]) -> None:
    """Run until cancelled; returns only by an error."""
    requests = Requests(client_configuration(settings.kubeconfig))
    cluster = KubernetesCluster(requests, instance=settings.pod_name)
    databases = PostgresDatabases()
    loop = asyncio.get_running_loop()
    try:
        controller = assemble(
            cluster,
            databases,
            namespace=settings.namespace,
            cluster_uid=await _cluster_uid(cluster),
            default_image=settings.default_image,
            resync=settings.resync,
        )

        def child_changed(pool: ObjectKey) -> None:
            loop.call_soon_threadsafe(controller.child_changed, pool)

        children = ChildrenWatch(requests, child_changed)
        watch = Watch(controller, lambda: client_configuration(settings.kubeconfig))
        note(Running(controller, children, watch))
        await _run_together(controller, children, watch)
    finally:
        await databases.close()
        cluster.close()


async def _run_together(controller: Controller, children: ChildrenWatch, watch: Watch) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(controller.run(), name="controller")
            # What a watch tells is taken in after the first list, which knows what is gone.
            await controller.ready.wait()
            children.start()
            await watch.run()
            raise RuntimeError("kopf has stopped watching")
    finally:
        children.stop()
        watch.stop()


async def _cluster_uid(cluster: KubernetesCluster) -> str:
    """Ask until the API server answers: at the start of a cluster it may come after us."""
    while True:
        try:
            return await read_cluster_uid(cluster)
        except ClusterError as error:
            logger.warning("cluster not reachable yet", extra={"error": error.message})
        await asyncio.sleep(RETRY_SECONDS)
