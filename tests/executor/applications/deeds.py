"""Workflows that a test holds by files: a step says that it began, and goes on when it may."""

import os
import threading
from pathlib import Path

import towpath

FOLDER = Path(os.environ["TEST_FOLDER"])

queue = towpath.Queue("deeds")


@towpath.step()
def hold(name: str) -> str:
    """Append a line to NAME.began, and return once NAME.go is there."""
    with (FOLDER / f"{name}.began").open("a") as file:
        file.write("x\n")
    while not (FOLDER / f"{name}.go").exists():
        threading.Event().wait(0.005)
    return name


@towpath.workflow()
def greet(name: str) -> str:
    """Return at once."""
    return f"hello {name}"


@towpath.workflow(max_recovery_attempts=0)
def hold_twice() -> list[str]:
    """Hold at two steps; a single counted recovery would give it up."""
    return [hold("first"), hold("second")]
