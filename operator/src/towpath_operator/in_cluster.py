"""The operator's parts in a real cluster, joined: client, watches, kopf, controller."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from towpath_operator import metrics
from towpath_operator.adapters.kubernetes import KubernetesCluster, Requests, client_configuration
from towpath_operator.adapters.kubernetes_lease import KubernetesLease
from towpath_operator.adapters.kubernetes_watch import ChildrenWatch
from towpath_operator.adapters.postgres import PostgresDatabases
from towpath_operator.adapters.resolving import resolve_side_by_side
from towpath_operator.adapters.seeing_cluster import SeeingCluster
from towpath_operator.adapters.served_kinds import serves
from towpath_operator.adapters.sightings import Sightings
from towpath_operator.assembly import assemble, now, read_cluster_uid
from towpath_operator.bindings import Watch
from towpath_operator.controller import Controller
from towpath_operator.definitions import DefinitionsCheck
from towpath_operator.leadership import Elector, LeaseFence
from towpath_operator.ports.cluster import OUR_KINDS, ClusterError, Kind, Manifest, ObjectKey
from towpath_operator.settings import Settings

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 2.0
LEADERSHIP_LOST: Final = 3
"""The exit code of an operator that has lost its Lease."""

DRAIN_SECONDS: Final = 3.0
"""So long a leader that is told to stop waits for its requests, before it gives up the Lease."""


@dataclass(frozen=True, slots=True)
class Leading:
    """What works while we lead."""

    controller: Controller
    children: ChildrenWatch
    watch: Watch


@dataclass(slots=True)
class Running:
    """What is asked whether it is well; `leading` is None while we stand by."""

    fence: LeaseFence
    elector: Elector
    definitions: DefinitionsCheck
    leading: Leading | None = None


async def run_in_cluster(settings: Settings, note: Callable[[Running], None]) -> None:
    """Stand by until we lead, then lead until cancelled; returns only by an error."""
    fence = LeaseFence(_end)
    requests = Requests(client_configuration(settings.kubeconfig), guard=fence.check)
    cluster = SeeingCluster(
        requests,
        instance=settings.pod_name,
        namespaces=settings.namespaces,
        resync=settings.resync,
    )
    resolve_side_by_side()
    databases = PostgresDatabases(fence)
    cluster_uid = settings.cluster_uid or await _cluster_uid(cluster)
    led = asyncio.Event()
    elector = _elector(settings, fence, cluster_uid, led)
    running = Running(fence, elector, DefinitionsCheck(cluster))
    note(running)
    async with _handing_over(elector, fence, cluster, databases), running.definitions.followed():
        await led.wait()
        controller = assemble(
            cluster,
            databases,
            namespace=settings.namespace,
            cluster_uid=cluster_uid,
            default_image=settings.default_image,
            namespaces=settings.namespaces,
            resync=settings.resync,
        )
        running.leading = _leading(settings, requests, cluster.sightings, controller)
        metrics.REGISTRY.register(controller.state)
        await _run_together(running.leading)


def _end(why: str) -> None:
    """End at once, whatever the other threads are at: another operator may lead already."""
    logger.warning("leadership lost", extra={"reason": why, "exit_code": LEADERSHIP_LOST})
    os._exit(LEADERSHIP_LOST)


def _elector(
    settings: Settings, fence: LeaseFence, cluster_uid: str, led: asyncio.Event
) -> Elector:
    loop = asyncio.get_running_loop()
    configuration = client_configuration(settings.kubeconfig)
    lease = KubernetesLease(
        Requests(configuration, guard=fence.check_renewal),
        namespace=settings.namespace,
        cluster_uid=cluster_uid,
        clock=now,
    )
    return Elector(
        lease,
        fence,
        # Another one for each process: a container that was restarted is not the one that held it.
        identity=f"{settings.pod_name}_{secrets.token_hex(4)}",
        led=lambda: loop.call_soon_threadsafe(led.set),
    )


@asynccontextmanager
async def _handing_over(
    elector: Elector, fence: LeaseFence, cluster: KubernetesCluster, databases: PostgresDatabases
) -> AsyncIterator[None]:
    """Take part in the election; in the end write nothing more, and then let the next one lead."""
    elector.start()
    try:
        yield
    finally:
        fence.close()
        await databases.close()
        if await cluster.drain(within=DRAIN_SECONDS):
            await asyncio.to_thread(elector.stop, within=DRAIN_SECONDS)


@dataclass(frozen=True, slots=True)
class _Listener:
    """Takes in the events of our kinds: first what is there, then who has to do with it."""

    sightings: Sightings
    controller: Controller

    def noticed(self, kind: Kind, manifest: Manifest) -> None:
        """Take in an object as it is now."""
        self.sightings.saw(kind, manifest)
        self.controller.noticed(kind, manifest)

    def removed(self, kind: Kind, manifest: Manifest) -> None:
        """Take in that an object is gone."""
        self.sightings.saw_go(kind, manifest)
        self.controller.removed(kind, manifest)


def _leading(
    settings: Settings, requests: Requests, sightings: Sightings, controller: Controller
) -> Leading:
    loop = asyncio.get_running_loop()

    def child_changed(pool: ObjectKey) -> None:
        loop.call_soon_threadsafe(controller.child_changed, pool)

    def tell_pod(pool: ObjectKey, pod: Manifest) -> None:
        loop.call_soon_threadsafe(controller.pod_noticed, pool, pod)

    children = ChildrenWatch(
        requests, child_changed, settings.namespaces, sightings=sightings, tell_pod=tell_pod
    )
    return Leading(
        controller,
        children,
        Watch(
            _Listener(sightings, controller),
            lambda: client_configuration(settings.kubeconfig),
            settings.namespaces,
            served=lambda: serves(requests, OUR_KINDS),
        ),
    )


async def _run_together(leading: Leading) -> None:
    controller, children, watch = leading.controller, leading.children, leading.watch
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
