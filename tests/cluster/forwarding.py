"""Reaches a Service of a cluster whose nodes this machine may not reach, by `kubectl port-forward`.

A forward ends when its pod does, so it is restarted for as long as it is wanted.
"""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.commands import Argument

RETRY_SECONDS = 0.5


class Forwarding:
    """The forwards of one cluster, one a Service."""

    def __init__(self, kubectl: Path, environment: Mapping[str, str]) -> None:
        self._kubectl = kubectl
        self._environment = environment
        self._ended = threading.Event()
        self._ports: dict[tuple[str, str], int] = {}
        self._threads: list[threading.Thread] = []
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def reach(self, namespace: str, service: str, _node_port: int) -> tuple[str, int]:
        """Return an address on loopback that leads to the only port of a Service."""
        key = (namespace, service)
        if key not in self._ports:
            self._ports[key] = _free_port()
            thread = threading.Thread(target=self._keep, args=key, daemon=True)
            thread.start()
            self._threads.append(thread)
        return "127.0.0.1", self._ports[key]

    def end(self) -> None:
        """End every forward."""
        self._ended.set()
        for process in list(self._processes.values()):
            process.terminate()
        for thread in self._threads:
            thread.join()

    def _keep(self, namespace: str, service: str) -> None:
        argv: list[Argument] = [self._kubectl, f"--namespace={namespace}", "port-forward"]
        argv += [f"service/{service}", f"{self._ports[namespace, service]}:{service}"]
        env = {**os.environ, **self._environment}
        while not self._ended.is_set():
            with subprocess.Popen(
                argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as process:
                self._processes[f"{namespace}/{service}"] = process
                if self._ended.is_set():
                    process.terminate()
                process.wait()
            self._ended.wait(RETRY_SECONDS)


@contextmanager
def forwarding(kubectl: Path, environment: Mapping[str, str]) -> Iterator[Forwarding]:
    """Yield the means to reach Services, ended with the block."""
    forwards = Forwarding(kubectl, environment)
    try:
        yield forwards
    finally:
        forwards.end()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
