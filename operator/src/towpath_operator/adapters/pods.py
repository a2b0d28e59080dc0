"""What a pod template is on this machine: a command, its environment, and the Pod that reports it.

Of a template count the worker container's command, args, literal environment and workingDir, and the
mounted Secret that TOWPATH_DATABASE_URL_FILE lies in. Everything else is the cluster's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

from towpath.local.children import Command
from towpath.local.supervise import Exit, State, Supervised
from towpath_operator.adapters.objects import timestamp
from towpath_operator.ports.cluster import POD, ObjectKey
from towpath_operator.render.environment import RESERVED

WORKER: Final = "worker"
URL_FILE: Final = "TOWPATH_DATABASE_URL_FILE"
HTTP_PORT: Final = "TOWPATH_HTTP_PORT"
NODE: Final = "local"
LONGEST_MESSAGE: Final = 2048
GRACE_BEYOND_DRAIN: Final = 20.0
DEFAULT_GRACE: Final = 30.0
SecretFile = Callable[[ObjectKey, str], Path]
"""Where a key of a Secret lies as a file."""


@dataclass(slots=True, kw_only=True)
class LocalPod:
    """One replica of a Deployment: a pod object, and the process behind it."""

    key: ObjectKey
    uid: str
    deployment: ObjectKey
    owner: Mapping[str, Any]
    template: Mapping[str, Any]
    template_hash: str
    port: int
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    process: Supervised | None = None
    answers: bool = False
    """Whether its readiness probe, if the template has one, was answered."""
    terminating: bool = False

    @property
    def ready(self) -> bool:
        """Whether it runs and its readiness probe was answered."""
        running = self.process is not None and self.process.state is State.RUNNING
        return running and not self.terminating and (self.answers or self.probe is None)

    @property
    def probe(self) -> Mapping[str, Any] | None:
        """The readiness probe over HTTP that the template has."""
        found: Mapping[str, Any] | None = (
            worker_container(self.template).get("readinessProbe") or {}
        ).get("httpGet")
        return found


def worker_container(template: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the container called worker, else the first."""
    containers: Sequence[Mapping[str, Any]] = template["spec"]["containers"]
    return next((c for c in containers if c.get("name") == WORKER), containers[0])


