"""The operator as a process of its own, with the chart's rights, and what tests ask of the API."""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import yaml

from tests.cluster import Cluster
from towpath_operator.adapters.kubernetes import Requests, client_configuration, path_of
from towpath_operator.ports.cluster import (
    QUEUE,
    QUEUE_DATABASE,
    SECRET,
    WORKER_POOL,
    ClusterError,
    Kind,
)

ROOT = Path(__file__).parents[2]
OPERATOR_NAMESPACE = "towpath-operator-tests"
RELEASE = "towpath-tests"
GONE = 404
T = TypeVar("T")
_numbers = itertools.count(1)


def eventually(look: Callable[[], T], *, seconds: float = 30, what: str = "") -> T:
    """Return the first answer that is true; an error while looking is an answer that is not."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            found = look()
        except (ClusterError, AssertionError, KeyError, IndexError) as error:
            last = error
        else:
            if found:
                return found
            last = found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what or 'the condition'}; last seen: {last!r}")


@dataclass(slots=True)
class Api:
    """Reads and writes objects of one namespace as an administrator."""

    requests: Requests
    namespace: str

    def exists(self) -> bool:
        """Tell whether the namespace is there and not about to go."""
        found = self.requests.send("get", "/api/v1/namespaces")["items"]
        mine = [one for one in found if one["metadata"]["name"] == self.namespace]
        return bool(mine) and "deletionTimestamp" not in mine[0]["metadata"]

    def get(self, kind: Kind, name: str) -> dict[str, Any] | None:
        """Return an object, or None."""
        try:
            return self.requests.send("get", path_of(kind, namespace=self.namespace, name=name))
        except ClusterError as error:
            if error.status == GONE:
                return None
            raise

    def must_get(self, kind: Kind, name: str) -> dict[str, Any]:
        """Return an object that exists."""
        found = self.get(kind, name)
        assert found is not None, f"{kind.name} {name} does not exist"
        return found

    def create(self, kind: Kind, name: str, spec: Mapping[str, Any], **rest: Any) -> dict[str, Any]:
        """Make an object."""
        body = {
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
            **rest,
        }
        return self.requests.send("post", path_of(kind, namespace=self.namespace), body=body)

    def merge(self, kind: Kind, name: str, change: Mapping[str, Any]) -> dict[str, Any]:
        """Change an object by a merge patch."""
        return self.requests.send(
            "patch",
            path_of(kind, namespace=self.namespace, name=name),
            body=change,
            content_type="application/merge-patch+json",
        )

    def delete(self, kind: Kind, name: str) -> None:
        """Delete an object."""
        self.requests.send("delete", path_of(kind, namespace=self.namespace, name=name))

    def secret(self, name: str, data: Mapping[str, str]) -> None:
        """Make or replace a Secret."""
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        if self.get(SECRET, name) is not None:
            self.delete(SECRET, name)
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "data": encoded,
        }
        self.requests.send("post", path_of(SECRET, namespace=self.namespace), body=body)

    def database(self, url: str, **spec: Any) -> None:
        """Declare the QueueDatabase `default` of this namespace, with its Secret."""
        self.secret("database", {"uri": url})
        self.create(QUEUE_DATABASE, "default", {"uriSecretRef": {"name": "database"}, **spec})

    def queue(self, name: str, **spec: Any) -> dict[str, Any]:
        """Declare a Queue."""
        return self.create(QUEUE, name, spec)

    def condition(self, kind: Kind, name: str, of: str = "Ready") -> dict[str, Any]:
        """Return a condition of an object's present generation; empty where there is none."""
        found = self.must_get(kind, name)
        conditions = found.get("status", {}).get("conditions", [])
        match = [one for one in conditions if one["type"] == of]
        if not match or match[0]["observedGeneration"] != found["metadata"]["generation"]:
            return {}
        return dict(match[0])

    def wait_ready(self, kind: Kind, name: str, *, seconds: float = 30) -> None:
        """Wait until an object is Ready."""
        eventually(
            lambda: self.condition(kind, name).get("status") == "True",
            seconds=seconds,
            what=f"{kind.name} {name} Ready, has {self.get(kind, name)}",
        )

    def wait_reason(
        self, kind: Kind, name: str, reason: str, *, seconds: float = 30
    ) -> dict[str, Any]:
        """Wait until an object is not Ready for a reason, and return the condition."""

        def look() -> dict[str, Any] | None:
            ready = self.condition(kind, name)
            assert ready.get("reason") == reason, f"{kind.name} {name}: {ready}"
            return ready

        return eventually(look, seconds=seconds, what=f"{kind.name} {name} {reason}") or {}


