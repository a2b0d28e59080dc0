"""The functions that a worker of towpath or dbos runs: nothing, steps, waits; one is the workflow `noop`.

`library` is what both spell alike: `step(name=)`, `recv` and `set_event`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bench.adapter import Job


def make_function(library: Any, job: Job) -> Callable[[int], object]:
    """Return what the job's settings ask for."""
    if job.waits_for:
        return _make_waiting(library, job)
    if job.steps:
        return (_make_async_steps if job.is_async else _make_steps)(library, job)

    def noop(number: int) -> None:
        place = job.recorder.start(number)
        if job.sleep:
            time.sleep(job.sleep)
        job.recorder.end(place)

    return noop


def _make_steps(library: Any, job: Job) -> Callable[[int], object]:
    @library.step(name="step")  # type: ignore[untyped-decorator]
    def step(number: int) -> int:
        return number

    def durable(number: int) -> None:
        place = job.recorder.start(number)
        for _ in range(job.steps):
            step(number)
        job.recorder.end(place)

    return durable


def _make_async_steps(library: Any, job: Job) -> Callable[[int], object]:
    @library.step(name="step")  # type: ignore[untyped-decorator]
    async def step(number: int) -> int:
        return number

    async def durable(number: int) -> None:
        place = job.recorder.start(number)
        for _ in range(job.steps):
            await step(number)
        job.recorder.end(place)

    return durable


def _make_waiting(library: Any, job: Job) -> Callable[[int], object]:
    def end(number: int) -> None:
        time.sleep(job.sleep)
        job.recorder.start(number)

    def receive(count: int) -> None:
        for _ in range(count):
            number = library.recv("number", timeout_seconds=60)
            job.recorder.start(number)

    def announce(number: int) -> None:
        time.sleep(job.sleep)
        job.recorder.start(number)
        library.set_event("number", number)

    return {"result": end, "message": receive, "event": announce}[job.waits_for]
