"""Threads that run sync workflows: as many as block at once, and no more.

A slot is a permit and not a thread. One thread serves any number of short workflows; more are started
only while jobs wait and no thread has taken one for some milliseconds, and then twice as many each
time: a thread that only waits for the interpreter's lock, which may be held for five, is not blocked. A thread that finds nothing for a while ends.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
from collections.abc import Callable, Sequence

Job = Callable[[], None]
STALL_SECONDS = 0.002
STALLS_BEFORE_GROWTH = 3
IDLE_SECONDS = 30.0


class WorkerThreads:
    """A pool that grows while jobs wait. `submit` is called on one loop's thread only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._numbers = itertools.count(1)
        self._taken = 0
        self._watching = False
        self._closed = False

    def submit(self, jobs: Sequence[Job], *, at_once: int = 0) -> None:
        """Queue jobs. The first thread starts at once, others where jobs are left waiting.

        `at_once` is how many of the jobs cannot wait: there is a thread for each.
        """
        for job in jobs:
            self._jobs.put(job)
        if jobs:
            self._grow(max(0, max(1, at_once) - self._threads))
        if jobs and not self._watching:
            self._watching = True
            self._loop.call_later(STALL_SECONDS, self._watch, self._taken, 0, 1)

    def _watch(self, taken_before: int, stalls: int, growth: int) -> None:
        """Start threads where nothing was taken since the last looks; look again while jobs wait."""
        waiting = self._jobs.qsize()
        if waiting == 0 or self._closed:
            self._watching = False
            return
        stalls = stalls + 1 if self._taken == taken_before else 0
        if stalls >= STALLS_BEFORE_GROWTH:
            self._grow(min(growth, waiting))
            growth *= 2
        self._loop.call_later(STALL_SECONDS, self._watch, self._taken, stalls, growth)

    def _grow(self, count: int) -> None:
        for _ in range(count):
            with self._lock:
                self._threads += 1
            threading.Thread(
                target=self._serve, name=f"towpath-workflow-{next(self._numbers)}", daemon=True
            ).start()

    def _serve(self) -> None:
        while (job := self._take()) is not None:
            # several threads may count over each other; only whether it moves is looked at
            self._taken += 1
            job()
            del job  # nothing of a workflow outlives it while the thread waits
        with self._lock:
            self._threads -= 1

    def _take(self) -> Job | None:
        """Return the next job, or None where this thread is to end."""
        try:
            return self._jobs.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Let every thread end once its job has."""
        self._closed = True
        for _ in range(self._threads):
            self._jobs.put(None)
