"""Starts a node in new namespaces, joins it to the host, and yields the handle of its cluster."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.cluster.access import Cluster, client_environment
from tests.cluster.binaries import Binaries, build_binaries
from tests.cluster.cache import ROOT, SOURCES, cache_folder, locked
from tests.cluster.commands import reported, run, wait_until
from tests.cluster.errors import ClusterError, read_log
from tests.cluster.node.certificates import write_certificates
from tests.cluster.node.cgroups import remove_cgroups
from tests.cluster.node.configuration import write_configuration
from tests.cluster.node.images import NodeImages, build_pause
from tests.cluster.node.layout import Layout
from tests.cluster.node.slots import Slot, network_of, slot_folder, taken_slot

READY_SECONDS = 240
NAMESPACES = ["--mount", "--pid", "--net", "--uts", "--ipc"]


@contextmanager
def single_node() -> Iterator[Cluster]:
    """Run a node as long as the block lasts; it ends with this process, however that ends."""
    install_packages()
    binaries = build_binaries()
    pause = build_pause(binaries.pause)
    with taken_slot() as slot:
        layout = _lay_out(slot, binaries)
        with reported(f"starting Kubernetes in slot {slot.number}"):
            write_certificates(layout)
            write_configuration(layout)
            process, lifeline = _unshare(layout, slot)
            try:
                images = _bring_up(layout, process, binaries, pause)
            except BaseException:
                _end(layout, process, lifeline)
                raise
        try:
            yield _handle(layout, images, partial(_state, layout, process))
        finally:
            _end(layout, process, lifeline)


def running_node(slot: int) -> Cluster:
    """Return the handle of a node that another process runs."""
    folder = slot_folder(slot)
    layout = Layout.from_json((folder / "layout.json").read_text())
    pid = int((folder / "pid").read_text())
    return _handle(layout, NodeImages(pid=pid), lambda: _told_state(layout))


def install_packages() -> None:
    """Install the Debian packages that are missing, or say what a person must install."""
    if os.geteuid() != 0:
        raise ClusterError(
            "node",
            "a node in namespaces needs root; as another user, install kind and a container"
            " engine, or name a cluster by TOWPATH_TEST_KUBECONFIG",
        )
    with locked("apt"):
        run("install.sh", [SOURCES / "install.sh"], seconds=900)


def _lay_out(slot: Slot, binaries: Binaries) -> Layout:
    layout = Layout(
        slot=slot.number,
        network=network_of(slot.number),
        cache=cache_folder(),
        binaries=binaries.folder,
    )
    layout.folder.mkdir(parents=True)
    (layout.folder / "layout.json").write_text(layout.to_json())
    (layout.folder / "starter").write_text(str(os.getpid()))
    return layout


def _unshare(layout: Layout, slot: Slot) -> tuple[subprocess.Popen[bytes], int]:
    """Start pid 1; return its parent and the pipe whose end is its end."""
    reading, lifeline = os.pipe()
    starter = os.pidfd_open(os.getpid())
    inherited = [reading, starter, slot.held_by.fileno()]
    # Its own session: a Ctrl-C is for the starter, which then ends the node in order.
    argv = ["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc"]
    argv += ["--propagation", "private", sys.executable, "-m", "tests.cluster.node.init"]
    argv += [layout.to_json(), str(reading), str(starter)]
    try:
        with layout.log("node").open("wb") as log:
            process = subprocess.Popen(
                argv,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=inherited,
                start_new_session=True,
            )
    finally:
        os.close(reading)
        os.close(starter)
    return process, lifeline


def _bring_up(
    layout: Layout, process: subprocess.Popen[bytes], binaries: Binaries, pause: Path
) -> NodeImages:
    pid = _inner_pid(process)
    (layout.folder / "pid").write_text(str(pid))
    _link(layout, pid)
    wait_until(
        lambda: _state(layout, process) == "ready",
        part="node",
        what="every part at work",
        seconds=READY_SECONDS,
    )
    images = NodeImages(pid=pid)
    images.load_archive(pause)
    env = client_environment(layout.kubeconfig)
    kubectl = partial(run, "kubectl", env=env)
    wait = ["wait", "--for=condition=Ready", f"node/{layout.name}", "--timeout=60s"]
    # kubectl waits for a condition, not for the object to be there.
    wait_until(
        lambda: layout.name in kubectl([binaries.kubectl, "get", "nodes"]),
        part="kubelet",
        what="its node",
    )
    kubectl([binaries.kubectl, *wait])
    # Pods of a namespace are refused until its service account is there.
    wait_until(
        lambda: "default" in kubectl([binaries.kubectl, "get", "serviceaccounts"]),
        part="kube-controller-manager",
        what="the service account of the default namespace",
    )
    return images


def _inner_pid(process: subprocess.Popen[bytes]) -> int:
    """Return pid 1's number outside: the only child of unshare."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

    def child() -> str:
        return children.read_text().strip() if process.poll() is None else "ended"

    wait_until(lambda: child() != "", part="unshare", what="its child")
    if child() == "ended":
        raise ClusterError("unshare", "these namespaces are not allowed here")
    return int(child().split()[0])


def _link(layout: Layout, pid: int) -> None:
    """Lay the cable: one end here, the other becomes eth0 inside. It goes with the namespace."""
    peer = ["peer", "name", "eth0", "netns", str(pid)]
    run("network", ["ip", "link", "add", layout.name, "type", "veth", *peer])
    address = f"{layout.host_address}/24"
    run("network", ["ip", "address", "add", address, "dev", layout.name])
    run("network", ["ip", "link", "set", layout.name, "up"])


def _state(layout: Layout, process: subprocess.Popen[bytes]) -> str:
    """Return what pid 1 last said; a failure that it tells of, or its death, is raised."""
    state = _told_state(layout)
    if process.poll() is not None:
        raise ClusterError("node", "its pid 1 has ended", read_log(layout.log("node")))
    return state


def _restart_api(layout: Layout) -> None:
    before = _told(layout)["restarts"]
    os.kill(int((layout.folder / "pid").read_text()), signal.SIGUSR1)
    wait_until(
        lambda: _told_state(layout) == "ready" and _told(layout)["restarts"] > before,
        part="kube-apiserver",
        what="its answer after a restart",
        seconds=READY_SECONDS,
    )


def _told(layout: Layout) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(read_log(layout.status) or '{"state": "starting"}')
    return told


def _told_state(layout: Layout) -> str:
    status = _told(layout)
    if status["state"] == "failed":
        part = status["part"]
        raise ClusterError(part, status["reason"], read_log(layout.log(part)))
    return str(status["state"])


def _end(layout: Layout, process: subprocess.Popen[bytes], lifeline: int) -> None:
    os.close(lifeline)
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    remove_cgroups(layout.name)
    # The kernel takes a namespace down after its last process, and the link with it.
    wait_until(
        lambda: not Path(f"/sys/class/net/{layout.name}").exists(),
        part="network",
        what=f"the end of {layout.name}",
    )


def _handle(layout: Layout, images: NodeImages, check: Callable[[], object]) -> Cluster:
    def reach(_namespace: str, _service: str, node_port: int) -> tuple[str, int]:
        return layout.address, node_port

    binaries = Binaries(folder=layout.binaries)
    return Cluster(
        kind="node",
        kubeconfig=layout.kubeconfig,
        kubectl_path=binaries.kubectl,
        helm_path=binaries.helm,
        images=images,
        reach=reach,
        check=check,
        restart_api=partial(_restart_api, layout),
    )
