"""Supervision of processes: restarts, stops, output, and that nothing is left."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.local.processes import eventually, is_running, starter
from towpath.local.children import Command
from towpath.local.logs import LineLog, LineSplitter
from towpath.local.supervise import BackOff, State, Supervised, Supervisor

QUICK = BackOff(first=0.01, longest=0.04, healthy_after=60.0)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


def python(script: str, folder: Path, *, drain: float = 30.0) -> Command:
    """Return a command that runs a Python script."""
    return Command(
        argv=[sys.executable, "-u", "-c", script], env=dict(os.environ), cwd=folder, drain=drain
    )


async def until(condition: Callable[[], bool], changed: asyncio.Event) -> None:
    """Wait until the condition holds, looking at each change."""
    async with asyncio.timeout(30):
        while not condition():
            changed.clear()
            await changed.wait()


class Watched:
    """A supervisor whose changes can be awaited."""

    def __init__(self, stream: io.StringIO | None = None) -> None:
        self.output = stream or io.StringIO()
        self.supervisor = Supervisor(LineLog(self.output), back_off=QUICK)
        self.changed = asyncio.Event()

    def launch(self, command: Command, name: str = "worker") -> Supervised:
        """Launch a command."""
        return self.supervisor.launch(name, command, on_change=self.changed.set)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds."""
        await until(condition, self.changed)


def test_back_off(tmp_path: Path) -> None:
    """A process that ends is started again, later and later, and its last words are kept."""
    assert [BackOff().pause(n) for n in (1, 2, 3, 4)] == [0.0, 0.5, 1.0, 2.0]
    assert BackOff().pause(1000) == BackOff().longest

    async def scenario() -> None:
        watched = Watched()
        process = watched.launch(python("print('no such module'); raise SystemExit(3)", tmp_path))
        await watched.until(lambda: process.restarts >= 3)
        assert process.last_exit is not None
        assert process.last_exit.code == 3
        assert process.last_exit.output == ("no such module",)
        await watched.supervisor.close()
        assert process.state is State.STOPPED
        assert "ended with exit code 3; starts again in 0.01 s" in watched.output.getvalue()

    asyncio.run(scenario())


def test_killed_process(tmp_path: Path) -> None:
    """A process that is killed is started again at once."""

    async def scenario() -> None:
        watched = Watched()
        process = watched.launch(Command(argv=["sleep", "1000"], env={}, cwd=tmp_path))
        await watched.until(lambda: process.pid is not None)
        first = process.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await watched.until(lambda: process.pid not in {None, first})
        await watched.supervisor.close()
        assert "was ended by SIGKILL; starts again now" in watched.output.getvalue()

    asyncio.run(scenario())


def test_prefixes(tmp_path: Path) -> None:
    """Lines carry their process's name, in colour only on a terminal."""

    async def scenario(stream: io.StringIO) -> str:
        watched = Watched(stream)
        process = watched.launch(python("print('hello'); input()", tmp_path), name="mail-1")
        await watched.until(lambda: process.restarts >= 1)
        await watched.supervisor.close()
        return stream.getvalue()

    assert "mail-1 | hello\n" in asyncio.run(scenario(io.StringIO()))
    assert "\x1b[" in asyncio.run(scenario(Terminal()))


def test_odd_lines() -> None:
    """A line without an end is cut, and text that is no UTF-8 is shown all the same."""
    splitter = LineSplitter()
    assert splitter.feed(b"one\r\ntw") == ["one"]
    assert splitter.feed(b"o\n\xff") == ["two"]
    assert splitter.flush() == ["\ufffd"]
    assert len(splitter.feed(b"x" * 20_000)) == 1


def test_graceful_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop lets a process finish, and kills one that does not."""
    monkeypatch.setattr("towpath.local.supervise.KILL_AFTER_DRAIN", 0.1)
    finishes = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("drained"), sys.exit(0)))
print("up")
signal.pause()
"""
    stays = """
import signal
signal.signal(signal.SIGTERM, lambda *_: print("no"))
print("up")
while True: signal.pause()
"""

    async def scenario() -> None:
        watched = Watched()
        good = watched.launch(python(finishes, tmp_path))
        bad = watched.launch(python(stays, tmp_path, drain=0.2))
        await asyncio.to_thread(
            eventually, lambda: bool(good.tail and bad.tail), "both have their handlers"
        )
        await watched.supervisor.close()
        assert good.last_exit is not None
        assert bad.last_exit is not None
        assert (good.last_exit.code, good.last_exit.output[-1]) == (0, "drained")
        assert bad.last_exit.code == -signal.SIGKILL

    asyncio.run(scenario())


def test_grandchildren(tmp_path: Path) -> None:
    """What a process started goes with it."""

    async def scenario() -> None:
        watched = Watched()
        script = "sleep 1000 & echo $!; exit 0"
        process = watched.launch(Command(argv=["/bin/sh", "-c", script], env={}, cwd=tmp_path))
        await watched.until(lambda: process.restarts >= 1)
        ended = process.last_exit
        assert ended is not None
        child = int(ended.output[0])
        await watched.supervisor.close()
        eventually(lambda: not is_running(child), "the child has gone")

    asyncio.run(scenario())


def test_missing_program(tmp_path: Path) -> None:
    """A program or folder that is not there is told, and tried again."""

    async def scenario() -> None:
        watched = Watched()
        missing = watched.launch(Command(argv=["no-such-program"], env={}, cwd=tmp_path))
        nowhere = watched.launch(Command(argv=["true"], env={}, cwd=tmp_path / "nowhere"))
        await watched.until(lambda: missing.restarts >= 1 and nowhere.restarts >= 1)
        assert missing.last_exit is not None
        assert "not found" in missing.last_exit.output[-1]
        assert nowhere.last_exit is not None
        assert "cannot start" in nowhere.last_exit.output[-1]
        await watched.supervisor.close()

    asyncio.run(scenario())


def test_killed_guardian(tmp_path: Path) -> None:
    """A guardian that was killed is replaced, and the new one knows all processes."""

    async def scenario() -> None:
        watched = Watched()
        first = watched.launch(Command(argv=["sleep", "1000"], env={}, cwd=tmp_path))
        await watched.until(lambda: first.pid is not None)
        guardian = watched.supervisor._guardian
        assert guardian is not None
        guardian.kill()
        guardian.wait()
        second = watched.launch(Command(argv=["sleep", "1000"], env={}, cwd=tmp_path))
        await watched.until(lambda: second.pid is not None)
        replacement = watched.supervisor._guardian
        assert replacement is not None
        assert replacement.pid != guardian.pid
        await watched.supervisor.close()

    asyncio.run(scenario())


def test_killed_supervisor(tmp_path: Path) -> None:
    """No process, and nothing that it started, outlives a supervisor that is killed."""
    pids = tmp_path / "pids"
    with starter("supervise", tmp_path) as process:
        eventually(
            lambda: pids.exists() and len(pids.read_text().split()) == 4,
            "two processes and children",
        )
        started = [int(pid) for pid in pids.read_text().split()]
        assert all(map(is_running, started))
        process.kill()
        process.wait()
        eventually(lambda: not any(map(is_running, started)), "all of them end")
