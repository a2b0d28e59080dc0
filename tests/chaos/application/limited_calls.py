"""Workflows under every kind of limit, each one call that an observer outside sees."""

from __future__ import annotations

import http.client
import os
import random
import time

import towpath
from towpath import Queue

one = Queue("one", concurrency=1)
throttled = Queue("throttled", limiter={"limit": 20, "period": 0.5})
keyed = Queue("keyed", partition_queue=True)


@towpath.workflow()
def call(group: str, number: int) -> None:
    """Make a call of 1 to 8 ms, under the group's name, with the moment that the function began."""
    began = time.monotonic_ns()  # one clock for all processes of the machine
    connection = http.client.HTTPConnection(os.environ["OBSERVER"], timeout=10)
    try:
        connection.request("GET", f"/{group}/{number}/{began}")
        connection.getresponse().read()
        time.sleep(random.uniform(0.001, 0.008))  # noqa: S311 - the call takes its time
    finally:
        connection.close()