@dataclass(slots=True)
class OperatorProcess:
    """`python -m towpath_operator`, started and stopped at will."""

    kubeconfig: Path
    log_file: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    module: str = "towpath_operator"
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    port: int = field(default=0, init=False)

    def start(self) -> None:
        """Start it, and return once it leads and is ready: after a kill, when the Lease has run out."""
        self.begin()
        try:
            eventually(lambda: self.role() == "leader", what="the operator ready")
        except AssertionError:
            self.stop(signal.SIGKILL)
            raise

    def begin(self) -> None:
        """Start it, and return once it answers probes."""
        before = len(self.log())
        environment = {
            **os.environ,
            "TOWPATH_OPERATOR_KUBECONFIG": str(self.kubeconfig),
            "TOWPATH_OPERATOR_NAMESPACE": OPERATOR_NAMESPACE,
            "TOWPATH_OPERATOR_PORT": "0",
            **self.settings,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "runtime/src"), str(ROOT / "operator/src")]),
        }
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                # It ends with the tests, however they end.
                ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", self.module],
                env=environment,
                stderr=log,
            )
        started = eventually(
            lambda: next(
                (line for line in self.log()[before:] if line["event"] == "operator started"), None
            ),
            what="the operator's first log line",
        )
        assert started is not None
        self.port = started["port"]

    def role(self) -> str | None:
        """Return whether it leads or stands by, as it says itself once it is ready."""
        return _role(self.port)

    def send(self, number: int) -> None:
        """Send it a signal, and wait for nothing."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, *, seconds: float = 30) -> int:
        """Wait until it has ended and return its exit code."""
        assert self._process is not None
        code = self._process.wait(timeout=seconds)
        self._process = None
        return code

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it by a signal and return its exit code."""
        self.send(number)
        return self.wait()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> list[dict[str, Any]]:
        """Return the lines that it has logged, whole ones only."""
        if not self.log_file.exists():
            return []
        text = self.log_file.read_text("utf-8")
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _role(port: int) -> str | None:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            role: str | None = json.load(answer).get("role")
            return role
    except HTTPError as error:
        raise AssertionError(error.read().decode()) from error
    except (URLError, ConnectionError) as error:
        raise AssertionError(str(error)) from error


def new_namespace(requests: Requests) -> Api:
    """Make a namespace for one test."""
    name = f"operator-{os.getpid()}-{next(_numbers)}"
    requests.send("post", "/api/v1/namespaces", body={"metadata": {"name": name}})
    return Api(requests, name)


def install(cluster: Cluster) -> None:
    """Install the CRDs and the operator's rights, as the chart has them, without its Deployment."""
    cluster.kubectl("apply", f"--filename={ROOT / 'crds'}")
    cluster.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=30s")
    rendered = cluster.helm(
        "template",
        RELEASE,
        str(ROOT / "charts/towpath"),
        f"--namespace={OPERATOR_NAMESPACE}",
        "--kube-version=1.31.0",
        "--show-only=templates/serviceaccount.yaml",
        "--show-only=templates/rbac.yaml",
    )
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OPERATOR_NAMESPACE}}
    cluster.apply(yaml.safe_dump(space))
    cluster.apply(rendered)


def kubeconfig_of_operator(
    cluster: Cluster, folder: Path, *, release: str = RELEASE, namespace: str = OPERATOR_NAMESPACE
) -> Path:
    """Write a kubeconfig that has the rights of the chart's ServiceAccount and no others."""
    token = cluster.kubectl(
        "create",
        "token",
        release,
        f"--namespace={namespace}",
        "--duration=6h",
    ).strip()
    config = yaml.safe_load(
        cluster.kubectl("config", "view", "--raw", "--flatten", "--minify", "--output=yaml")
    )
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    path = folder / "operator-kubeconfig.yaml"
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o600)
    return path


def admin_requests(cluster: Cluster) -> Requests:
    """Return a client with the administrator's rights."""
    return Requests(client_configuration(cluster.kubeconfig))


def statuses(api: Api) -> str:
    """Return everything that our objects and their Events say, as one text."""
    parts: list[Any] = [api.requests.send("get", f"{_base(api, kind)}") for kind in _OURS]
    parts.append(
        api.requests.send("get", f"/apis/events.k8s.io/v1/namespaces/{api.namespace}/events")
    )
    return json.dumps(parts)


_OURS = (QUEUE, WORKER_POOL, QUEUE_DATABASE)


def _base(api: Api, kind: Kind) -> str:
    return path_of(kind, namespace=api.namespace)
