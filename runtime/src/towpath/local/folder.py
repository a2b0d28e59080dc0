"""The `.towpath` folder of a working folder: its lock, and the state that `discovery` reads."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from towpath.local.discovery import FOLDER, LOCK, STATE
from towpath.local.errors import DevRunningError

LOCK_PATIENCE = 1.0


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Hold the folder's lock and yield its `.towpath`, made if absent.

    Raises:
        DevRunningError: another process holds it.
    """
    home = folder.resolve() / FOLDER
    home.mkdir(mode=0o755, exist_ok=True)
    ignore = home / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    descriptor = os.open(home / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(descriptor, home.parent)
        try:
            yield home
        finally:
            (home / STATE).unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def write_state(home: Path, *, url: str, schema: str, port: int | None) -> None:
    """Say that this process is the folder's dev; seen whole or not at all, and by this user alone."""
    said = {"url": url, "schema": schema, "pid": os.getpid(), "port": port}
    write_private(home / STATE, json.dumps(said, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read, whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)


def _take(descriptor: int, folder: Path) -> None:
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise DevRunningError(folder=folder, pid=_holder(descriptor)) from None
            time.sleep(0.02)
        else:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return


def _holder(descriptor: int) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(os.pread(descriptor, 32, 0))
    return None
