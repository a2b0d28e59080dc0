"""The cluster from the command line: `python -m tests.cluster up`, then kubectl, helm, image.

`up` keeps a cluster in the foreground and prints its kubeconfig's path on stdout; it ends with
Ctrl-C, with SIGTERM, or with the end of its parent. The other commands find the node that runs.
"""

import argparse
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.access import Cluster
from tests.cluster.binaries import build_binaries
from tests.cluster.commands import say, wait_until
from tests.cluster.discovery import chosen_kind, cluster
from tests.cluster.errors import ClusterError
from tests.cluster.node.images import build_pause, keep_archives
from tests.cluster.node.slots import running_slots, slot_folder
from tests.cluster.node.start import install_packages, running_node
from tests.cluster.project import build_shop, build_towpath

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for: which node, and arguments to pass on."""

    slot: int | None
    rest: list[str]

    def running_slot(self) -> int:
        """Return the number of the node that is meant."""
        running = running_slots()
        if self.slot is not None and self.slot in running:
            return self.slot
        if self.slot is not None or not running:
            raise ClusterError("node", "it does not run; start one by `python -m tests.cluster up`")
        if len(running) > 1:
            raise ClusterError("node", f"several run; name one by --slot, of {running}")
        return running[0]

    def node(self) -> Cluster:
        """Return the handle of the node that is meant."""
        return running_node(self.running_slot())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; an error names the part that failed and ends with exit code 1."""
    options = _parser().parse_args(arguments)
    try:
        return COMMANDS[options.command](Request(options.slot, options.rest))
    except ClusterError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def up(_request: Request) -> int:
    """Run a cluster until Ctrl-C, SIGTERM, or the end of the parent."""
    parent = os.pidfd_open(os.getppid())
    # A shell starts background jobs with Ctrl-C ignored; `kill -INT` is meant all the same.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    with cluster() as running:
        sys.stdout.write(f"{running.kubeconfig}\n")
        sys.stdout.flush()
        say("end it by Ctrl-C or `python -m tests.cluster down`")
        try:
            select.select([parent], [], [])
        except KeyboardInterrupt:
            say("ending")
    return 0


def down(request: Request) -> int:
    """End the node that runs, and return when it has ended."""
    slot = request.running_slot()
    starter = int((slot_folder(slot) / "starter").read_text())
    os.kill(starter, signal.SIGTERM)
    wait_until(lambda: slot not in running_slots(), part="node", what="its end")
    return 0


def build(_request: Request) -> int:
    """Fill the cache: programs and base images."""
    if chosen_kind() != "node":
        say(f"nothing to build: this machine uses a cluster of the kind {chosen_kind()!r}")
        return 0
    install_packages()
    build_pause(build_binaries().pause)
    keep_archives()
    return 0


def image(request: Request) -> int:
    """Build the project's images and load them into the node that runs."""
    running = request.node()
    towpath = build_towpath(running)
    sys.stdout.write(json.dumps({"towpath": towpath, "shop": build_shop(running, towpath)}) + "\n")
    return 0


def postgres(request: Request) -> int:
    """Start Postgres in the node that runs; print its URI for pods and for this machine."""
    access = request.node().postgres()
    sys.stdout.write(json.dumps({"pods": access.uri_for_pods(), "host": access.uri()}) + "\n")
    return 0


def kubectl(request: Request) -> int:
    """Run kubectl on the node that runs."""
    running = request.node()
    return _pass_on(running, running.kubectl_path, request.rest)


def helm(request: Request) -> int:
    """Run helm on the node that runs."""
    running = request.node()
    return _pass_on(running, running.helm_path, request.rest)


COMMANDS: dict[str, Callable[[Request], int]] = {
    "up": up,
    "down": down,
    "build": build,
    "image": image,
    "postgres": postgres,
    "kubectl": kubectl,
    "helm": helm,
}


def _pass_on(running: Cluster, program: Path, rest: list[str]) -> int:
    environment = {**os.environ, **running.environment()}
    return subprocess.run([program, *rest], env=environment, check=False).returncode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster",
        description="A real Kubernetes cluster for tests and the demo.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"{name:10}{command.__doc__}" for name, command in COMMANDS.items()),
    )
    parser.add_argument("--slot", type=int, help="which node, where several run")
    parser.add_argument("command", choices=COMMANDS, metavar="command")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="arguments of kubectl and helm")
    return parser


if __name__ == "__main__":
    sys.exit(main())
