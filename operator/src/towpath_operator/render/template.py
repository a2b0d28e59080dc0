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
    PodDatabase,
    worker_environment,
)
from towpath_operator.render.names import DEPLOYMENT_LABEL, POOL_LABEL, secret_name

WORKER: Final = "worker"
DATABASE_VOLUME: Final = "towpath-database"
GRACE_AFTER_DRAIN_SECONDS: Final = 20

Json = dict[str, Any]


class TemplateError(ValueError):
    """The pod template cannot be used; `field` is the path of the part that is wrong."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def render_template(
    pool: WorkerPool,
    *,
    queue_names: Sequence[str],
    database: PodDatabase,
    default_image: str | None,
) -> Json:
    """Return the pod template of a pool.

    Raises:
        TemplateError: the user's template has the wrong shape, names no image or sets a reserved
            variable.
    """
    template = copy.deepcopy(pool.spec.template)
    metadata = _object(template.get("metadata"), "spec.template.metadata")
    spec = _object(template.get("spec"), "spec.template.spec")
    containers = _containers(spec, default_image)
    worker = next((c for c in containers if c["name"] == WORKER), containers[0])
    _refuse_reserved(containers, "containers")
    _refuse_reserved(_objects(spec, "initContainers"), "initContainers")
    _fill_worker(worker, pool, queue_names, database)
    _add_database_volume(spec, pool)
    _secure(spec, containers)
    drain = math.ceil(pool.spec.drain.duration.total_seconds())
    spec["terminationGracePeriodSeconds"] = max(
        drain + GRACE_AFTER_DRAIN_SECONDS, _whole(spec.get("terminationGracePeriodSeconds"))
    )
    labels = _object(metadata.get("labels"), "spec.template.metadata.labels")
    metadata["labels"] = labels | pool_labels(pool)
    return {**template, "metadata": metadata, "spec": spec | {"containers": containers}}


def pool_labels(pool: WorkerPool) -> dict[str, str]:
    """Return the labels of all children; they are the Deployment's selector too."""
    return {POOL_LABEL: pool.metadata.name, DEPLOYMENT_LABEL: pool.metadata.name}


def _containers(spec: Json, default_image: str | None) -> list[Json]:
    containers = _objects(spec, "containers")
    if not containers and default_image is not None:
        containers = [{"name": WORKER}]
    if not containers:
        raise TemplateError(
            "spec.template.spec.containers", "must have a container called worker with an image"
        )
    for index, container in enumerate(containers):
        path = f"spec.template.spec.containers[{index}]"
        if not isinstance(container.get("name"), str):
            raise TemplateError(f"{path}.name", "required, but not there")
        if default_image is not None:
            container.setdefault("image", default_image)
        if not isinstance(container.get("image"), str) or not container["image"]:
            raise TemplateError(f"{path}.image", "required, but not there")
    return containers


def _refuse_reserved(containers: Iterable[Json], field: str) -> None:
    for index, container in enumerate(containers):
        for entry in _objects(container, "env"):
            if entry.get("name") in RESERVED:
                raise TemplateError(
                    f"spec.template.spec.{field}[{index}].env",
                    f"{entry['name']} is set by Towpath; leave it out",
                )


def _fill_worker(
    worker: Json, pool: WorkerPool, queue_names: Sequence[str], database: PodDatabase
) -> None:
    if not worker.get("command") and not worker.get("args"):
        worker["command"] = ["towpath", "worker", "run", "--app", pool.spec.application]
    # Ours first: a user's variable may then refer to one of them as $(TOWPATH_POD_NAME).
    worker["env"] = [*worker_environment(pool, queue_names, database), *_objects(worker, "env")]
    mounts = _objects(worker, "volumeMounts")
    # Without subPath, so that the kubelet brings a rotated Secret into a running pod.
    mounts.append({"name": DATABASE_VOLUME, "mountPath": DATABASE_MOUNT, "readOnly": True})
    worker["volumeMounts"] = mounts
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
    volumes = _objects(spec, "volumes")
    if any(volume.get("name") == DATABASE_VOLUME for volume in volumes):
        raise TemplateError(
            "spec.template.spec.volumes", f"{DATABASE_VOLUME} is Towpath's own name"
        )
    secret = {"secretName": secret_name(pool.metadata.name)}
    spec["volumes"] = [*volumes, {"name": DATABASE_VOLUME, "secret": secret}]


def _secure(spec: Json, containers: Sequence[Json]) -> None:
    """Fill in the restricted Pod Security Standard where the template is silent."""
    context = _object(spec.get("securityContext"), "spec.template.spec.securityContext")
    spec["securityContext"] = context
    if context.get("runAsUser") != 0:
        context.setdefault("runAsNonRoot", True)
    context.setdefault("seccompProfile", {"type": "RuntimeDefault"})
    spec.setdefault("automountServiceAccountToken", False)
    initial = _objects(spec, "initContainers")
    if initial:
        spec["initContainers"] = initial
    for container in (*containers, *initial):
        _secure_container(container)


def _secure_container(container: Json) -> None:
    context = _object(container.get("securityContext"), "securityContext of a container")
    container["securityContext"] = context
    if context.get("runAsUser") == 0:
        context.setdefault("runAsNonRoot", False)
    capabilities = _object(context.get("capabilities"), "capabilities of a container")
    added = capabilities.get("add") or []
    # The API refuses a ban on escalation beside what implies it.
    if not context.get("privileged") and not {"SYS_ADMIN", "CAP_SYS_ADMIN"} & set(map(str, added)):
        context.setdefault("allowPrivilegeEscalation", False)
    context["capabilities"] = {"drop": ["ALL"], **capabilities}


def _object(value: Any, field: str) -> Json:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TemplateError(field, "must be an object")
    return value


def _objects(parent: Json, field: str) -> list[Json]:
    value = parent.get(field) or []
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise TemplateError(f"spec.template: {field}", "must be a list of objects")
    return value


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0
