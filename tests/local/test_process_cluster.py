"""The Cluster port on local processes behaves as a cluster does, as far as reconcile can tell."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from towpath.local.logs import LineLog
from towpath.local.supervise import BackOff, Supervisor
from towpath_operator.adapters.processes import ProcessCluster
from towpath_operator.ports.cluster import (
    DEPLOYMENT,
    NAMESPACE,
    POD,
    QUEUE,
    SECRET,
    WORKER_POOL,
    AlreadyExists,
    ClusterError,
    Kind,
    Manifest,
    ObjectKey,
)

POOL = ObjectKey("shop", "mailers")
QUICK = BackOff(first=0.01, longest=0.05)
UP = "import os, signal; print('up', os.environ['VERSION'], flush=True); signal.pause()"
FAILS = "import sys; sys.exit('ImportError: no module')"


class Local:
    """A cluster on processes, with what it has told."""

    def __init__(self, folder: Path) -> None:
        self.output = io.StringIO()
        self.told: list[tuple[str, str, bool]] = []
        self.events: list[str] = []
        self._changed = asyncio.Event()
        self.supervisor = Supervisor(LineLog(self.output), back_off=QUICK)
        self.cluster = ProcessCluster(
            supervisor=self.supervisor,
            home=folder,
            folder=folder,
            changed=self._take,
            tell_event=lambda _about, message: self.events.append(message),
        )

    async def until(self, condition: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        """Wait until the condition holds, looking at each change."""
        async with asyncio.timeout(30):
            while True:
                self._changed.clear()
                if await condition():
                    return
                await self._changed.wait()

    async def available(self, count: int) -> None:
        """Wait until the Deployment has just so many pods, all ready and of its template."""

        async def settled() -> bool:
            deployment = await self.cluster.get(DEPLOYMENT, POOL)
            status = (deployment or {}).get("status", {})
            numbers = {
                status.get(name, 0) for name in ("readyReplicas", "updatedReplicas", "replicas")
            }
            return numbers == {count} and len(await self.cluster.list(POD)) == count

        await self.until(settled)

    async def pods(self) -> list[Manifest]:
        """Return the pods."""
        return list(await self.cluster.list(POD, labels={"towpath.dev/pool": "mailers"}))

    def _take(self, kind: Kind, manifest: Manifest, *, gone: bool) -> None:
        self.told.append((kind.name, manifest["metadata"]["name"], gone))
        self._changed.set()


@asynccontextmanager
async def local(folder: Path) -> AsyncIterator[Local]:
    """Yield a cluster; what runs on it ends with the block."""
    made = Local(folder)
    try:
        yield made
    finally:
        made.cluster.close()
        made.supervisor.kill_all()
        await made.supervisor.close()


def deployment(
    *, replicas: int = 1, script: str = UP, version: str = "1", owner: Manifest | None = None
) -> dict[str, Any]:
    """Return a Deployment whose worker is a Python script."""
    labels = {"towpath.dev/pool": POOL.name}
    mount = {"name": "database", "mountPath": "/var/run/towpath/database"}
    url_file = {"name": "TOWPATH_DATABASE_URL_FILE", "value": f"{mount['mountPath']}/uri"}
    pod_name = {"fieldRef": {"fieldPath": "metadata.name"}}
    worker = {
        "name": "worker",
        "command": [sys.executable, "-c", script],
        "workingDir": "/no/such/folder",
        "env": [
            url_file,
            {"name": "VERSION", "value": version},
            {"name": "TOWPATH_HTTP_PORT", "value": "8686"},
            {"name": "TOWPATH_POD_NAME", "valueFrom": pod_name},
        ],
        "volumeMounts": [mount],
    }
    sidecar = {"name": "sidecar", "command": ["false"]}
    owners = [] if owner is None else [{"uid": owner["metadata"]["uid"], "controller": True}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": POOL.name,
            "namespace": POOL.namespace,
            "labels": labels,
            "ownerReferences": owners,
        },
        "spec": {
            "replicas": replicas,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [sidecar, worker],
                    "volumes": [{"name": "database", "secret": {"secretName": "mailers-database"}}],
                },
            },
        },
    }


def secret(uri: str) -> dict[str, Any]:
    """Return the Secret that the Deployment mounts."""
    metadata = {"name": "mailers-database", "namespace": POOL.namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"uri": uri}}


def declared(kind: Kind, name: str) -> dict[str, Any]:
    """Return an object of one of our kinds."""
    metadata = {"name": name, "namespace": POOL.namespace}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "spec": {}}


def read(name: str) -> tuple[str, int] | None:
    """Return a file's text and mode; None where it is not there."""
    file = Path(name)
    return (file.read_text(), stat.S_IMODE(file.stat().st_mode)) if file.exists() else None


