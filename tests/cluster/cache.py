"""Where things that are built once lie, and the lock under which they are built."""

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.commands import say

SOURCES = Path(__file__).parent
ROOT = SOURCES.parent.parent


def cache_folder() -> Path:
    """Return the folder that is kept between runs, made if it is missing."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "towpath"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def digest(files: Iterable[Path], *texts: str) -> str:
    """Return a short name for the content of some files and texts."""
    content = hashlib.sha256()
    for file in files:
        content.update(file.read_bytes())
    for text in texts:
        content.update(text.encode())
    return content.hexdigest()[:12]


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock of the cache, so that two runs at once build a thing only once."""
    with (cache_folder() / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process holds the lock on {name}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
