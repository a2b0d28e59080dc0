"""Keeps processes running: restarts with back-off, graceful stops, and no process outlives us.

Each process is the leader of its own session, so that Ctrl-C in a terminal reaches only the
supervisor, which then stops its processes in order. They wait, before they become the asked command,
until the guardian knows them (see `guardian`): there is no moment at which a SIGKILL of the supervisor
leaves one behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from towpath.local.children import Child, Command
from towpath.local.logs import LineLog

GUARDIAN = Path(__file__).with_name("guardian.py")
KILL_AFTER_DRAIN = 20.0
"""How long after its drain time a process may still be inside a step, as in a pod."""

TAIL_LINES = 80
COULD_NOT_START = 128
OUTPUT_PATIENCE = 1.0
"""How long the last output is waited for; a process that left the group may hold the pipe for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff:
    """How long to wait before each restart: at once, then doubling; a long run starts anew."""

    first: float = 0.5
    longest: float = 30.0
    healthy_after: float = 30.0

    def pause(self, failures: int) -> float:
        """Return the pause before the restart that follows this many short runs in a row."""
        if failures <= 1:
            return 0.0
        return min(self.longest, self.first * 2.0 ** min(failures - 2, 30))


class State(enum.StrEnum):
    """Where a supervised process stands."""

    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing off"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a run ended. A negative code is a signal's number; `output` is its last lines."""

    code: int
    started_at: datetime
    ended_at: datetime
    output: tuple[str, ...]


class Supervised:
    """One process that is started again whenever it ends, until it is stopped."""

    def __init__(
        self,
        name: str,
        command: Command,
        *,
        supervisor: Supervisor,
        on_change: Callable[[], None],
    ) -> None:
        self.name = name
        self.command = command
        self.state = State.STARTING
        self.started_at: datetime | None = None
        self.restarts = 0
        self.last_exit: Exit | None = None
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._child: Child | None = None
        self._supervisor = supervisor
        self._on_change = on_change
        self._stopping = asyncio.Event()
        self._task = asyncio.create_task(self._keep_running(), name=f"supervise {name}")

    @property
    def pid(self) -> int | None:
        """The pid of the run under way."""
        return None if self._child is None else self._child.pid

    async def stop(self) -> None:
        """Ask the process to end, give it its drain and 20 s more, then kill it."""
        if not self._stopping.is_set():  # a second SIGTERM may mean more to a worker than the first
            self._stopping.set()
            if self._child is not None:
                self._child.send(signal.SIGTERM)
        done, _ = await asyncio.wait({self._task}, timeout=self.command.drain + KILL_AFTER_DRAIN)
        if not done:
            self.kill()
        await asyncio.shield(self._task)

    def kill(self) -> None:
        """Kill the process and what it started; it is not started again."""
        self._stopping.set()
        if self._child is not None:
            _kill_group(self._child.pid)

    async def _keep_running(self) -> None:
        failures = 0
        back_off = self._supervisor.back_off
        while not self._stopping.is_set():
            self.last_exit = ended = await self._run_once()
            if self._stopping.is_set():
                break
            ran = (ended.ended_at - ended.started_at).total_seconds()
            failures = 1 if ran >= back_off.healthy_after else failures + 1
            await self._pause(back_off.pause(failures), ended)
            self.restarts += 1
        self._change(State.STOPPED)

    async def _pause(self, seconds: float, ended: Exit) -> None:
        how = _describe(ended.code)
        when = f"in {seconds:g} s" if seconds else "now"
        self._supervisor.log.write(self.name, f"{how}; starts again {when}")
        if seconds:
            self._change(State.BACKING_OFF)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _run_once(self) -> Exit:
        self.tail.clear()
        started = datetime.now(UTC)
        try:
            child = self._supervisor.spawn(self.command, self._take_line)
        except OSError as error:
            self._take_line(f"cannot start: {error}")
            return self._exit(COULD_NOT_START, started)
        self._child, self.started_at = child, started
        if self._stopping.is_set():  # asked while it was being started
            child.send(signal.SIGTERM)
        self._change(State.RUNNING)
        code = await child.wait()
        self._child = None
        self._supervisor.forget(child.pid)
        await child.finish_output(patience=OUTPUT_PATIENCE)
        return self._exit(code, started)

    def _exit(self, code: int, started: datetime) -> Exit:
        return Exit(
            code=code, started_at=started, ended_at=datetime.now(UTC), output=tuple(self.tail)
        )

    def _take_line(self, line: str) -> None:
        self.tail.append(line)
        self._supervisor.log.write(self.name, line)

    def _change(self, state: State) -> None:
        self.state = state
        self._on_change()


class Supervisor:
    """Starts processes and, at the end, stops them all. Belongs to one event loop."""

    def __init__(self, log: LineLog, *, back_off: BackOff | None = None) -> None:
        self.log = log
        self.back_off = back_off or BackOff()
        self.processes: list[Supervised] = []
        self._guardian: subprocess.Popen[bytes] | None = None
        self._groups: set[int] = set()

    def launch(
        self, name: str, command: Command, *, on_change: Callable[[], None] = lambda: None
    ) -> Supervised:
        """Start a process and keep it running."""
        process = Supervised(name, command, supervisor=self, on_change=on_change)
        self.processes.append(process)
        return process

    async def stop(self, process: Supervised) -> None:
        """Stop one process gracefully and forget it."""
        await process.stop()
        with contextlib.suppress(ValueError):
            self.processes.remove(process)

    async def close(self) -> None:
        """Stop all processes gracefully, at the same time, then the guardian."""
        await asyncio.gather(*(self.stop(process) for process in list(self.processes)))
        if self._guardian is not None:
            await asyncio.to_thread(_dismiss, self._guardian)
            self._guardian = None

    def kill_all(self) -> None:
        """Kill every process at once; `close` then ends soon."""
        for process in self.processes:
            process.kill()

    def spawn(self, command: Command, take_line: Callable[[str], None]) -> Child:
        """Start a command behind its gate, tell the guardian, and open the gate."""
        child = Child(command, take_line)
        self._groups.add(child.pid)
        self._tell(f"+{child.pid}\n")
        child.open_gate()
        return child

    def forget(self, group: int) -> None:
        """End what a process left in its group, as the end of a container does."""
        _kill_group(group)
        self._groups.discard(group)
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        try:
            self._write(line)
        except BrokenPipeError:  # somebody killed the guardian: a new one is told of all
            if self._guardian is not None:
                _dismiss(self._guardian)
            self._guardian = None
            self._write("".join(f"+{group}\n" for group in self._groups))

    def _write(self, text: str) -> None:
        if self._guardian is None:
            self._guardian = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-I", "-S", str(GUARDIAN), "watch"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                bufsize=0,
            )
        assert self._guardian.stdin is not None  # noqa: S101 - made with a pipe
        self._guardian.stdin.write(text.encode())


def _dismiss(guardian: subprocess.Popen[bytes]) -> None:
    assert guardian.stdin is not None  # noqa: S101 - made with a pipe
    with contextlib.suppress(BrokenPipeError):
        guardian.stdin.close()
    guardian.wait()


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _describe(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
