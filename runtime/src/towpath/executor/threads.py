"""Threads that run sync workflows: as many as block at once, and no more.

A slot is a permit and not a thread. One thread serves any number of short workflows, since handing jobs
to many costs more than they do. Where most of the last jobs took a millisecond or more, there is a
thread for each job at once. And where jobs wait while nothing is taken for some milliseconds, threads
are started, twice as many each time (a thread that only waits for the interpreter's lock, which may be
held for five, is not blocked). A thread that finds nothing for a while ends.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
import time
from collections.abc import Callable, Sequence

Job = Callable[[], None]
STALL_SECONDS = 0.002
STALLS_BEFORE_GROWTH = 3
IDLE_SECONDS = 30.0
# A job that takes as long is worth a thread of its own, whether it blocks or computes.
SLOW_SECONDS = 0.001
# How much the last job counts: one that was slow by chance decides nothing.
LAST_JOB_SHARE = 0.2


class WorkerThreads:
    """A pool that grows while jobs wait. `submit` is called on one loop's thread only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: set[_Thread] = set()
        self._numbers = itertools.count(1)
        self._taken = 0
        self._slow_share = 0.0
        self._watching = False
        self._closed = False

    def submit(self, jobs: Sequence[Job], *, at_once: int = 0) -> None:
        """Queue jobs. The first thread starts at once, others where jobs are left waiting.

        `at_once` is how many of the jobs cannot wait: there is a thread for each.
        """
        if not jobs:
            return
        for job in jobs:
            self._jobs.put(job)
        self._grow(max(1, at_once) - len(self._threads))
        self._grow_for_slow_jobs()
        if not self._watching:
            self._watching = True
            self._loop.call_later(STALL_SECONDS, self._watch, self._taken, 0, 1)

    def _watch(self, taken_before: int, stalls: int, growth: int) -> None:
        """Start threads where nothing was taken since the last looks; look again while jobs wait."""
        waiting = self._jobs.qsize()
        if waiting == 0 or self._closed:
            self._watching = False
            return
        self._grow_for_slow_jobs()
        stalls = stalls + 1 if self._taken == taken_before else 0
        if stalls >= STALLS_BEFORE_GROWTH:
            self._grow(min(growth, waiting))
            growth *= 2
        self._loop.call_later(STALL_SECONDS, self._watch, self._taken, stalls, growth)

    def _grow_for_slow_jobs(self) -> None:
        """Where most of the last jobs were slow, see that each that waits has a thread."""
        if self._slow_share > 0.5:  # noqa: PLR2004 - most
            idle = sum(not thread.busy for thread in list(self._threads))
            self._grow(self._jobs.qsize() - idle)

    def _grow(self, count: int) -> None:
        for _ in range(count):
            thread = _Thread(self._serve, f"towpath-workflow-{next(self._numbers)}")
            with self._lock:
                self._threads.add(thread)
            thread.start()

    def _serve(self, thread: _Thread) -> None:
        while (job := self._take()) is not None:
            thread.busy = True
            # several threads may write over each other: both are rough measures
            self._taken += 1
            began_at = time.perf_counter()
            job()
            slow = time.perf_counter() - began_at >= SLOW_SECONDS
            self._slow_share += LAST_JOB_SHARE * (slow - self._slow_share)
            thread.busy = False
            del job  # nothing of a workflow outlives it while the thread waits
        with self._lock:
            self._threads.discard(thread)

    def _take(self) -> Job | None:
        """Return the next job, or None where this thread is to end."""
        try:
            return self._jobs.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Let every thread end once its job has."""
        self._closed = True
        for _ in range(len(self._threads)):
            self._jobs.put(None)


class _Thread(threading.Thread):
    """A thread that knows whether it is in a job."""

    def __init__(self, serve: Callable[[_Thread], None], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._serve = serve
        self.busy = False

    def run(self) -> None:
        """Take jobs."""
        self._serve(self)
