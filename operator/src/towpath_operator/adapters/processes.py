"""The Cluster port on this machine, for `towpath dev`: objects in memory, pods as local processes.

The same reconcile runs on it as on the Kubernetes API: a Deployment that it applies becomes processes,
and Pods and a Deployment status report them back. Nothing outlives this process.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import secrets
import socket
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from towpath.local.children import Command
from towpath.local.folder import write_private
from towpath.local.supervise import State, Supervised, Supervisor
from towpath_operator.adapters import probes
from towpath_operator.adapters.objects import Changed, ObjectStore, identity
from towpath_operator.adapters.pods import LocalPod, command_of, pod_manifest, pod_status
from towpath_operator.ports.cluster import (
    DEPLOYMENT,
    NAMESPACE,
    POD,
    SECRET,
    Kind,
    Manifest,
    ObjectKey,
)

NAME_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"

TellEvent = Callable[[Manifest, str], None]


class ProcessCluster:
    """Keeps objects and runs Deployments (see the port for what each verb means)."""

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        home: Path,
        folder: Path,
        changed: Changed,
        tell_event: TellEvent,
    ) -> None:
        """Begin with no object but the namespace whose uid names this cluster.

        Args:
            supervisor: Runs the processes.
            home: The `.towpath` folder, where Secrets become files.
            folder: The working folder of the processes.
            changed: Told of each object that was made, changed or deleted.
            tell_event: Told of what would be a Kubernetes Event: about what, and its message.
        """
        self._supervisor = supervisor
        self._secrets = home / "secrets"
        self._folder = folder
        self._tell_event = tell_event
        self._objects = ObjectStore(changed)
        self._pods: dict[ObjectKey, LocalPod] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._to_roll: set[ObjectKey] = set()
        self._closing = False
        self.uid = _cluster_uid(home)
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}}
        self._objects.create(namespace, uid=self.uid)

    # The port.

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest | None:
        """Return the object, or None."""
        return self._objects.get(kind, ObjectKey("", key.name) if kind == NAMESPACE else key)

    async def list(
        self, kind: Kind, *, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Sequence[Manifest]:
        """Return the objects of a kind."""
        return self._objects.list(kind, namespace, labels or {})

    async def create(self, manifest: Manifest) -> Manifest:
        """Make a child; raises `AlreadyExists`."""
        made = self._objects.create(manifest)
        self._act_on(made)
        return made

    async def apply(self, manifest: Manifest) -> Manifest:
        """Make a child, or replace what it says."""
        made = self._objects.apply(manifest)
        self._act_on(made)
        return made

    async def check(self, manifest: Manifest) -> None:
        """Refuse nothing: of a template, this machine reads no more than it can use."""
        del manifest

    async def leave(self, manifest: Manifest) -> None:
        """Do nothing: there are no others."""
        del manifest

    async def apply_status(self, kind: Kind, key: ObjectKey, status: Mapping[str, Any]) -> None:
        """Replace an object's status."""
        self._objects.set_status(kind, key, status)

    async def delete(self, kind: Kind, key: ObjectKey, *, uid: str | None = None) -> None:
        """Delete the object and what it owns."""
        self._delete(kind, key, uid=uid)

    async def set_finalizers(
        self, kind: Kind, key: ObjectKey, *, uid: str, before: Sequence[str], after: Sequence[str]
    ) -> None:
        """Replace the list; nobody else writes one here."""
        found = self._objects.get(kind, key)
        if found is None or found["metadata"]["uid"] != uid:
            return
        del before
        self._objects.set_finalizers(kind, key, after)
        if not after and "deletionTimestamp" in found["metadata"]:
            self._delete(kind, key, uid=uid)

    async def event(self, about: Manifest, *, reason: str, message: str, warning: bool) -> None:
        """Tell of the event; its reason and kind are in the object's conditions too."""
        del reason, warning
        self._tell_event(about, message)

    # What a person does with kubectl.

    def declare(self, manifest: Manifest) -> None:
        """Apply an object of a person's; the same object keeps its uid over restarts of dev."""
        kind, key = identity(manifest)
        uid = uuid.uuid5(uuid.UUID(self.uid), f"{kind.plural}/{key}")
        self._act_on(self._objects.apply(manifest, uid=str(uid)))

    def withdraw(self, kind: Kind, key: ObjectKey) -> None:
        """Delete an object of a person's."""
        self._delete(kind, key)

    def close(self) -> None:
        """Start nothing any more; the supervisor then stops what runs."""
        self._closing = True
        for task in self._tasks:
            task.cancel()

    # What controllers do in a cluster.

    def _act_on(self, made: Manifest) -> None:
        kind, key = identity(made)
        if kind == SECRET:
            self._write_secret(key, made)
        elif kind == DEPLOYMENT:
            self._roll(key)

    def _delete(self, kind: Kind, key: ObjectKey, *, uid: str | None = None) -> None:
        found = self._objects.get(kind, key)
        if found is None or uid not in {None, found["metadata"]["uid"]}:
            return
        if kind == POD:
            self._stop_pod(self._pods[key])
            return
        if found["metadata"].get("finalizers"):
            self._objects.mark_deleted(kind, key)
            return
        if kind == SECRET:
            for file in (self._secrets / key.namespace / key.name).glob("*"):
                file.unlink()
        self._objects.remove(kind, key)
        for dependent in self._objects.dependents(found["metadata"]["uid"]):
            self._delete(*dependent)

    def _write_secret(self, key: ObjectKey, secret: Manifest) -> None:
        for name, value in (secret.get("data") or {}).items():
            file = self._secret_file(key, name)
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(file, base64.b64decode(value).decode())

    def _secret_file(self, key: ObjectKey, name: str) -> Path:
        return self._secrets / key.namespace / key.name / name

    def _roll_soon(self, key: ObjectKey) -> None:
        """Roll once for all the changes of this turn of the loop."""
        if not self._to_roll:
            asyncio.get_running_loop().call_soon(self._roll_all)
        self._to_roll.add(key)

    def _roll_all(self) -> None:
        keys, self._to_roll = self._to_roll, set()
        for key in keys:
            self._roll(key)

    def _roll(self, key: ObjectKey) -> None:
        """Bring a Deployment's pods to its template and number; old pods go as new ones are ready."""
        deployment = self._objects.get(DEPLOYMENT, key)
        if deployment is None or self._closing:
            return
        template_hash = _hash(deployment["spec"]["template"])
        wanted = deployment["spec"].get("replicas", 1)
        # Beyond the number go those that are not ready, then the youngest.
        live = sorted(self._of(key), key=lambda pod: (not pod.ready, pod.created))
        current = [pod for pod in live if pod.template_hash == template_hash]
        old = [pod for pod in live if pod.template_hash != template_hash]
        kept = max(0, wanted - sum(pod.ready for pod in current[:wanted]))
        for pod in (*current[wanted:], *old[kept:]):
            self._stop_pod(pod)
        for _ in range(wanted - len(current)):
            self._start_pod(deployment, template_hash)
        self._report(key, deployment, template_hash)

    def _start_pod(self, deployment: Manifest, template_hash: str) -> None:
        metadata = deployment["metadata"]
        name = f"{metadata['name']}-{''.join(secrets.choice(NAME_LETTERS) for _ in range(5))}"
        pod = LocalPod(
            key=ObjectKey(metadata["namespace"], name),
            uid=str(uuid.uuid4()),
            deployment=ObjectKey(metadata["namespace"], metadata["name"]),
            owner=_owner(deployment),
            template=deployment["spec"]["template"],
            template_hash=template_hash,
            port=self._free_port(),
        )
        self._pods[pod.key] = pod
        self._objects.create(pod_manifest(pod), uid=pod.uid)
        pod.process = self._supervisor.launch(
            name,
            self._command(pod),
            on_change=lambda: self._pod_changed(pod),
        )
        self._objects.set_status(POD, pod.key, pod_status(pod))
        if pod.probe is not None:
            self._spawn(self._watch_readiness(pod, pod.probe.get("path", "/")))

    def _stop_pod(self, pod: LocalPod) -> None:
        if pod.terminating:
            return
        pod.terminating = True
        self._objects.mark_deleted(POD, pod.key)
        self._spawn(self._end_pod(pod))

    async def _end_pod(self, pod: LocalPod) -> None:
        if pod.process is not None:
            await self._supervisor.stop(pod.process)
        self._pods.pop(pod.key, None)
        self._objects.remove(POD, pod.key)
        self._roll_soon(pod.deployment)

    async def _watch_readiness(self, pod: LocalPod, path: str) -> None:
        while not pod.terminating:
            answered = await probes.answers(pod.port, path)
            if answered != pod.answers:
                pod.answers = answered
                self._pod_changed(pod)
            await asyncio.sleep(probes.PERIOD_SECONDS if answered else probes.PERIOD_SECONDS / 5)

    def _pod_changed(self, pod: LocalPod) -> None:
        if pod.process is not None and pod.process.state is State.BACKING_OFF:
            self._renew_port(pod, pod.process)
        self._objects.set_status(POD, pod.key, pod_status(pod))
        self._roll_soon(pod.deployment)

    def _report(self, key: ObjectKey, deployment: Manifest, template_hash: str) -> None:
        pods = self._of(key)
        ready = sum(pod.ready for pod in pods)
        wanted = deployment["spec"].get("replicas", 1)
        counts = {
            "replicas": len(pods),
            "updatedReplicas": sum(pod.template_hash == template_hash for pod in pods),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "unavailableReplicas": max(0, wanted - ready),
        }
        available = {"type": "Available", "status": "True" if ready >= wanted else "False"}
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            # As the API server does: a number that is zero is left out.
            **{name: count for name, count in counts.items() if count},
            "conditions": [available],
        }
        self._objects.set_status(DEPLOYMENT, key, status)

    def _of(self, key: ObjectKey) -> Sequence[LocalPod]:
        """Return the Deployment's pods that are not being stopped."""
        return [pod for pod in self._pods.values() if pod.deployment == key and not pod.terminating]

    def _renew_port(self, pod: LocalPod, process: Supervised) -> None:
        """Give the next run another port where a stranger has taken the pod's meanwhile."""
        if not _is_free(pod.port):
            pod.port = self._free_port()
            process.command = self._command(pod)

    def _command(self, pod: LocalPod) -> Command:
        return command_of(pod, folder=self._folder, secret_file=self._secret_file)

    def _free_port(self) -> int:
        """Find a port that is free and promised to no other pod."""
        promised = {pod.port for pod in self._pods.values()}
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port: int = probe.getsockname()[1]
            if port not in promised:
                return port

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _owner(deployment: Manifest) -> dict[str, Any]:
    return {
        "apiVersion": DEPLOYMENT.api_version,
        "kind": DEPLOYMENT.name,
        "name": deployment["metadata"]["name"],
        "uid": deployment["metadata"]["uid"],
        "controller": True,
    }


def _hash(template: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()


def _cluster_uid(home: Path) -> str:
    """Return the uid that names this folder's cluster in queues' rows; kept over restarts."""
    file = home / "cluster-uid"
    with contextlib.suppress(OSError, ValueError):
        return str(uuid.UUID(file.read_text().strip()))
    made = str(uuid.uuid4())
    write_private(file, made + "\n")
    return made
