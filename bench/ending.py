"""No process of the benchmark outlives the one that started it, to disturb the next run."""

from __future__ import annotations

import os
import signal
import sys
import threading


def end_with_starter() -> None:
    """Watch the pipe on stdin, which the starter alone holds; at its end, kill this session."""
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    # By the descriptor: a daemon thread must not hold stdin's lock when the interpreter ends.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # its own session, so only what it has started
    os._exit(1)
