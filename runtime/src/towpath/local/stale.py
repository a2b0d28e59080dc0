"""Clears what a killed Postgres leaves behind: a server that still stops, or its pid file."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

PATIENCE = ((None, 2.0), (signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))


def clear(data: Path) -> None:
    """Stop a server of an earlier start that still runs on this data, and remove its pid file.

    Only called under the folder's lock: no live starter owns that server. Its guardian may be
    stopping it this moment, so it is left alone for two seconds first.
    """
    pid_file = data / "postmaster.pid"
    pid = postmaster_pid(pid_file)
    if pid is not None and _serves(pid, data):
        for number, patience in PATIENCE:
            if number is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            if _ends(pid, data, patience):
                break
    # A reused pid in this file would make Postgres refuse to start.
    pid_file.unlink(missing_ok=True)


def postmaster_pid(pid_file: Path) -> int | None:
    """Return the pid on the file's first line, or None."""
    try:
        return int(pid_file.read_text().partition("\n")[0])
    except (OSError, ValueError):
        return None


def _ends(pid: int, data: Path, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while _serves(pid, data):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _serves(pid: int, data: Path) -> bool:
    """Tell whether the process is a server on this data, not one that got its number later."""
    return os.fsencode(data) in _command_line(pid)


def _command_line(pid: int) -> bytes:
    proc = Path("/proc")
    if (proc / "self" / "cmdline").exists():
        try:
            return (proc / str(pid) / "cmdline").read_bytes()
        except OSError:
            return b""
    listing = subprocess.run(  # noqa: S603 - fixed program, a number
        ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, check=False
    )
    return listing.stdout
