"""From an apply to what it brings about: rows, Deployments, ready pods; beside the floor."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from bench.in_cluster.place import Place
from bench.in_cluster.sightings import looking_at_rows, watching
from tests.cluster import build_shop, build_towpath
from tests.operator.running import Api, eventually
from towpath_operator.adapters.kubernetes import path_of
from towpath_operator.ports.cluster import DEPLOYMENT, QUEUE, WORKER_POOL

CLIENTS = 8
PATIENCE_SECONDS = 300.0
NO_IMAGE = "registry.invalid/none:1"


@dataclass(frozen=True, slots=True)
class Delays:
    """How long each of some things took from its apply, and all of them from the first apply."""

    each: Sequence[float]
    all_seconds: float

    def percentile(self, percent: int) -> float:
        """Return a percentile in seconds."""
        if len(self.each) == 1:
            return self.each[0]
        return quantiles(self.each, n=100, method="inclusive")[percent - 1]


def workers(image: str, pods: int) -> dict[str, Any]:
    """Return a pool's spec without its queues."""
    return {
        "application": "shop.workflows",
        "autoscaling": {"min": pods, "max": max(1, pods)},
        "template": {"spec": {"containers": [{"name": "worker", "image": image}]}},
    }


def apply_all(names: Sequence[str], make: Callable[[str], object]) -> dict[str, float]:
    """Make objects by eight clients at once, and return when each was asked for."""
    began: dict[str, float] = {}

    def one(name: str) -> None:
        began[name] = time.monotonic()
        make(name)

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(one, names))
    return began


def delays(began: Mapping[str, float], seen: Mapping[str, float]) -> Delays:
    """Return how long each took."""
    each = sorted(seen[name] - moment for name, moment in began.items())
    return Delays(each, max(seen.values()) - min(began.values()))


def queues_at_once(api: Api, url: str, count: int) -> dict[str, Delays]:
    """Apply Queues with workers, all at once; rows in Postgres and Deployments in the cluster."""
    names = [f"queue-{number}" for number in range(count)]
    spec = {"workers": workers(NO_IMAGE, 0)}
    with looking_at_rows(url) as rows, watching(api, DEPLOYMENT, ready=False) as deployments:
        began = apply_all(names, lambda name: api.queue(name, **spec))
        return {
            "row": delays(began, rows.wait(names, seconds=PATIENCE_SECONDS)),
            "Deployment": delays(began, deployments.wait(names, seconds=PATIENCE_SECONDS)),
        }


def deployments_at_once(api: Api, count: int) -> Delays:
    """Apply Deployments themselves: the API server's own share."""
    names = [f"floor-{number}" for number in range(count)]
    with watching(api, DEPLOYMENT, ready=False) as seen:
        began = apply_all(names, lambda name: api.create(DEPLOYMENT, name, bare(name, NO_IMAGE, 0)))
        return delays(began, seen.wait(names, seconds=PATIENCE_SECONDS))


def bare_kopf_at_once(place: Place, api: Api, count: int) -> Delays:
    """Apply WorkerPools to a kopf operator of one handler that makes their Deployments."""
    names = [f"bare-{number}" for number in range(count)]
    spec = {**workers(NO_IMAGE, 0), "queues": [{"name": "none"}]}
    with _bare_kopf(place, api), watching(api, DEPLOYMENT, ready=False) as seen:
        began = apply_all(names, lambda name: api.create(WORKER_POOL, name, spec))
        return delays(began, seen.wait(names, seconds=PATIENCE_SECONDS))


def bare(name: str, image: str, pods: int) -> dict[str, Any]:
    """Return a Deployment's spec with one container."""
    labels = {"bare": name}
    container = {"name": "worker", "image": image, "command": ["python3", "-c", WAITS]}
    return {
        "replicas": pods,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }


WAITS = "import signal; signal.sigwait([signal.SIGTERM])"


def first_pod(place: Place, api: Api) -> dict[str, float]:
    """Apply one Queue with one pod, and a bare Deployment of the same image; seconds until ready."""
    image = build_shop(place.cluster, build_towpath(place.cluster))
    took = {}
    with watching(api, DEPLOYMENT, ready=True) as ready:
        began = time.monotonic()
        api.create(DEPLOYMENT, "floor", bare("floor", image, 1))
        took["bare"] = ready.wait(["floor"], seconds=PATIENCE_SECONDS)["floor"] - began
        began = time.monotonic()
        api.queue("first", workers=workers(image, 1))
        took["towpath"] = ready.wait(["first"], seconds=PATIENCE_SECONDS)["first"] - began
    for kind, name in ((QUEUE, "first"), (DEPLOYMENT, "floor")):
        api.delete(kind, name)
    return took


@contextmanager
def _bare_kopf(place: Place, api: Api) -> Iterator[None]:
    command = [sys.executable, "-m", "kopf", "run", "-m", "bench.in_cluster.bare_kopf"]
    process = subprocess.Popen(
        [*command, f"--namespace={api.namespace}", "--standalone", "--quiet"],
        env=place.cluster.environment(),
        stderr=subprocess.DEVNULL,
    )
    try:
        # It says nothing of when it watches: one object tells.
        spec = {**workers(NO_IMAGE, 0), "queues": [{"name": "none"}]}
        api.create(WORKER_POOL, "warm", spec)
        path = path_of(DEPLOYMENT, namespace=api.namespace, name="warm")
        eventually(lambda: api.requests.send("get", path), what="the bare operator at work")
        yield
    finally:
        process.terminate()
        process.wait()
