"""Pid 1 of a node's namespaces: mounts, starts the parts, and ends all when its starter ends.

It runs inside and alone: whatever it mounts or starts goes with it. It tells the host how it stands
in one small file, `status.json`: {"state": "starting" | "ready" | "failed", "part", "reason",
"restarts"}. By SIGUSR1 it kills the API server and starts it again.

It ends at the end of its starter, whatever that end was: by the starter's word (the pipe closes) or
by its death, SIGKILL included (the pidfd becomes readable; a forked child of the starter may hold
the pipe open, so the pipe alone is not proof enough).
"""

import contextlib
import json
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tests.cluster.node.cgroups import make_cgroups, remove_cgroups
from tests.cluster.node.layout import Layout
from tests.cluster.node.parts import API_SERVER, Part, stages

POLL_SECONDS = 0.05
PART_SECONDS = 90
# Some paths are fixed in the parts: the kubelet's sockets, the lock of the pod network. They write
# to a layer in memory over these folders of the host.
SHIELDED = ("/etc", "/usr/libexec", "/var/lib")
# The kubelet sets these for the whole machine. It writes to copies.
MACHINE_SYSCTLS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")


class PartFailedError(Exception):
    """A part ended, or did not begin to work in time."""

    def __init__(self, part: str, reason: str) -> None:
        self.part = part
        self.reason = reason
        super().__init__(f"{part}: {reason}")


class StarterEndedError(Exception):
    """The process that wanted this node is gone."""


