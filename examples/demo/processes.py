"""Programs that the demonstration starts, and that never outlive it, by SIGKILL either."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from examples.demo.errors import DemoError
from examples.demo.page import until
from towpath.local.supervise import GUARDIAN

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_SECONDS = 40.0
TAIL_LINES = 15


class Program:
    """A program that runs, with its output in a file."""

    def __init__(self, name: str, guardian: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self._guardian = guardian
        self._log = log

    def output(self) -> str:
        """Return what it has written so far."""
        with contextlib.suppress(FileNotFoundError):
            return self._log.read_text(errors="replace")
        return ""

    def says(self, text: str, *, seconds: float) -> str:
        """Wait for a text in its output, and return the output."""

        def look() -> str | None:
            said = self.output()
            if text in said:
                return said
            if self._guardian.poll() is not None:
                raise DemoError(f"{self.name} has ended.\n{self.tail()}")
            return None

        try:
            return until(look, what=self.name, seconds=seconds)
        except DemoError as error:
            raise DemoError(f"{error}\n{self.tail()}") from None

    def ends(self, *, seconds: float) -> str:
        """Wait for its end, and return its output."""
        if until(self._guardian.poll, what=f"the end of {self.name}", seconds=seconds) != 0:
            raise DemoError(f"{self.name} failed.\n{self.tail()}")
        return self.output()

    def check(self) -> None:
        """Raise unless it still runs."""
        if self._guardian.poll() is not None:
            raise DemoError(f"{self.name} has ended.\n{self.tail()}")

    def tail(self) -> str:
        """Return its last lines."""
        return "\n".join(f"  | {line}" for line in self.output().splitlines()[-TAIL_LINES:])

    def stop(self) -> None:
        """End it in order: the guardian passes on an interrupt, and kills what does not obey."""
        assert self._guardian.stdin is not None
        self._guardian.stdin.close()
        self._guardian.wait(STOP_SECONDS)


@contextmanager
def program(
    name: str,
    argv: Sequence[str],
    *,
    folder: Path,
    env: Mapping[str, str] | None = None,
    remove: Path | None = None,
) -> Iterator[Program]:
    """Run a program of this Python as long as the block lasts.

    Args:
        name: What the page calls it.
        argv: The arguments of the interpreter.
        folder: Its working folder.
        env: What is added to the environment.
        remove: A folder that is deleted after its end.
    """
    log = folder / f"{name.replace(' ', '-')}.log"
    hold = [sys.executable, "-I", "-S", str(GUARDIAN), "hold"]
    if remove is not None:
        hold += ["--remove", str(remove)]
    started: Program | None = None
    try:
        with _uninterrupted(), log.open("wb") as output:
            guardian = subprocess.Popen(
                [*hold, "--", sys.executable, *argv],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=folder,
                env={**_outer_environment(), **(env or {})},
                start_new_session=True,
            )
            started = Program(name, guardian, log)
        yield started
    finally:
        if started is not None:
            with _uninterrupted():
                started.stop()


def _outer_environment() -> dict[str, str]:
    """Return our environment without what this machine's user has told Towpath elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TOWPATH_")}


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold signals back: no program is started and not known, and none is left while it stops."""
    held: list[int] = []

    def hold(number: int, _frame: FrameType | None) -> None:
        held.append(number)

    before = {number: signal.signal(number, hold) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(signal.Signals(held[0]))
