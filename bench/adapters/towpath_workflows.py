"""The functions that towpath's worker runs: nothing, steps, waits; one of them is the workflow `noop`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bench.adapter import Job


def make_function(towpath: Any, job: Job) -> Callable[[int], object]:
    """Return what the job's settings ask for."""
    if job.waits_for:
        return _make_waiting(towpath, job)
    if job.steps:
        return (_make_async_steps if job.is_async else _make_steps)(towpath, job)

    def noop(number: int) -> None:
        place = job.recorder.start(number)
        if job.sleep:
            time.sleep(job.sleep)
        job.recorder.end(place)

    return noop


def _make_steps(towpath: Any, job: Job) -> Callable[[int], object]:
    @towpath.step(name="step")  # type: ignore[untyped-decorator]
    def step(number: int) -> int:
        return number

    def durable(number: int) -> None:
        place = job.recorder.start(number)
        for _ in range(job.steps):
            step(number)
        job.recorder.end(place)

    return durable


def _make_async_steps(towpath: Any, job: Job) -> Callable[[int], object]:
    @towpath.step(name="step")  # type: ignore[untyped-decorator]
    async def step(number: int) -> int:
        return number

    async def durable(number: int) -> None:
        place = job.recorder.start(number)
        for _ in range(job.steps):
            await step(number)
        job.recorder.end(place)

    return durable


def _make_waiting(towpath: Any, job: Job) -> Callable[[int], object]:
    def end(number: int) -> None:
        time.sleep(job.sleep)
        job.recorder.start(number)

    def receive(count: int) -> None:
        for _ in range(count):
            number = towpath.recv("number", timeout_seconds=60)
            job.recorder.start(number)

    def announce(number: int) -> None:
        time.sleep(job.sleep)
        job.recorder.start(number)
        towpath.set_event("number", number)

    return {"result": end, "message": receive, "event": announce}[job.waits_for]