def test_replicas_become_processes(tmp_path: Path) -> None:
    """A Deployment has so many processes as it says, up and down."""

    async def scenario() -> None:
        async with local(tmp_path) as here:
            await here.cluster.create(deployment(replicas=3))
            await here.available(3)
            await here.cluster.apply(deployment(replicas=1))
            await here.available(1)
            (pod,) = await here.pods()
            assert pod["status"]["phase"] == "Running"
            assert pod["metadata"]["ownerReferences"][0]["name"] == POOL.name
            assert ("Pod", pod["metadata"]["name"], False) in here.told

    asyncio.run(scenario())


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker gets its template's variables, its own port, a 0600 URL file, and no other TOWPATH_*."""
    monkeypatch.setenv("TOWPATH_DATABASE_URL", "postgresql://of.the.shell/")
    script = (
        "import json, os; print(json.dumps({**os.environ, 'cwd': os.getcwd()}), flush=True); "
        "import signal; signal.pause()"
    )

    async def scenario() -> None:
        async with local(tmp_path) as here:
            await here.cluster.create(secret("postgresql://a:b@c/d"))
            await here.cluster.create(deployment(script=script))
            await here.available(1)
            env = here.supervisor.processes[0].command.env
            assert "TOWPATH_DATABASE_URL" not in env
            url_file = env["TOWPATH_DATABASE_URL_FILE"]
            assert read(url_file) == ("postgresql://a:b@c/d", 0o600)
            assert env["TOWPATH_HTTP_PORT"] != "8686"
            assert env["TOWPATH_POD_NAME"] == here.supervisor.processes[0].name
            assert here.supervisor.processes[0].command.cwd == tmp_path
            await here.cluster.apply(secret("postgresql://rotated/"))
            assert read(url_file) == ("postgresql://rotated/", 0o600)
            await here.cluster.delete(SECRET, ObjectKey("shop", "mailers-database"))
            assert read(url_file) is None

    asyncio.run(scenario())


def test_towpath_runs_by_this_interpreter(tmp_path: Path) -> None:
    """The command `towpath` is the one that runs now, on PATH or not."""

    async def scenario() -> None:
        async with local(tmp_path) as here:
            manifest = deployment()
            worker = manifest["spec"]["template"]["spec"]["containers"][1]
            worker["command"] = ["towpath", "worker", "run", "--app", "shop.workflows"]
            await here.cluster.create(manifest)
            argv = here.supervisor.processes[0].command.argv
            assert argv[:4] == [sys.executable, "-m", "towpath", "worker"]

    asyncio.run(scenario())


def test_rollout_keeps_old_pods_until_new_ones_are_ready(tmp_path: Path) -> None:
    """A new template replaces ready pods by ready pods, and a failing one replaces none."""

    async def scenario() -> None:
        async with local(tmp_path) as here:
            await here.cluster.create(deployment(replicas=2))
            await here.available(2)
            first = {pod["metadata"]["uid"] for pod in await here.pods()}
            broken = deployment(replicas=2, version="2")
            container = broken["spec"]["template"]["spec"]["containers"][1]
            container["readinessProbe"] = {"httpGet": {"path": "/readyz", "port": 8686}}
            await here.cluster.apply(broken)
            uids = {pod["metadata"]["uid"] for pod in await here.pods()}
            assert first < uids
            assert len(uids) == 4
            await here.cluster.apply(deployment(replicas=2, version="3"))
            await here.available(2)
            uids = {pod["metadata"]["uid"] for pod in await here.pods()}
            assert not first & uids
            assert here.output.getvalue().count("up 3") <= 2

    asyncio.run(scenario())


