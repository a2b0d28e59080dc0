"""Writes the demonstration's page: plain text, narrow, line by line as things happen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from examples.demo.errors import DemoError

T = TypeVar("T")

INDENT = "  "
POLL_SECONDS = 0.05
REPORT_SECONDS = 2.0

_began = time.monotonic()


@dataclass(frozen=True, slots=True)
class Proof:
    """A claim, and whether what was seen bears it out."""

    holds: bool
    says: str


def say(text: str = "") -> None:
    """Write a line."""
    print(text, flush=True)


def heading(text: str) -> None:
    """Begin a part of the story, with the seconds since the start."""
    say()
    say(f"{text:<66}{time.monotonic() - _began:4.0f} s")


def lines(texts: Iterable[str]) -> None:
    """Write lines that belong to the heading."""
    for text in texts:
        say(f"{INDENT}{text}".rstrip())


def table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table with columns as wide as they need."""
    texts = [list(titles), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(titles))]
    lines(
        "   ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        for row in texts
    )


def verdict(title: str, proofs: Sequence[Proof]) -> None:
    """Write what was proved, and what was not."""
    heading(title)
    lines(f"{'ok    ' if proof.holds else 'FAILED'}  {proof.says}" for proof in proofs)


def until(
    look: Callable[[], T | None],
    *,
    what: str,
    seconds: float,
    so_far: Callable[[], str] = lambda: "",
) -> T:
    """Return the first answer that is not None; every two seconds, show how far things are."""
    began = reported = time.monotonic()
    while (found := look()) is None:
        now = time.monotonic()
        if now - began > seconds:
            raise DemoError(f"not within {seconds:.0f} s: {what}. {so_far()}".rstrip())
        if now - reported >= REPORT_SECONDS:
            reported = now
            lines([so_far() or f"{what}: {now - began:.0f} s"])
        time.sleep(POLL_SECONDS)
    return found
