"""Workflows that each write in one of the ways there are, right behind a call that can be held up."""

from __future__ import annotations

import http.client
import os

import towpath
from towpath import Queue

orders = Queue("orders")


def call(what: str, attempt: int) -> None:
    """Make a call that an observer outside sees, and may hold up; it is no step."""
    connection = http.client.HTTPConnection(os.environ["OBSERVER"], timeout=60)
    try:
        connection.request("GET", f"/{what}/{attempt}")
        connection.getresponse().read()
    finally:
        connection.close()


@towpath.step()
def deed(attempt: int) -> int:
    """Say which attempt did it."""
    return attempt


@towpath.workflow()
def child(attempt: int) -> int:
    """Say which attempt of the parent started it."""
    return attempt


@towpath.workflow()
def writes(way: str, to: str) -> str:
    """Call, and then write in one of the ways; `outcome` writes nothing but that."""
    current = towpath.current()
    assert current is not None
    attempt = current.attempt
    call(way, attempt)
    if way == "step":
        deed(attempt)
    elif way == "message":
        towpath.send(to, attempt, "in")
    elif way == "event":
        towpath.set_event("state", attempt)
    elif way == "stream":
        towpath.write_stream("out", attempt)
    elif way == "child":
        orders.enqueue(child, attempt)
    elif way == "receive":
        towpath.recv("in", timeout_seconds=0.1)
    elif way == "sleep":
        towpath.sleep(0.1)
    if way != "outcome":
        call(f"after-{way}", attempt)
    return f"by attempt {attempt}"
