"""Starts programs for tests, and waits for what they do. Nothing here sleeps for a fixed time."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
STARTER = Path(__file__).with_name("starter.py")
PACKAGES = Path(psutil.__file__).parents[1]
SOURCES = os.pathsep.join(map(str, (ROOT / "runtime/src", ROOT / "operator/src", PACKAGES)))


def eventually(condition: Callable[[], bool], what: str, *, seconds: float = 30.0) -> None:
    """Wait until the condition holds; fail, saying what was awaited, at the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Tell whether a process runs; one that ended and was not waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def unprivileged(command: list[str]) -> list[str]:
    """Return the command, to be run by a user without privileges when this is root.

    Its interpreter is replaced where that user does not reach it, as below /root, by the system's of
    the same version.
    """
    if os.geteuid() != 0:
        return command
    user = pwd.getpwnam("nobody")
    switch = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    reads = subprocess.run([*switch, "test", "-r", STARTER], check=False)
    if reads.returncode != 0:
        pytest.skip(f"an unprivileged user does not reach {ROOT}; clone to where it does")
    version = (
        "import os, sys; print(sys.version_info[:2] if os.access(sys.executable, os.X_OK) else '')"
    )
    for python in (command[0], "/usr/bin/python3", "/usr/local/bin/python3"):
        answer = subprocess.run(
            [*switch, python, "-c", version], capture_output=True, text=True, check=False
        )
        if answer.stdout.strip() == str(sys.version_info[:2]):
            return [*switch, python, *command[1:]]
    pytest.skip("an unprivileged user reaches no Python of this version")


@contextmanager
def starter(
    what: str, folder: Path, *, user: Callable[[list[str]], list[str]] = lambda command: command
) -> Iterator[subprocess.Popen[str]]:
    """Run the starter program; whatever becomes of it, it does not outlive the block."""
    process = subprocess.Popen(
        user([sys.executable, str(STARTER), what, str(folder)]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": SOURCES},
        cwd="/",
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def started_pids(process: subprocess.Popen[str]) -> tuple[int, int]:
    """Return the pids of Postgres and of its guardian, which the starter prints when it is up."""
    assert process.stdout is not None
    server, guardian = process.stdout.readline().split()
    return int(server), int(guardian)


needs_setpriv = pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root needs setpriv to be another"
)
