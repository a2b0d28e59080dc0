"""When this process's container began."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

FIRST_PROCESS: Final = Path("/proc/1/stat")
_START_TICKS: Final = 19
"""The place of starttime among the fields that follow the process's name, which may hold spaces."""


def container_began_at(first_process: Path = FIRST_PROCESS) -> datetime | None:
    """Return when the first process that this one can see began, by the clock of this node.

    In a container that is the container's own; where process ids are shared with a pod or a host it is
    one that began earlier. So whatever had begun before belongs to no run of this container but an
    earlier one, which has ended. None where the system does not tell.
    """
    try:
        fields = first_process.read_text("utf-8").rpartition(")")[2].split()
        ticks = int(fields[_START_TICKS])
    except (OSError, ValueError, IndexError):
        return None
    since_boot = ticks / os.sysconf("SC_CLK_TCK")
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return datetime.fromtimestamp(booted + since_boot, UTC)
