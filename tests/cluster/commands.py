"""Runs other programs for a named part, and says which part it was when one fails."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.errors import ClusterError, read_log

Argument = str | Path

# How often a long wait says that it still goes on.
REPORT_SECONDS = 15.0
POLL_SECONDS = 0.05


def say(text: str) -> None:
    """Talk to the person who waits; results go to stdout, talk to stderr."""
    sys.stderr.write(f"cluster: {text}\n")
    sys.stderr.flush()


def run(
    part: str,
    argv: Sequence[Argument],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = 120,
) -> str:
    """Run a program to its end and return what it printed on stdout."""
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError as error:
        raise ClusterError(part, f"{argv[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(part, f"no end after {seconds:.0f} s: {_shown(argv)}") from error
    if done.returncode != 0:
        reason = f"exit code {done.returncode}: {_shown(argv)}"
        raise ClusterError(part, reason, done.stderr or done.stdout)
    return done.stdout


def run_logged(
    part: str,
    argv: Sequence[Argument],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a long program to its end with its output in a file, which a failure quotes.

    It is asked to end when this process dies: nobody waits for a build then.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        done = subprocess.run(
            ["setpriv", "--pdeathsig", "TERM", *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            check=False,
        )
    if done.returncode != 0:
        raise ClusterError(part, f"exit code {done.returncode}: {_shown(argv)}", read_log(log))


def wait_until(condition: Callable[[], bool], *, part: str, what: str, seconds: float = 60) -> None:
    """Return when the condition holds; past the deadline say what did not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(part, f"{what}: not within {seconds:.0f} s")
        time.sleep(POLL_SECONDS)


@contextmanager
def reported(what: str, detail: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Say that something begins, that it still goes on, and how long it took."""
    began = time.monotonic()
    ended = threading.Event()

    def report() -> None:
        while not ended.wait(REPORT_SECONDS):
            say(f"{what}: {time.monotonic() - began:.0f} s {detail()}".rstrip())

    reporter = threading.Thread(target=report, name="progress", daemon=True)
    say(f"{what} ...")
    reporter.start()
    try:
        yield
    finally:
        ended.set()
        reporter.join()
    say(f"{what}: done in {time.monotonic() - began:.1f} s")


def _shown(argv: Sequence[Argument]) -> str:
    text = " ".join(str(argument) for argument in argv)
    longest = 200
    return text if len(text) <= longest else f"{text[:longest]} ..."
