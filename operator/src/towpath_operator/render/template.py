"""The pod template of a pool: the user's, with what Towpath adds where it is silent."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.render.environment import (
    DATABASE_MOUNT,
    HTTP_PORT,
    RESERVED,
    worker_environment,
)
from towpath_operator.render.facts import PodFacts, build_id
from towpath_operator.render.metadata import child_labels, pool_labels
from towpath_operator.render.names import secret_name, without_nulls
from towpath_operator.render.security import secure_container, secure_pod
from towpath_operator.render.shapes import Json, TemplateError, object_at, objects_at

WORKER: Final = "worker"
DATABASE_VOLUME: Final = "towpath-database"
GRACE_AFTER_DRAIN_SECONDS: Final = 20
TEMPLATE: Final = "spec.template"
SPEC: Final = f"{TEMPLATE}.spec"


def render_template(pool: WorkerPool, facts: PodFacts) -> Json:
    """Return the pod template of a pool.

    Raises:
        TemplateError: the user's template has the wrong shape, names no image or sets what is
            reserved.
    """
    template: Json = without_nulls(copy.deepcopy(pool.spec.template))
    metadata = object_at(template, "metadata", TEMPLATE)
    spec = object_at(template, "spec", TEMPLATE)
    containers = _containers(spec, facts.default_image)
    initial = objects_at(spec, "initContainers", SPEC)
    for field, group in (("containers", containers), ("initContainers", initial)):
        for index, container in enumerate(group):
            path = f"{SPEC}.{field}[{index}]"
            _refuse_reserved(container, path)
            secure_container(container, path)
    worker = next((c for c in containers if c["name"] == WORKER), containers[0])
    _fill_worker(worker, f"{SPEC}.containers[{containers.index(worker)}]", pool, facts)
    _add_database_volume(spec, pool)
    secure_pod(spec, SPEC)
    spec.setdefault("topologySpreadConstraints", _soft_spread(pool))
    spec["terminationGracePeriodSeconds"] = _grace(spec, pool)
    metadata["labels"] = _labels(metadata, pool)
    return {**template, "metadata": metadata, "spec": spec | {"containers": containers}}


def _containers(spec: Json, default_image: str | None) -> list[Json]:
    containers = objects_at(spec, "containers", SPEC)
    if not containers and default_image is not None:
        containers = [{"name": WORKER}]
    if not containers:
        raise TemplateError(
            f"{SPEC}.containers", "must have a container called worker with an image"
        )
    names: list[str] = []
    for index, container in enumerate(containers):
        path = f"{SPEC}.containers[{index}]"
        name = container.get("name")
        if not isinstance(name, str) or not name:
            raise TemplateError(f"{path}.name", "required, but not there")
        if name in names:
            raise TemplateError(f"{path}.name", f"another container is called {name!r} too")
        names.append(name)
        if default_image is not None:
            container.setdefault("image", default_image)
        if not isinstance(container.get("image"), str) or not container["image"]:
            raise TemplateError(f"{path}.image", "required, but not there")
    return containers


def _refuse_reserved(container: Json, path: str) -> None:
    """Refuse what the operator sets; from an envFrom its own value wins, since it stands in `env`."""
    for entry in objects_at(container, "env", path):
        name = entry.get("name")
        if isinstance(name, str) and name in RESERVED:
            raise TemplateError(
                f"{path}.env",
                f"container {container.get('name')!r} sets {name}, which Towpath sets; leave it out",
            )


def _fill_worker(worker: Json, path: str, pool: WorkerPool, facts: PodFacts) -> None:
    if not worker.get("command") and not worker.get("args"):
        worker["command"] = ["towpath", "worker", "run", "--app", pool.spec.application]
    # Ours first: a user's variable may then refer to one of them as $(TOWPATH_POD_NAME).
    ours = worker_environment(pool, facts.queue_names, facts.database)
    worker["env"] = [*ours, *objects_at(worker, "env", path)]
    # Without subPath, so that the kubelet brings a rotated Secret into a running pod.
    mount = {"name": DATABASE_VOLUME, "mountPath": DATABASE_MOUNT, "readOnly": True}
    worker["volumeMounts"] = [*objects_at(worker, "volumeMounts", path), mount]
    worker.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    for name, probe in _probes().items():
        worker.setdefault(name, probe)


def _probes() -> dict[str, Json]:
    """Five minutes to import; ready at once and no longer than it is; 90 s without life."""
    alive = {"httpGet": {"path": "/livez", "port": HTTP_PORT}, "timeoutSeconds": 5}
    ready = {"httpGet": {"path": "/readyz", "port": HTTP_PORT}, "timeoutSeconds": 5}
    return {
        "startupProbe": {**alive, "periodSeconds": 1, "failureThreshold": 300},
        "livenessProbe": {**alive, "periodSeconds": 30, "failureThreshold": 3},
        "readinessProbe": {**ready, "periodSeconds": 1, "failureThreshold": 1},
    }


def _add_database_volume(spec: Json, pool: WorkerPool) -> None:
    volumes = objects_at(spec, "volumes", SPEC)
    if any(volume.get("name") == DATABASE_VOLUME for volume in volumes):
        raise TemplateError(f"{SPEC}.volumes", f"{DATABASE_VOLUME} is Towpath's own name")
    secret = {"secretName": secret_name(pool.metadata.name)}
    spec["volumes"] = [*volumes, {"name": DATABASE_VOLUME, "secret": secret}]


def _soft_spread(pool: WorkerPool) -> Sequence[Json]:
    """Spread pods over nodes, as long as that keeps none from running."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": pool_labels(pool)},
        }
    ]


def _grace(spec: Json, pool: WorkerPool) -> int:
    """Return the drain and 20 s, or what the user gives beyond that."""
    ours = math.ceil(pool.spec.drain.duration.total_seconds()) + GRACE_AFTER_DRAIN_SECONDS
    theirs = spec.get("terminationGracePeriodSeconds", ours)
    if not isinstance(theirs, int) or isinstance(theirs, bool):
        raise TemplateError(
            f"{SPEC}.terminationGracePeriodSeconds", "must be a whole number of seconds"
        )
    return max(ours, theirs)


def _labels(metadata: Json, pool: WorkerPool) -> dict[str, Any]:
    theirs = object_at(metadata, "labels", f"{TEMPLATE}.metadata")
    ours = child_labels(pool, build_id(pool))
    taken: Iterable[str] = sorted(set(theirs) & set(ours))
    for name in taken:
        raise TemplateError(
            f"{TEMPLATE}.metadata.labels", f"{name} is set by Towpath; leave it out"
        )
    return theirs | ours
