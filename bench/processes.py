"""The processes of a measurement: one that runs a command and ends, workers that are killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from bench.adapter import Settings
from bench.child import RESULT
from bench.machine import cpu_seconds, resident_megabytes

START_SECONDS = 60.0
CALL_SECONDS = 150.0


class FailedError(Exception):
    """A process of the benchmark failed; its last lines are the message."""


def call(system: str, command: str, **given: Any) -> Any:
    """Run one command of an adapter in a process of its own and return its answer.

    Raises:
        FailedError: it failed, or took longer than CALL_SECONDS.
    """
    return run_module(
        ["bench.child", system, command, json.dumps(given)], f"{system} {command}", CALL_SECONDS
    )


def run_module(arguments: list[str], name: str, seconds: float, *, show: bool = False) -> Any:
    """Run one of our modules in a session of its own and return its answer; kill it when it is late.

    Raises:
        FailedError: it failed or was late.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdin=subprocess.PIPE,  # open until this process ends
        stdout=subprocess.PIPE,
        stderr=None if show else subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = _communicate(process, seconds)
    finally:
        _kill(process)
    for line in output.splitlines():
        if line.startswith(RESULT):
            return json.loads(line.removeprefix(RESULT))
    raise FailedError(f"{name} failed: {output[-500:]}")


def _communicate(process: subprocess.Popen[str], seconds: float) -> tuple[str, str]:
    stdin, process.stdin = process.stdin, None  # communicate would close it, which ends the process
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise FailedError(f"not done after {seconds:g} s") from None
    finally:
        if stdin is not None:
            stdin.close()


class Workers:
    """Worker processes of one system; leaving the block kills them."""

    def __init__(self, system: str, count: int, settings: Settings, folder: Path) -> None:
        self._logs = [folder / f"worker.{system}.{index}.log" for index in range(count)]
        self._readies = [folder / f"worker.{index}.ready" for index in range(count)]
        for ready in self._readies:
            ready.unlink(missing_ok=True)
            ready.with_suffix(".launch").unlink(missing_ok=True)
        self._started = [
            self._start(system, settings, folder, ready, log)
            for ready, log in zip(self._readies, self._logs, strict=True)
        ]
        self._processes = [psutil.Process(process.pid) for process in self._started]
        self._seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._started:
            _kill(process)
            if process.stdin is not None:
                process.stdin.close()

    def wait_ready(self) -> Self:
        """Wait until every worker is up and idle."""
        self._wait(lambda: all(ready.exists() for ready in self._readies), "start")
        self.reset_cpu()
        return self

    def wait_launched(self) -> float:
        """Wait until every worker has begun to launch; return when the first did."""
        launches = [ready.with_suffix(".launch") for ready in self._readies]
        self._wait(lambda: all(p.exists() and p.stat().st_size for p in launches), "launch")
        return min(float(path.read_text()) for path in launches)

    def kill_while(self, pid: int, busy: Callable[[int], bool]) -> float | None:
        """Freeze one worker, and kill -9 it if it is busy; return when it was certainly gone."""
        process = next(process for process in self._started if process.pid == pid)
        process.send_signal(signal.SIGSTOP)
        if not busy(pid):
            process.send_signal(signal.SIGCONT)
            return None
        _kill(process)
        return time.monotonic()

    def reset_cpu(self) -> None:
        """Count the workers' CPU time from here."""
        self._seconds = cpu_seconds(self._processes)

    def cpu_used(self) -> float:
        """Return the workers' CPU seconds since `reset_cpu`."""
        return cpu_seconds(self._processes) - self._seconds

    def megabytes(self) -> float:
        """Return the workers' resident memory."""
        return resident_megabytes(self._processes)

    def _start(
        self, system: str, settings: Settings, folder: Path, ready: Path, log: Path
    ) -> subprocess.Popen[bytes]:
        given = {"records": str(folder), "ready": str(ready), "settings": settings}
        with log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "bench.child", system, "work", json.dumps(given)],
                stdin=subprocess.PIPE,  # open until this process ends
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **settings.get("environment", {})},
            )

    def check(self) -> None:
        """Raise where a worker has ended that was not killed.

        Raises:
            FailedError: with the last lines of the workers' logs.
        """
        if any(process.poll() not in (None, -signal.SIGKILL) for process in self._started):
            raise self._failed("ended")

    def _wait(self, reached: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not reached():
            self.check()
            if time.monotonic() > deadline:
                raise self._failed(f"did not {what}")
            time.sleep(0.02)

    def _failed(self, what: str) -> FailedError:
        logs = "\n".join(log.read_text(errors="replace")[-500:] for log in self._logs)
        return FailedError(f"a worker {what}: {logs}")


def _kill(process: subprocess.Popen[Any]) -> None:
    """Kill a process with all that it has started: it leads a session of its own."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
