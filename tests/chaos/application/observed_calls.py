"""Workflows of three steps, each a call that an observer outside sees; the application of chaos tests."""

from __future__ import annotations

import http.client
import os
import random
import time

import towpath
from towpath import Queue

calls = Queue("calls", concurrency=7)


@towpath.step()
def call(order: int, part: int) -> int:
    """Make a call that takes 2 to 10 ms, seen from outside under the workflow's and step's name."""
    host = os.environ["OBSERVER"]
    connection = http.client.HTTPConnection(host, timeout=10)
    try:
        connection.request("GET", f"/{order}/{part}")
        connection.getresponse().read()
        time.sleep(random.uniform(0.002, 0.01))  # noqa: S311 - the call takes its time
    finally:
        connection.close()
    return order * 10 + part


@towpath.workflow()
def order(number: int) -> int:
    """Make three calls, one after the other."""
    return sum(call(number, part) for part in range(3))
