"""When a container began, as its workers read it."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from towpath.executor.container import container_began_at

STAT = "1 (a (name) of 3) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 {ticks} 9 10\n"


def test_it_is_when_the_first_process_began(tmp_path: Path) -> None:
    """By the clock of the node, whatever the process's name holds."""
    before = datetime.now(UTC)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        began = container_began_at(Path(f"/proc/{process.pid}/stat"))
        after = datetime.now(UTC)
        process.communicate(b"\n")
    tick = timedelta(seconds=0.02)
    assert began is not None
    assert before - tick <= began <= after

    file = tmp_path / "stat"
    file.write_text(STAT.format(ticks=0), "utf-8")
    booted = container_began_at(file)
    assert booted is not None
    uptime = datetime.now(UTC) - booted
    assert abs(uptime.total_seconds() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 1


@pytest.mark.parametrize("text", [None, "", "1 (init) S 0 1", "1 (init) S" + " x" * 30])
def test_a_system_that_does_not_tell_is_no_error(tmp_path: Path, text: str | None) -> None:
    """Then nothing is known, and nothing ended."""
    file = tmp_path / "stat"
    if text is not None:
        file.write_text(text, "utf-8")
    assert container_began_at(file) is None
