"""The processes of a measurement: one that runs a command and ends, workers that are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from bench.adapter import Settings
from bench.child import RESULT
from bench.machine import cpu_seconds, resident_megabytes

START_SECONDS = 40.0
CALL_SECONDS = 150.0


def call(system: str, command: str, **given: Any) -> Any:
    """Run one command of an adapter in a process of its own and return its answer."""
    done = subprocess.run(
        _command(system, command, given),
        capture_output=True,
        text=True,
        timeout=CALL_SECONDS,
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith(RESULT):
            return json.loads(line.removeprefix(RESULT))
    raise RuntimeError(f"{system} {command} failed: {(done.stdout + done.stderr)[-1500:]}")


class Workers:
    """Worker processes of one system, up and idle; leaving the block kills them."""

    def __init__(self, system: str, count: int, settings: Settings, folder: Path) -> None:
        self._logs = [folder / f"worker.{system}.{index}.log" for index in range(count)]
        readies = [folder / f"worker.{index}.ready" for index in range(count)]
        for ready in readies:
            ready.unlink(missing_ok=True)
        self._started = [
            self._start(system, settings, folder, ready, log)
            for ready, log in zip(readies, self._logs, strict=True)
        ]
        self._processes = [psutil.Process(process.pid) for process in self._started]
        self._seconds = 0.0
        try:
            self._wait(readies)
        except BaseException:
            self.kill()
            raise
        self.reset_cpu()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def reset_cpu(self) -> None:
        """Count the workers' CPU time from here."""
        self._seconds = cpu_seconds(self._processes)

    def cpu_used(self) -> float:
        """Return the workers' CPU seconds since `reset_cpu`."""
        return cpu_seconds(self._processes) - self._seconds

    def megabytes(self) -> float:
        """Return the workers' resident memory."""
        return resident_megabytes(self._processes)

    def kill(self) -> None:
        """Kill the workers with all that they have started."""
        for process in self._started:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # its own session, so only its own
            except ProcessLookupError:
                continue
        for process in self._started:
            process.wait()
            if process.stdin is not None:
                process.stdin.close()

    def _start(
        self, system: str, settings: Settings, folder: Path, ready: Path, log: Path
    ) -> subprocess.Popen[bytes]:
        given = {"records": str(folder), "ready": str(ready), "settings": settings}
        with log.open("wb") as output:
            return subprocess.Popen(
                _command(system, "work", given),
                stdin=subprocess.PIPE,  # open until this process ends
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _wait(self, readies: list[Path]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not all(ready.exists() for ready in readies):
            if time.monotonic() > deadline or any(p.poll() is not None for p in self._started):
                logs = "\n".join(log.read_text()[-1500:] for log in self._logs)
                raise RuntimeError(f"a worker did not start:\n{logs}")
            time.sleep(0.02)


def _command(system: str, command: str, given: dict[str, Any]) -> list[str]:
    return [sys.executable, "-m", "bench.child", system, command, json.dumps(given)]
