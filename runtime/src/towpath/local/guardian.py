"""Ends processes when their starter ends, SIGKILL included. Run by path, standard library only.

A guardian reads a pipe whose other end only its starter holds: however the starter ends, the kernel
closes that end, on Linux and macOS alike. It is a process of its own session, so that neither Ctrl-C
nor a signal to the starter's process group reaches it.

    python -I -S guardian.py hold [--uid N --gid N] [--remove FOLDER] -- COMMAND...
        Starts COMMAND and ends with its exit code. At the end of the pipe it stops COMMAND: SIGINT,
        10 s later SIGQUIT, 5 s later SIGKILL (Postgres: fast, immediate, killed).
    python -I -S guardian.py watch
        Kills the process groups it was told of (a line `+PGID` adds one, `-PGID` takes it away).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import FrameType

STOP_SEQUENCE = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
PR_SET_PDEATHSIG = 1


def hold(command: list[str], *, uid: int | None, gid: int | None, remove: str | None) -> int:
    """Run the command until it ends, or until the starter does; return its exit code."""
    wake = _wake_on_signals()
    child = subprocess.Popen(  # noqa: S603 - the starter's own command
        command,
        stdin=subprocess.DEVNULL,
        user=uid,
        group=gid,
        extra_groups=None if uid is None else [],
        start_new_session=True,
        preexec_fn=_die_with_guardian(),  # noqa: PLW1509 - one thread: nothing can deadlock
    )
    try:
        while child.poll() is None:
            readable, _, _ = select.select([0, wake], [], [])
            if 0 in readable and not os.read(0, 4096):
                _stop(child)
            if wake in readable and _asked_to_stop(os.read(wake, 4096)):
                _stop(child)
    finally:
        if remove is not None:
            shutil.rmtree(remove, ignore_errors=True)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def watch() -> int:
    """Keep the list of process groups, and kill those that are left when the starter ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    return 0


def _stop(child: subprocess.Popen[bytes]) -> None:
    for number, patience in STOP_SEQUENCE:
        child.send_signal(number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if child.poll() is not None:
                return
            time.sleep(0.02)


def _wake_on_signals() -> int:
    """Return a descriptor that yields each signal's number: one select waits for everything."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end)

    def noted(_number: int, _frame: FrameType | None) -> None:
        """Do nothing: the number is in the pipe."""

    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, noted)
    return read_end


def _asked_to_stop(numbers: bytes) -> bool:
    return any(number != signal.SIGCHLD for number in numbers)


def _die_with_guardian() -> Callable[[], None] | None:
    """Return what a child does before exec so that it outlives no guardian; Linux only.

    The pipe covers every end but the guardian's own SIGKILL; the parent-death signal covers that.
    It is set after the change of user, which would clear it.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    guardian = os.getpid()

    def set_parent_death_signal() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)
        if os.getppid() != guardian:
            os._exit(1)

    return set_parent_death_signal


def main() -> int:
    """Parse the arguments and guard."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=("hold", "watch"))
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("--remove")
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    arguments = parser.parse_args(sys.argv[1:end])
    if arguments.mode == "watch":
        return watch()
    command = sys.argv[end + 1 :]
    return hold(command, uid=arguments.uid, gid=arguments.gid, remove=arguments.remove)


if __name__ == "__main__":
    sys.exit(main())
