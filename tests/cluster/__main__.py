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
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.access import Cluster
from tests.cluster.binaries import build_binaries
from tests.cluster.commands import say, wait_until
from tests.cluster.discovery import cluster
from tests.cluster.errors import ClusterError
from tests.cluster.node.buildah import postgres_image, python_base
from tests.cluster.node.images import build_pause
from tests.cluster.node.slots import running_slots, slot_folder
from tests.cluster.node.start import install_packages, running_node
from tests.cluster.project import build_shop, build_towpath

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; an error names the part that failed and ends with exit code 1."""
    options, rest = _parser().parse_known_args(arguments)
    try:
        return int(COMMANDS[options.command](rest))
    except ClusterError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def up(_rest: list[str]) -> int:
    """Run a cluster until Ctrl-C, SIGTERM, or the end of the parent."""
    parent = os.pidfd_open(os.getppid())
    told, telling = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(telling, b"."))
    with cluster() as running:
        sys.stdout.write(f"{running.kubeconfig}\n")
        sys.stdout.flush()
        say("end it by Ctrl-C or `python -m tests.cluster down`")
        try:
            select.select([parent, told], [], [])
        except KeyboardInterrupt:
            say("ending")
    return 0


def down(_rest: list[str]) -> int:
    """End the node that runs, and return when it has ended."""
    slot = _running_slot()
    starter = int((slot_folder(slot) / "starter").read_text())
    os.kill(starter, signal.SIGTERM)
    wait_until(lambda: slot not in running_slots(), part="node", what="its end")
    return 0


def build(_rest: list[str]) -> int:
    """Fill the cache: programs and base images."""
    install_packages()
    build_pause(build_binaries().pause)
    python_base()
    postgres_image()
    return 0


def image(_rest: list[str]) -> int:
    """Build the project's images and load them into the node that runs."""
    running = running_node(_running_slot())
    towpath = build_towpath(running)
    sys.stdout.write(json.dumps({"towpath": towpath, "shop": build_shop(running, towpath)}) + "\n")
    return 0


def postgres(_rest: list[str]) -> int:
    """Start Postgres in the node that runs; print its URI for pods and for this machine."""
    access = running_node(_running_slot()).postgres()
    sys.stdout.write(json.dumps({"pods": access.uri_for_pods(), "host": access.uri()}) + "\n")
    return 0


def kubectl(rest: list[str]) -> int:
    """Run kubectl on the node that runs."""
    running = running_node(_running_slot())
    return _pass_on(running, running.kubectl_path, rest)


def helm(rest: list[str]) -> int:
    """Run helm on the node that runs."""
    running = running_node(_running_slot())
    return _pass_on(running, running.helm_path, rest)


COMMANDS = {
    function.__name__: function for function in (up, down, build, image, postgres, kubectl, helm)
}


def _pass_on(running: Cluster, program: Path, rest: list[str]) -> int:
    environment = {**os.environ, **running.environment()}
    return subprocess.run([program, *rest], env=environment, check=False).returncode


def _running_slot() -> int:
    running = running_slots()
    if not running:
        raise ClusterError("node", "none runs; start one by `python -m tests.cluster up`")
    return running[-1]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster",
        description="A real Kubernetes cluster for tests and the demo.",
        add_help=len(sys.argv) <= 2 or sys.argv[1] not in COMMANDS,
    )
    listed = "; ".join(f"{name}: {function.__doc__}" for name, function in COMMANDS.items())
    parser.add_argument("command", choices=COMMANDS, help=listed)
    return parser


if __name__ == "__main__":
    sys.exit(main())
