"""The cluster is real: pods run, Services have names, images load, and nothing is left over."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.cluster import Cluster
from tests.cluster.binaries import Binaries, build_binaries
from tests.cluster.cache import ROOT
from tests.cluster.commands import wait_until
from tests.cluster.discovery import cluster as running_cluster
from tests.cluster.errors import ClusterError
from tests.cluster.named import VARIABLE
from tests.cluster.node import start
from tests.cluster.node.cgroups import find_cgroups
from tests.cluster.node.layout import node_name
from tests.cluster.node.slots import running_slots, slot_folder

WEB = "web"
ASK = "import urllib.request as r; print(r.urlopen('{url}', timeout=5).status)"


@pytest.fixture(scope="module")
def web(cluster: Cluster) -> str:
    """Run two web servers behind a Service, and return the name of their Deployment."""
    labels = {"app": WEB}
    container = {
        "name": WEB,
        "image": cluster.images.python(),
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-m", "http.server", "8080", "--directory", "/usr/share"],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    pod = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    spec = {
        "replicas": 2,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    service = {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}
    objects = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": WEB}, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": WEB}, "spec": service},
    ]
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    cluster.kubectl("rollout", "status", f"deployment/{WEB}", "--timeout=100s")
    return WEB


def test_every_node_is_ready(cluster: Cluster) -> None:
    """The kubelet has registered and reports Ready."""
    nodes = json.loads(cluster.kubectl("get", "nodes", "--output=json"))["items"]
    conditions = [c for node in nodes for c in node["status"]["conditions"] if c["type"] == "Ready"]

    assert [condition["status"] for condition in conditions] == ["True"] * len(nodes)
    assert nodes


def test_a_deployment_becomes_available(cluster: Cluster, web: str) -> None:
    """Controllers, scheduler, kubelet and containerd together run what a Deployment asks for."""
    deployment = json.loads(cluster.kubectl("get", f"deployment/{web}", "--output=json"))

    assert deployment["status"]["availableReplicas"] == 2


@pytest.mark.parametrize("host", [WEB, f"{WEB}.default.svc.cluster.local"])
def test_a_service_answers_by_its_name(cluster: Cluster, web: str, host: str) -> None:
    """A pod finds a Service by DNS and reaches a pod behind it."""
    assert _run_in_pod(cluster, web, ASK.format(url=f"http://{host}/")) == "200"


def test_logs_come_from_the_kubelet(cluster: Cluster, web: str) -> None:
    """`kubectl logs` shows what the container printed."""
    _run_in_pod(cluster, web, ASK.format(url="http://127.0.0.1:8080/"))

    assert "GET / HTTP" in cluster.kubectl("logs", f"--selector=app={web}", "--tail=-1")


def test_pods_and_the_host_share_one_postgres(cluster: Cluster, web: str) -> None:
    """Both URIs lead to the same server: by name from a pod, by address from here."""
    postgres = cluster.postgres()
    address, _, port = postgres.uri_for_pods().rpartition("@")[2].partition("/")[0].partition(":")
    connect = (
        f"import socket; socket.create_connection(('{address}', {port}), 5); print('connected')"
    )

    with psycopg.connect(postgres.uri(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE shared")
    assert _run_in_pod(cluster, web, connect) == "connected"


def test_a_cluster_command_that_fails_shows_why(cluster: Cluster) -> None:
    """The error names the program and quotes it."""
    with pytest.raises(
        ClusterError, match=r'(?s)^kubectl: exit code 1.*"nobody" not found'
    ) as caught:
        cluster.kubectl("get", "pod/nobody")
    assert caught.value.part == "kubectl"


def test_a_deployment_that_fails_shows_what_its_pods_say(cluster: Cluster) -> None:
    """The error quotes events, or the log of a container that has begun."""
    image = f"--image={cluster.images.python()}"
    last_words = ["--", "python3", "-c", "raise SystemExit('no such shop')"]
    cluster.kubectl("create", "namespace", "failing")
    cluster.kubectl("create", "deployment", "absent", "--namespace=failing", "--image=absent:none")
    cluster.kubectl("create", "deployment", "broken", "--namespace=failing", image, *last_words)

    with pytest.raises(ClusterError) as caught:
        cluster.wait_available("absent", namespace="failing", seconds=5)

    assert caught.value.part == "deployment/absent"
    assert "absent:none" in caught.value.log
    assert "no such shop" in caught.value.log


def test_a_named_kubeconfig_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that was asked for by name is never replaced by another."""
    monkeypatch.setenv(VARIABLE, "/nowhere/kubeconfig")

    with pytest.raises(ClusterError, match="/nowhere/kubeconfig"), running_cluster():
        pass


def test_a_part_that_fails_is_named_and_quoted(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that cannot start says which part it was and what that part said last."""
    if cluster.kind != "node":
        pytest.skip("only the single node has parts of ours")
    for program in build_binaries().folder.iterdir():
        (tmp_path / program.name).symlink_to(program)
    broken = Binaries(folder=tmp_path)
    broken.coredns.unlink()
    broken.coredns.write_text("#!/bin/sh\necho no such plugin: weather\nexit 3\n")
    broken.coredns.chmod(0o755)
    monkeypatch.setattr(start, "build_binaries", lambda: broken)

    with pytest.raises(ClusterError) as caught, start.single_node():
        pass

    assert caught.value.part == "coredns"
    assert caught.value.reason == "ended with exit code 3"
    assert caught.value.log == "no such plugin: weather"


def test_after_sigkill_of_the_starter_nothing_is_left(cluster: Cluster) -> None:
    """A node ends with its starter: no process, link, mount or cgroup of it stays."""
    if cluster.kind != "node":
        pytest.skip("only the single node lives in namespaces of ours")
    starter = subprocess.Popen(
        [sys.executable, "-m", "tests.cluster", "up"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with starter:
        assert starter.stdout is not None
        kubeconfig = Path(starter.stdout.readline().strip())
        slot = next(slot for slot in running_slots() if slot_folder(slot) in kubeconfig.parents)
        assert _remains(slot) == ["process", "link", "cgroup"]
        starter.send_signal(signal.SIGKILL)

    wait_until(lambda: slot not in running_slots(), part="node", what="its end", seconds=30)
    wait_until(lambda: not _remains(slot), part="node", what="the end of all", seconds=5)


def _run_in_pod(cluster: Cluster, deployment: str, program: str) -> str:
    """Run a Python program in a pod, again while the network is still being laid to it."""
    argv = ["exec", f"deployment/{deployment}", "--", "python3", "-c", program]
    answers: list[str] = []

    def answered() -> bool:
        try:
            answers.append(cluster.kubectl(*argv).strip())
        except ClusterError:
            return False
        return True

    wait_until(answered, part=deployment, what="an answer in a pod", seconds=30)
    return answers[0]


def _remains(slot: int) -> list[str]:
    """Return what is there of a node, as the host sees it."""
    folder = str(slot_folder(slot)).encode()
    commands = [_read(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
    there = {
        "process": any(folder in command for command in commands),
        "mount": folder in _read(Path("/proc/self/mountinfo")),
        "link": Path(f"/sys/class/net/{node_name(slot)}").exists(),
        "cgroup": bool(find_cgroups(node_name(slot))),
    }
    return [name for name, is_there in there.items() if is_there]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