class Node:
    """The parts of one node, and the two file descriptors that say whether it is still wanted."""

    def __init__(self, layout: Layout, lifeline: int, starter: int) -> None:
        self.layout = layout
        self.wanted = [lifeline, starter]
        self.processes: dict[int, tuple[Part, subprocess.Popen[bytes]]] = {}
        self.restarts_asked = 0
        self.restarts = 0

    def run(self) -> None:
        """Start everything, then wait for the end of the starter or of a part."""
        self._tell("starting")
        try:
            self._prepare()
            for stage in stages(self.layout):
                self._start(stage)
            self._tell("ready")
            while True:
                self._watch(seconds=0.2)
                if self.restarts < self.restarts_asked:
                    self._restart(API_SERVER)
                    self.restarts += 1
                    self._tell("ready")
        except StarterEndedError:
            return
        except PartFailedError as error:
            self._tell("failed", error.part, error.reason)
        except (OSError, subprocess.SubprocessError) as error:
            self._tell("failed", "node", str(error))
        with contextlib.suppress(StarterEndedError):
            # The starter reads the logs and closes the pipe.
            while True:
                self._watch_starter(seconds=60.0)

    def _prepare(self) -> None:
        # Shared inside, so that the mounts of pods reach the containers that ask for that; the
        # namespace was made private first, so nothing reaches the host.
        _mount("--make-rshared", "/")
        for folder in ("/run", "/var/log"):
            _mount("-t", "tmpfs", "tmpfs", folder)
        self._shield_folders()
        self._shield_sysctls()
        make_cgroups(self.layout.name)
        socket.sethostname(self.layout.name)
        self._join_network()

    def _shield_folders(self) -> None:
        cache = Path("/run/cache")
        cache.mkdir()
        _mount("--bind", str(self.layout.cache), str(cache))
        for folder in SHIELDED:
            layer = Path("/run/layers") / folder.removeprefix("/")
            upper, work = layer / "upper", layer / "work"
            for part in (upper, work):
                part.mkdir(parents=True)
            _mount(
                *("-t", "overlay", "-o", f"lowerdir={folder},upperdir={upper},workdir={work}"),
                *("overlay", folder),
            )
        # The cache itself may lie below one of them, and what is written there is for the host.
        _mount("--bind", str(cache), str(self.layout.cache))
        # In memory: a disk takes longer to load and to forget the images than all else takes.
        _mount("-t", "tmpfs", "tmpfs", str(self.layout.state))

    def _shield_sysctls(self) -> None:
        for name in MACHINE_SYSCTLS:
            value = Path("/proc/sys") / name
            copy = Path("/run/sysctl") / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(value.read_text())
            _mount("--bind", str(copy), str(value))

    def _join_network(self) -> None:
        _ip("link", "set", "lo", "up")
        deadline = time.monotonic() + PART_SECONDS
        while not Path("/sys/class/net").exists() or not _has_link("eth0"):
            self._watch_starter(POLL_SECONDS)
            if time.monotonic() > deadline:
                raise PartFailedError("network", "the host gave this node no link")
        _ip("address", "add", f"{self.layout.address}/24", "dev", "eth0")
        _ip("link", "set", "eth0", "up")
        _ip("route", "add", "default", "via", self.layout.host_address)
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")

    def _start(self, stage: list[Part]) -> None:
        for part in stage:
            with self.layout.log(part.name).open("wb") as log:
                process = subprocess.Popen(
                    part.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )
            self.processes[process.pid] = (part, process)
        deadline = time.monotonic() + PART_SECONDS
        for part in stage:
            while not answers(part.probe):
                self._watch(POLL_SECONDS)
                if time.monotonic() > deadline:
                    raise PartFailedError(part.name, f"no answer within {PART_SECONDS} s")

    def _restart(self, name: str) -> None:
        """Kill a part and start it again: its clients meet an outage of some seconds."""
        pid = next(pid for pid, (part, _) in self.processes.items() if part.name == name)
        part, process = self.processes.pop(pid)
        process.kill()
        process.wait()
        self._start([part])

    def _watch(self, seconds: float) -> None:
        self._watch_starter(seconds)
        self._reap()

    def _watch_starter(self, seconds: float) -> None:
        readable, _, _ = select.select(self.wanted, [], [], seconds)
        if readable:
            raise StarterEndedError

    def _reap(self) -> None:
        """Collect what ended: our parts, which is a failure, and orphans, which is our duty."""
        while self.processes:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if pid in self.processes:
                part, process = self.processes.pop(pid)
                process.returncode = os.waitstatus_to_exitcode(status)
                raise PartFailedError(part.name, f"ended with exit code {process.returncode}")

    def _tell(self, state: str, part: str = "", reason: str = "") -> None:
        told = {"state": state, "part": part, "reason": reason, "restarts": self.restarts}
        content = json.dumps(told)
        draft = self.layout.status.with_suffix(".new")
        draft.write_text(content)
        draft.replace(self.layout.status)

    def end(self) -> None:
        """Kill everything, then remove the cgroups: mounts, links and files go with us."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
        remove_cgroups(self.layout.name)


def answers(probe: str) -> bool:
    """Tell whether what a probe names accepts connections and, if it has a health page, is well."""
    scheme, _, rest = probe.partition(":")
    try:
        if scheme == "unix":
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.connect(rest)
            return True
        if scheme == "tcp":
            host, _, port = rest.partition(":")
            with socket.create_connection((host, int(port)), timeout=1):
                return True
        # Only the certificate of this node's own loopback is not looked at.
        context = ssl._create_unverified_context()  # noqa: S323
        handler = urllib.request.HTTPSHandler(context=context)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), handler)
        with opener.open(probe, timeout=2):
            return True
    except OSError:
        return False


def _has_link(name: str) -> bool:
    listed = subprocess.run(["ip", "link", "show", name], capture_output=True, check=False)
    return listed.returncode == 0


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def main() -> None:
    """Run as `python -m tests.cluster.node.init LAYOUT LIFELINE STARTER`."""
    if os.getpid() != 1:
        # `end` kills all that this process can see.
        sys.exit("this is pid 1 of a node's namespaces; `python -m tests.cluster up` starts it")
    layout, lifeline, starter = sys.argv[1:]
    node = Node(Layout.from_json(layout), int(lifeline), int(starter))
    # Ctrl-C reaches the whole terminal; the starter decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def ask_for_restart(*_: object) -> None:
        node.restarts_asked += 1

    signal.signal(signal.SIGUSR1, ask_for_restart)
    try:
        node.run()
    finally:
        node.end()


if __name__ == "__main__":
    main()
