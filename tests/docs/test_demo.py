"""`make demo`'s program: it proves what it claims, and leaves nothing behind, however it ends."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
LAST_PART = "Stopping what was started"
PARTS = {
    "at once": "",
    "beside the warehouse": "towpath dev --filename",
    "while orders are placed": "are placed, twice each",
    "at work": "At work",
    "after the kill": "goes on, on another worker",
    "at the end": "Results",
}
GONE_SECONDS = 40.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield the demonstration's folder for temporary files, which every user reaches."""
    made = Path(tempfile.mkdtemp(prefix="towpath-test-"))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@contextmanager
def demo(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run it; everything that it makes lies in the folder, by which its processes are known."""
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def said_until(process: subprocess.Popen[str], text: str) -> str:
    """Read what it says until a text comes."""
    assert process.stdout is not None
    said: list[str] = []
    while text not in "".join(said):
        line = process.stdout.readline()
        assert line, "".join(said)
        said.append(line)
    return "".join(said)


def the_rest(process: subprocess.Popen[str]) -> str:
    """Read what it still says, until it has ended.

    Not by communicate(): that reads the pipe itself, past the lines that readline() has buffered.
    """
    assert process.stdout is not None
    rest = process.stdout.read()
    process.wait(timeout=60)
    return rest


def relatives(folder: Path) -> list[str]:
    """Return the processes that work in the folder, or name it."""
    found = []
    for process in psutil.process_iter():
        try:
            where = [process.cwd(), *process.cmdline()]
        except psutil.Error:
            continue
        if any(str(folder) in part for part in where):
            found.append(f"{process.pid} {' '.join(where)}")
    return found


def nothing_is_left(folder: Path) -> None:
    """Wait until no process and no file of it is left."""
    deadline = time.monotonic() + GONE_SECONDS
    while left := [*relatives(folder), *map(str, folder.iterdir())]:
        assert time.monotonic() < deadline, "\n".join(left)
        time.sleep(0.1)


def test_it_proves_what_it_claims(folder: Path) -> None:
    """A worker dies, its order goes on, three calls at once are never passed."""
    with demo(folder) as process:
        said, _ = process.communicate(timeout=120)

    assert process.returncode == 0, said
    assert "FAILED" not in said
    assert "3 calls at once at the most; the limit is 3" in said
    assert "0 calls refused with 429" in said
    assert "charge   cut off" in said
    assert all(len(line) <= 100 for line in said.splitlines())
    nothing_is_left(folder)


@pytest.mark.parametrize("part", PARTS)
def test_an_interrupt_leaves_nothing(folder: Path, part: str) -> None:
    """Ctrl-C at any moment ends it in order, with a word and the exit code 130."""
    with demo(folder) as process:
        said = said_until(process, PARTS[part] or "Towpath")
        time.sleep(random.uniform(0, 1.5))  # noqa: S311 - any moment of this part
        process.send_signal(signal.SIGINT)
        rest = the_rest(process)

        if LAST_PART not in rest:
            assert process.returncode == 130, said + rest
            assert "Stopped. Nothing is left running." in rest
        assert relatives(folder) == []
    nothing_is_left(folder)


@pytest.mark.parametrize("part", ["beside the warehouse", "at work"])
def test_kill_9_leaves_nothing(folder: Path, part: str) -> None:
    """Even where it can do nothing any more, what it started ends."""
    with demo(folder) as process:
        said_until(process, PARTS[part])
        time.sleep(random.uniform(0, 1.5))  # noqa: S311 - any moment of this part
        process.kill()
    nothing_is_left(folder)
