"""One child process on an event loop: started behind a gate, its output read by line.

`asyncio.subprocess` is not used: in Python 3.11 its `wait` returns only once every process that
inherited the pipe has ended, which a worker's own children may never do.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from towpath.local.logs import LineSplitter

# Waits for one line on stdin, then becomes the command; the end of the pipe instead ends it.
GATE = ("/bin/sh", "-c", 'read -r _ && exec "$@" </dev/null', "sh")
CHUNK = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run. `env` is the whole environment; `drain` is how long a stop may take."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    drain: float = 30.0


class Child:
    """A process in a session of its own. Raises `OSError` where it cannot be started."""

    def __init__(self, command: Command, take_line: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._take_line = take_line
        self._lines = LineSplitter()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._drained = asyncio.Event()
        self._output, output = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the command of a manifest
                [*GATE, *command.argv],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=command.cwd,
                env=dict(command.env),
                start_new_session=True,
                bufsize=0,
            )
        except BaseException:
            os.close(self._output)
            raise
        finally:
            os.close(output)
        self.pid = self._process.pid
        os.set_blocking(self._output, False)
        self._loop.add_reader(self._output, self._read)
        threading.Thread(target=self._wait, name=f"wait {self.pid}", daemon=True).start()

    def open_gate(self) -> None:
        """Let the process become its command."""
        assert self._process.stdin is not None  # noqa: S101 - made with a pipe
        try:
            self._process.stdin.write(b"go\n")
        except BrokenPipeError:  # it was killed meanwhile
            pass
        finally:
            self._process.stdin.close()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, unless it has ended."""
        self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait for the process to end and return its code; negative is a signal's number."""
        return await asyncio.shield(self._ended)

    async def finish_output(self, *, patience: float) -> None:
        """Read what is left of its output; what still holds the pipe after that is not heard."""
        try:
            async with asyncio.timeout(patience):
                await self._drained.wait()
        except TimeoutError:
            self._close_output()

    def _wait(self) -> None:
        code = self._process.wait()
        try:
            self._loop.call_soon_threadsafe(self._note_end, code)
        except RuntimeError:  # the loop was closed: nobody waits any more
            return

    def _note_end(self, code: int) -> None:
        if not self._ended.done():
            self._ended.set_result(code)

    def _read(self) -> None:
        try:
            chunk = os.read(self._output, CHUNK)
        except BlockingIOError:
            return
        for line in self._lines.feed(chunk):
            self._take_line(line)
        if not chunk:
            self._close_output()

    def _close_output(self) -> None:
        self._loop.remove_reader(self._output)
        os.close(self._output)
        for line in self._lines.flush():
            self._take_line(line)
        self._drained.set()
