"""Parents with children, messages, events and transactions; each step is seen from outside.

What is seen is appended to a file of the process, one write a call: it survives SIGKILL.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psycopg

import towpath
from towpath import Queue

CHILDREN, MESSAGES = 3, 2

parents = Queue("parents")
children = Queue("children")

_seen = os.open(
    Path(os.environ["SEEN"]) / f"{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644
)


def note(step: str) -> None:
    """Write down that a step runs: workflow, step, attempt, and when."""
    here = towpath.current()
    assert here is not None
    line = f"{here.workflow_id} {step} {here.attempt} {time.monotonic_ns()}\n"
    os.write(_seen, line.encode())


@towpath.step()
def open_family(family: int) -> int:
    """Be the parent's first step."""
    note("open_family")
    return family * 10


@towpath.transaction()
def book(connection: psycopg.Connection[Any], family: int, total: int) -> int:
    """Write what the children made into a table that forbids nothing."""
    note("book")
    connection.execute("INSERT INTO public.booked VALUES (%s, %s)", (family, total))
    return total


@towpath.step()
async def prepare(family: int, place: int) -> int:
    """Be a child's first step."""
    note("prepare")
    return family + place


@towpath.step()
async def add(numbers: list[int]) -> int:
    """Be a child's second step."""
    note("add")
    return sum(numbers)


@towpath.workflow()
async def child(parent_id: str, family: int, place: int) -> list[Any]:
    """Take the parent's messages in order, answer by an event; the first reports by a message too."""
    base = await prepare(family, place)
    got = [await towpath.recv_async("orders", timeout_seconds=3600) for _ in range(MESSAGES)]
    total = await add([base, *got])
    await towpath.set_event_async("answer", total)
    if place == 0:
        await towpath.send_async(parent_id, total, "reports")
    return [place, got, total]


@towpath.workflow()
def parent(family: int) -> list[Any]:
    """Start children, send each its messages, hear them, and book what they made."""
    here = towpath.current()
    assert here is not None
    base = open_family(family)
    handles = [
        children.enqueue(child, here.workflow_id, family, place) for place in range(CHILDREN)
    ]
    for number in range(MESSAGES):
        for handle in handles:
            towpath.send(handle.workflow_id, base + number, "orders")
    report = towpath.recv("reports", timeout_seconds=3600)
    answers = [towpath.get_event(h.workflow_id, "answer", timeout_seconds=3600) for h in handles]
    results = [handle.get_result() for handle in handles]
    return [report, answers, results, book(family, sum(answers))]
