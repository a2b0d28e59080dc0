"""The Cluster port on the Kubernetes API that reads from what was seen, and lists once a resync.

A reconcile costs no request for what lists and watches have told anyway: a thousand pools at rest are
a few lists a minute, and their Secrets, which are never listed. A watch that is silent without anybody
noticing hides nothing for longer than a resync.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from towpath_operator.adapters.kubernetes import KubernetesCluster, Requests, path_of
from towpath_operator.adapters.sightings import Sightings
from towpath_operator.ports.cluster import (
    CONTROLLER_REVISION,
    DEPLOYMENT,
    OUR_KINDS,
    POD,
    POD_DISRUPTION_BUDGET,
    Kind,
    Manifest,
    ObjectKey,
)
from towpath_operator.render.names import POOL_LABEL

CHILDREN: Final = frozenset({DEPLOYMENT, POD, POD_DISRUPTION_BUDGET, CONTROLLER_REVISION})
"""Those with a pool's label; one from which a hand took it is read by its name."""

KEPT: Final = CHILDREN.union(OUR_KINDS)

UNWATCHED: Final = frozenset({POD_DISRUPTION_BUDGET, CONTROLLER_REVISION})
"""Listed twice a resync, so that a reconcile a resync sees drift within about one."""

_SEEN: Final = {(kind.api_version, kind.name): kind for kind in KEPT}


class SeeingCluster(KubernetesCluster):
    """Reads our kinds and a pool's children from its `sightings`; everything else as its base does."""

    def __init__(
        self,
        requests: Requests,
        *,
        instance: str,
        namespaces: Sequence[str] = (),
        resync: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read from what was seen, as long as everything was listed within a resync."""
        super().__init__(requests, instance=instance, namespaces=namespaces)
        self.sightings = Sightings(KEPT)
        self._resync = resync
        self._clock = clock
        self._listed_at = dict.fromkeys(KEPT, float("-inf"))
        self._locks = {kind: asyncio.Lock() for kind in KEPT}

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest | None:
        """Return the object as it was last seen."""
        if kind not in self._listed_at:
            return await super().get(kind, key)
        await self._list_unless_lately(kind)
        seen = self.sightings.get(kind, key)
        if seen is None and kind in CHILDREN:
            return await super().get(kind, key)
        return seen

    async def list(
        self, kind: Kind, *, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Sequence[Manifest]:
        """Return a pool's children as they were last seen; list anything else."""
        labels = labels or {}
        if kind in CHILDREN and namespace is not None and labels.keys() == {POOL_LABEL}:
            await self._list_unless_lately(kind)
            return self.sightings.of_pool(kind, ObjectKey(namespace, labels[POOL_LABEL]))
        if kind in OUR_KINDS and namespace is None and not labels:
            return await self._list_all(kind)
        return await super().list(kind, namespace=namespace, labels=labels)

    async def delete(self, kind: Kind, key: ObjectKey, *, uid: str | None = None) -> None:
        """Delete the object, and go by nothing that was seen of it."""
        await super().delete(kind, key, uid=uid)
        self.sightings.forget(kind, key)

    async def _list_unless_lately(self, kind: Kind) -> None:
        async with self._locks[kind]:
            if self._clock() - self._listed_at[kind] >= self._resync * _patience(kind):
                await self._list_all(kind)

    async def _list_all(self, kind: Kind) -> Sequence[Manifest]:
        began = self._clock()
        selector = POOL_LABEL if kind in CHILDREN else ""
        head = {"apiVersion": kind.api_version, "kind": kind.name}
        found: list[Manifest] = []
        for place in self._namespaces:
            path = path_of(kind, namespace=place)
            read = partial(self._requests.pages, path, label_selector=selector)
            items, version = await self._run(read)
            await self._run(partial(self.sightings.saw_all, kind, items, version, namespace=place))
            found.extend({**head, **item} for item in items)
        self._listed_at[kind] = began
        return found

    async def _send(self, method: str, path: str, **params: Any) -> dict[str, Any]:
        """Send a request, and take in what it says of an object."""
        answer = await super()._send(method, path, **params)
        kind = _SEEN.get((answer.get("apiVersion", ""), answer.get("kind", "")))
        if kind is not None and "dry_run" not in params:
            self.sightings.saw(kind, answer)
        return answer


def _patience(kind: Kind) -> float:
    """Return after how many resyncs a list is made where nobody else has made one."""
    if kind in OUR_KINDS:
        return 2.0  # the controller lists them once a resync
    return 0.5 if kind in UNWATCHED else 1.0