def test_failing_pod_says_why(tmp_path: Path) -> None:
    """A pod that fails again and again reports it as a kubelet would, with its last words."""

    async def scenario() -> None:
        async with local(tmp_path) as here:
            await here.cluster.create(deployment(script=FAILS))

            async def backs_off() -> bool:
                (pod,) = await here.pods()
                (container,) = pod.get("status", {}).get("containerStatuses", [{}])
                return {"waiting", "lastState"} <= {*container, *container.get("state", {})}

            await here.until(backs_off)
            (pod,) = await here.pods()
            (container,) = pod["status"]["containerStatuses"]
            assert container["name"] == "worker"
            assert container["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            ended = container["lastState"]["terminated"]
            assert (ended["exitCode"], ended["message"]) == (1, "ImportError: no module")

    asyncio.run(scenario())


def test_readiness_is_asked_over_http(tmp_path: Path) -> None:
    """A pod with a readiness probe is ready when its process answers, and no longer."""
    script = """
import http.server, os, pathlib
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if pathlib.Path("ready").exists() else 503)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["TOWPATH_HTTP_PORT"])), Handler).serve_forever()
"""

    async def scenario() -> None:
        async with local(tmp_path) as here:
            manifest = deployment(script=script)
            container = manifest["spec"]["template"]["spec"]["containers"][1]
            container["readinessProbe"] = {"httpGet": {"path": "/readyz", "port": 8686}}
            await here.cluster.create(manifest)
            assert (await here.pods())[0]["status"]["conditions"][0]["status"] == "False"
            (tmp_path / "ready").touch()
            await here.available(1)
            (tmp_path / "ready").unlink()

            async def unready() -> bool:
                (pod,) = await here.pods()
                return not pod["status"]["containerStatuses"][0]["ready"]

            await here.until(unready)

    asyncio.run(scenario())


def test_taken_port(tmp_path: Path) -> None:
    """A pod whose port a stranger has taken gets another one when it is started again."""
    script = """
import http.server, os, pathlib, time
while not pathlib.Path("go").exists(): time.sleep(0.01)
port = int(os.environ["TOWPATH_HTTP_PORT"])
http.server.HTTPServer(("127.0.0.1", port), http.server.SimpleHTTPRequestHandler).serve_forever()
"""

    async def scenario() -> None:
        async with local(tmp_path) as here:
            manifest = deployment(script=script)
            container = manifest["spec"]["template"]["spec"]["containers"][1]
            container["readinessProbe"] = {"httpGet": {"path": "/", "port": 8686}}
            await here.cluster.create(manifest)
            taken = int(here.supervisor.processes[0].command.env["TOWPATH_HTTP_PORT"])
            with socket.socket() as stranger:
                stranger.bind(("127.0.0.1", taken))
                stranger.listen()
                (tmp_path / "go").touch()
                await here.available(1)
            assert here.supervisor.processes[0].restarts >= 2

    asyncio.run(scenario())


def test_deleting_an_owner_deletes_what_it_owns(tmp_path: Path) -> None:
    """A pool takes its Deployment with it, and that its pods, once their processes have ended."""

    async def scenario() -> None:
        async with local(tmp_path) as here:
            here.cluster.declare(declared(WORKER_POOL, POOL.name))
            pool = await here.cluster.get(WORKER_POOL, POOL)
            await here.cluster.create(deployment(owner=pool))
            await here.available(1)
            pid = here.supervisor.processes[0].pid
            here.cluster.withdraw(WORKER_POOL, POOL)
            assert await here.cluster.get(DEPLOYMENT, POOL) is None
            (pod,) = await here.pods()
            assert "deletionTimestamp" in pod["metadata"]

            async def gone() -> bool:
                return not await here.pods()

            await here.until(gone)
            assert pid is not None
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
            assert ("WorkerPool", POOL.name, True) in here.told

    asyncio.run(scenario())


def test_verbs(tmp_path: Path) -> None:
    """Uids, generations, statuses, preconditions and refusals are as an API server's."""

    async def scenario() -> None:
        async with local(tmp_path) as here:
            cluster = here.cluster
            key = ObjectKey(POOL.namespace, "mail")
            cluster.declare(declared(QUEUE, "mail"))
            first = await cluster.get(QUEUE, key)
            assert first is not None
            assert first["metadata"]["generation"] == 1
            with pytest.raises(AlreadyExists):
                await cluster.create(declared(QUEUE, "mail"))
            told = len(here.told)
            cluster.declare(declared(QUEUE, "mail"))
            assert len(here.told) == told
            await cluster.apply_status(QUEUE, key, {"waiting": 3})
            cluster.declare({**declared(QUEUE, "mail"), "spec": {"queueName": "post"}})
            second = await cluster.get(QUEUE, key)
            assert second is not None
            assert second["metadata"]["uid"] == first["metadata"]["uid"]
            assert second["metadata"]["generation"] == 2
            assert second["status"] == {"waiting": 3}
            await cluster.delete(QUEUE, key, uid="another")
            assert await cluster.get(QUEUE, key) is not None
            await cluster.delete(QUEUE, key)
            await cluster.delete(QUEUE, key)
            assert await cluster.get(QUEUE, key) is None
            await cluster.apply_status(QUEUE, key, {})
            with pytest.raises(ClusterError, match="no kind ConfigMap"):
                await cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}})

    asyncio.run(scenario())


def test_identity_survives_a_restart(tmp_path: Path) -> None:
    """A folder's cluster, and what is declared in it, keep their uids."""

    async def uids() -> list[str]:
        async with local(tmp_path) as here:
            here.cluster.declare(declared(QUEUE, "mail"))
            queue = await here.cluster.get(QUEUE, ObjectKey(POOL.namespace, "mail"))
            namespace = await here.cluster.get(NAMESPACE, ObjectKey("", "kube-system"))
            assert queue is not None
            assert namespace is not None
            return [queue["metadata"]["uid"], namespace["metadata"]["uid"]]

    assert asyncio.run(uids()) == asyncio.run(uids())
