"""The processes that the harness starts: `python -m bench.child SYSTEM COMMAND JSON`."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from bench.adapter import Job, Pace, load
from bench.records import Recorder

RESULT = "RESULT "
"""What begins the one line of output that the harness reads."""


def main() -> None:
    """Run one command of one system's adapter."""
    system, command, argument = sys.argv[1:]
    adapter = load(system)
    given: dict[str, Any] = json.loads(argument)
    answer: Any = None
    if command == "setup":
        adapter.setup()
    elif command == "enqueue":
        answer = adapter.enqueue(given["count"])
    elif command == "send":
        answer = adapter.send(Pace(given["count"], given["shortest"], given["longest"]))
    elif command == "work":
        threading.Thread(target=_end_with_harness, daemon=True).start()
        ready = Path(given["ready"])
        adapter.work(
            Job(
                recorder=Recorder(Path(given["records"])),
                ready=ready.touch,
                settings=given["settings"],
            )
        )
    print(RESULT + json.dumps(answer), flush=True)


def _end_with_harness() -> None:
    """Wait for the end of a pipe that only the harness holds: no worker outlives it, to disturb the next run."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    main()
