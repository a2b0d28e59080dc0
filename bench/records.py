"""Starts and ends of job functions, recorded by worker processes for an observer outside.

One memory-mapped file a process, about 1 us an event; what a process wrote stays when it is killed.
The clock is CLOCK_MONOTONIC, which is one clock for every process of a Linux host, so a start in a
worker can be compared with an enqueue in another process, or an end in another worker. A record is:
number (int64), start (float64), end (float64); the file begins with the count of starts and the
count of ends. The file is a ring: of more than CAPACITY calls the last are kept.
"""

from __future__ import annotations

import itertools
import mmap
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HEADER = struct.Struct("<qq")
RECORD = struct.Struct("<qdd")
_FLOAT = struct.Struct("<d")
_COUNT = struct.Struct("<q")
_END_OFFSET = RECORD.size - _FLOAT.size
CAPACITY = 200_000


class Call(NamedTuple):
    """One call of a job function; `end` is 0 while it runs, or where its process was killed."""

    number: int
    start: float
    end: float
    process: int


class Recorder:
    """Writes this process's file; safe to call from several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / f"calls.{os.getpid()}"
        size = HEADER.size + CAPACITY * RECORD.size
        with path.open("w+b") as file:
            file.truncate(size)
            self._memory = mmap.mmap(file.fileno(), size)
        self._starts, self._ends = itertools.count(), itertools.count(1)

    def start(self, number: int) -> int:
        """Record that a function begins, and return the place of its record for `end`."""
        index = next(self._starts)
        offset = HEADER.size + index % CAPACITY * RECORD.size
        RECORD.pack_into(self._memory, offset, number, time.monotonic(), 0.0)
        _COUNT.pack_into(self._memory, 0, index + 1)
        return offset

    def end(self, offset: int) -> None:
        """Record that a function has ended."""
        _FLOAT.pack_into(self._memory, offset + _END_OFFSET, time.monotonic())
        _COUNT.pack_into(self._memory, _COUNT.size, next(self._ends))


def count_starts(folder: Path) -> int:
    """Return how many calls have begun in all processes."""
    return sum(starts for starts, _ in _headers(folder))


def count_ends(folder: Path) -> int:
    """Return how many calls have ended in all processes."""
    return sum(ends for _, ends in _headers(folder))


def read_calls(folder: Path) -> list[Call]:
    """Return every call of all processes that is still in their rings."""
    calls = []
    for path in _files(folder):
        process = int(path.suffix[1:])
        with path.open("rb") as file:
            header = file.read(HEADER.size)
            if len(header) < HEADER.size:
                continue
            # A thread may have taken a later place before an earlier count was written.
            kept = min(HEADER.unpack(header)[0] + 8, CAPACITY)
            body = file.read(kept * RECORD.size)
        calls += [
            Call(number, start, end, process)
            for number, start, end in RECORD.iter_unpack(body)
            if start
        ]
    return calls


def clear(folder: Path) -> None:
    """Forget every call."""
    for path in _files(folder):
        path.unlink()


def _headers(folder: Path) -> Iterator[tuple[int, int]]:
    for path in _files(folder):
        with path.open("rb") as file:
            header = file.read(HEADER.size)
        if len(header) == HEADER.size:
            yield HEADER.unpack(header)


def _files(folder: Path) -> Iterator[Path]:
    return folder.glob("calls.*")