def command_of(pod: LocalPod, *, folder: Path, secret_file: SecretFile) -> Command:
    """Return what to run for a pod, in the working folder unless the template names one that exists."""
    container = worker_container(pod.template)
    asked = Path(container.get("workingDir") or folder)
    grace = float(pod.template["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE))
    return Command(
        argv=_argv(container),
        env=_environment(pod, container, secret_file),
        cwd=asked if asked.is_dir() else folder,
        drain=max(0.0, grace - GRACE_BEYOND_DRAIN),
    )


def _argv(container: Mapping[str, Any]) -> list[str]:
    command = list(container.get("command") or ["towpath"])
    argv = [*map(str, command), *map(str, container.get("args") or ())]
    if argv[0] == "towpath":
        # The towpath that runs now, also where no script of that name is on PATH.
        return [sys.executable, "-m", "towpath", *argv[1:]]
    return argv


def _environment(
    pod: LocalPod, container: Mapping[str, Any], secret_file: SecretFile
) -> dict[str, str]:
    # Of Towpath's own names only the template's count, not the shell's that dev runs in.
    env = {name: value for name, value in os.environ.items() if name not in RESERVED}
    env["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), env.get("PATH", os.defpath)))
    env["PYTHONUNBUFFERED"] = "1"  # a line shows when it is printed
    env.setdefault("TOWPATH_LOG_FORMAT", "console")  # people read these, not a log collector
    for entry in container.get("env") or ():
        value = _value(pod, entry)
        if value is not None:
            env[entry["name"]] = value
    if URL_FILE in env:
        env[URL_FILE] = _local_file(pod, container, env[URL_FILE], secret_file)
    if HTTP_PORT in env:
        env[HTTP_PORT] = str(pod.port)
    return env


def _value(pod: LocalPod, entry: Mapping[str, Any]) -> str | None:
    """Return a variable's value: a literal, or a field of the pod; other sources are the cluster's."""
    if "valueFrom" not in entry:
        return str(entry.get("value", ""))
    fields = {
        "metadata.name": pod.key.name,
        "metadata.namespace": pod.key.namespace,
        "metadata.uid": pod.uid,
        "spec.nodeName": NODE,
        "status.podIP": "127.0.0.1",
        "status.hostIP": "127.0.0.1",
    }
    return fields.get((entry["valueFrom"].get("fieldRef") or {}).get("fieldPath", ""))


def _local_file(
    pod: LocalPod, container: Mapping[str, Any], path: str, secret_file: SecretFile
) -> str:
    """Return where a file of a mounted Secret lies here; other paths stay."""
    secrets = {
        volume["name"]: volume["secret"]
        for volume in pod.template["spec"].get("volumes") or ()
        if "secret" in volume
    }
    wanted = PurePosixPath(path)
    for mount in container.get("volumeMounts") or ():
        secret = secrets.get(mount["name"])
        if secret is not None and wanted.is_relative_to(mount["mountPath"]):
            name = str(wanted.relative_to(mount["mountPath"]))
            items = {item["path"]: item["key"] for item in secret.get("items") or ()}
            key = ObjectKey(pod.key.namespace, secret["secretName"])
            return str(secret_file(key, items.get(name, name)))
    return path


def pod_manifest(pod: LocalPod) -> dict[str, Any]:
    """Return the Pod object, without its status."""
    given = pod.template.get("metadata") or {}
    metadata = {
        "name": pod.key.name,
        "namespace": pod.key.namespace,
        "ownerReferences": [pod.owner],
        **{kind: dict(given[kind]) for kind in ("labels", "annotations") if given.get(kind)},
    }
    spec = {**pod.template["spec"], "nodeName": NODE}
    return {"apiVersion": POD.api_version, "kind": POD.name, "metadata": metadata, "spec": spec}


def pod_status(pod: LocalPod) -> dict[str, Any]:
    """Return the Pod's status as a kubelet would report this process."""
    process = pod.process
    ready = pod.ready
    container: dict[str, Any] = {
        "name": worker_container(pod.template)["name"],
        "ready": ready,
        "restartCount": 0 if process is None else process.restarts,
        "state": _state(process),
    }
    if process is not None and process.last_exit is not None:
        container["lastState"] = {"terminated": _terminated(process.last_exit)}
    started = process is not None and process.state is not State.STARTING
    return {
        "phase": "Running" if started else "Pending",
        "startTime": timestamp(pod.created),
        "podIP": "127.0.0.1",
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        "containerStatuses": [container],
    }


def _state(process: Supervised | None) -> dict[str, Any]:
    if process is None or process.state is State.STARTING:
        return {"waiting": {"reason": "ContainerCreating"}}
    if process.state is State.RUNNING and process.started_at is not None:
        return {"running": {"startedAt": timestamp(process.started_at)}}
    if process.state is State.STOPPED and process.last_exit is not None:
        return {"terminated": _terminated(process.last_exit)}
    message = "back-off before the next start of this process"
    return {"waiting": {"reason": "CrashLoopBackOff", "message": message}}


def _terminated(ended: Exit) -> dict[str, Any]:
    """Report an end, with the last lines of output: what FallbackToLogsOnError does in a cluster."""
    code = ended.code if ended.code >= 0 else 128 - ended.code
    said = {} if code == 0 else {"message": "\n".join(ended.output)[-LONGEST_MESSAGE:]}
    return {
        "exitCode": code,
        "reason": "Completed" if code == 0 else "Error",
        "startedAt": timestamp(ended.started_at),
        "finishedAt": timestamp(ended.ended_at),
        **said,
    }
