"""Runs `towpath dev` as a person does, and reads what it says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.local.processes import SOURCES, eventually, is_running

PROGRAM = "from towpath_operator.dev import dev; dev(prog_name='towpath dev')"

QUEUE = """
apiVersion: towpath.dev/v1alpha1
kind: Queue
metadata: {name: mail, namespace: shop}
spec: {concurrency: {global: 3}}
"""

POOL = """
---
apiVersion: towpath.dev/v1alpha1
kind: WorkerPool
metadata: {name: mailers, namespace: shop}
spec:
  application: shop.workflows
  queues: [{name: mail}]
  autoscaling: {min: %(pods)d}
  drain: {timeout: %(drain)s}
  template:
    spec:
      containers:
        - name: worker
          image: registry.example/shop:1
          command: [python3, -u, worker.py]
          env: [{name: GREETING, value: %(greeting)s}]
          readinessProbe: {exec: {command: ["true"]}}
"""

WORKER = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("drained"), sys.exit(0)))
print("up", os.environ["GREETING"], os.environ["TOWPATH_QUEUES"], os.environ["TOWPATH_POOL"])
while True:
    signal.pause()
"""


def manifests(*, pods: int = 1, greeting: str = "hello", drain: str = "30s") -> str:
    """Return a Queue and a WorkerPool whose worker is a small program of the test."""
    return QUEUE + POOL % {"pods": pods, "greeting": greeting, "drain": drain}


AsUser = Callable[[list[str]], list[str]]
"""Makes a command one that another user runs."""


class Dev:
    """A running `towpath dev`."""

    def __init__(self, folder: Path, *arguments: str, user: AsUser = list) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            user([sys.executable, "-c", PROGRAM, *arguments]),
            cwd=folder,
            env={**os.environ, "PYTHONPATH": SOURCES},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._deaf = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def said(self) -> str:
        """Everything that was said so far."""
        return "\n".join(self.lines)

    def hears(self, text: str, *, times: int = 1, seconds: float = 40.0) -> None:
        """Wait until a text was said, often enough."""
        eventually(
            lambda: self.said.count(text) >= times or self.process.poll() is not None,
            f"{text!r} in:\n{self.said}",
            seconds=seconds,
        )
        assert self.said.count(text) >= times, self.said

    def family(self) -> set[int]:
        """Return the pids of everything that it started, guardians included."""
        return {child.pid for child in psutil.Process(self.process.pid).children(recursive=True)}

    def workers(self) -> list[int]:
        """Return the pids of its worker processes."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if child.cmdline()[-1:] == ["worker.py"]:
                    found.append(child.pid)
            except psutil.Error:
                continue
        return found

    def postgres(self) -> int:
        """Return the pid of its Postgres."""
        pid_file = self.folder / ".towpath" / "postgres" / "data" / "postmaster.pid"
        return int(pid_file.read_text().partition("\n")[0])

    def stop_reading(self) -> None:
        """Close our end of its stderr after the next line."""
        self._deaf = True

    def interrupt(self) -> None:
        """Send what Ctrl-C sends."""
        self.process.send_signal(signal.SIGINT)

    def ends(self, *, seconds: float = 60.0) -> int:
        """Wait for it to end, take all that it said, and return its exit code."""
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            if self._deaf:
                self.process.stderr.close()
                return


@contextmanager
def running_dev(folder: Path, *arguments: str, user: AsUser = list) -> Iterator[Dev]:
    """Run `towpath dev`; at the end nothing of it is left, whatever happened."""
    dev = Dev(folder, *arguments, user=user)
    try:
        yield dev
    finally:
        family = dev.family() if dev.process.poll() is None else set()
        dev.process.kill()
        dev.ends()
        for stream in (dev.process.stdout, dev.process.stderr):
            assert stream is not None
            stream.close()
        eventually(lambda: not any(map(is_running, family)), "everything that it started ends")


def write(folder: Path, text: str, name: str = "queue.yaml") -> str:
    """Write a manifest file and the worker program beside it."""
    (folder / "worker.py").write_text(WORKER)
    partial = folder / f"{name}.partial"
    partial.write_text(text)
    partial.replace(folder / name)
    return name
