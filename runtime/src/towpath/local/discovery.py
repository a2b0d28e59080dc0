"""Finds the `towpath dev` of a folder or a parent. Standard library only: the runtime imports it lazily.

`.towpath/state.json` (0600) says where a dev's database is. It counts only while that dev lives, which
its lock tells: the kernel drops the lock however the process ends, and no pid can be mistaken for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

FOLDER = ".towpath"
STATE = "state.json"
LOCK = "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dev:
    """A running `towpath dev`."""

    url: str
    schema: str
    pid: int
    port: int | None
    folder: Path
    """The working folder, the parent of `.towpath`."""


def find_dev_url(start: Path) -> str | None:
    """Return the database URL of the dev that runs in this folder or the nearest parent, or None."""
    dev = find_dev(start)
    return dev.url if dev is not None else None


def find_dev(start: Path) -> Dev | None:
    """Return the dev that runs in this folder or the nearest parent, or None."""
    start = start.resolve()
    for folder in (start, *start.parents):
        dev = _read(folder)
        if dev is not None:
            return dev
    return None


def is_locked(lock: Path) -> bool:
    """Tell whether a live process holds the lock file."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # A shared lock, for the moment of the question; a dev that starts right now tries again.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _read(folder: Path) -> Dev | None:
    home = folder / FOLDER
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads((home / STATE).read_text("utf-8"))
        dev = Dev(
            url=str(said["url"]),
            schema=str(said["schema"]),
            pid=int(said["pid"]),
            port=None if said.get("port") is None else int(said["port"]),
            folder=folder,
        )
        if is_locked(home / LOCK):
            return dev
    return None
