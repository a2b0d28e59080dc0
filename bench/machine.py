"""What this machine is, how busy, and with whom: the benchmark's own processes, or strangers."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

QUIET_CORES = 0.25
"""What strangers may use when a measurement begins."""

_TICKS = os.sysconf("SC_CLK_TCK")


def stranger_seconds(root: psutil.Process) -> float:
    """Return the CPU seconds used by processes that do not descend from the benchmark's root."""
    with Path("/proc/stat").open() as file:
        # The guests' time that follows these is part of the users' time already.
        user, nice, system, _idle, _wait, irq, softirq, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + softirq) / _TICKS - cpu_seconds([root])


def wait_quiet(root: psutil.Process, seconds: float) -> None:
    """Wait, at most so long, until strangers leave the machine alone."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        before = stranger_seconds(root)
        time.sleep(0.7)
        if stranger_seconds(root) - before < QUIET_CORES * 0.7:
            return


def cpu_seconds(roots: Iterable[psutil.Process]) -> float:
    """Return the CPU seconds of processes, their descendants, and the children they waited for."""
    total = 0.0
    for process in _trees(roots):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def resident_megabytes(roots: Iterable[psutil.Process]) -> float:
    """Return the memory of processes and their descendants."""
    total = 0
    for process in _trees(roots):
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total / 2**20


def _trees(roots: Iterable[psutil.Process]) -> list[psutil.Process]:
    found = []
    for root in roots:
        try:
            found += [root, *root.children(recursive=True)]
        except psutil.Error:
            continue
    return found


def describe() -> str:
    """Return what the machine is, in words that name none."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{psutil.cpu_count()} cores, {memory:.0f} GB of memory, Python {platform.python_version()}"
    )
