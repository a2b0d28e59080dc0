"""The processes in which a system is imported: `python -m bench.child SYSTEM COMMAND JSON`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from bench.adapter import Adapter, Job, load
from bench.ending import end_with_starter
from bench.pace import Pace
from bench.records import Recorder

RESULT = "RESULT "
"""What begins the one line of output that the starter reads."""


def main() -> None:
    """Run one command of one system's adapter."""
    system, command, argument = sys.argv[1:]
    end_with_starter()
    answer = _run(load(system), command, json.loads(argument))
    print(RESULT + json.dumps(answer), flush=True)


def _run(adapter: Adapter, command: str, given: dict[str, Any]) -> Any:
    if command == "setup":
        return adapter.setup()
    if command == "declare":
        return adapter.declare(given["settings"])
    if command == "enqueue":
        return adapter.enqueue(given["count"])
    if command == "bulk":
        return adapter.bulk(given["count"], given["size"])
    if command in ("send", "wait"):
        pace = Pace(given["count"], given["shortest"], given["longest"])
        return adapter.send(pace) if command == "send" else adapter.wait(given["kind"], pace)
    assert command == "work", command
    return adapter.work(_job(given))


def _job(given: dict[str, Any]) -> Job:
    ready = Path(given["ready"])
    launched = ready.with_suffix(".launch")

    def launching() -> None:
        launched.write_text(repr(time.monotonic()))

    return Job(
        recorder=Recorder(Path(given["records"])),
        launching=launching,
        ready=ready.touch,
        settings=given["settings"],
    )


if __name__ == "__main__":
    main()
