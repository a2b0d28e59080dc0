"""towpath: `queue.enqueue` in one process, a launched worker at default settings in another."""

from __future__ import annotations

import os
import time
from typing import Any

from bench.adapter import Adapter, Connection, Fill, Job, Settings, database_url
from bench.adapters import durable_functions, towpath_rows
from bench.pace import Pace, Sent


class Towpath(Adapter):
    """The library's public surface, in the schema `towpath` of a database of its own."""

    database = "bench_towpath"
    unfinished = (
        "SELECT (SELECT count(*) FROM towpath.ready) + (SELECT count(*) FROM towpath.running)"
    )
    claims = towpath_rows.CLAIMS
    held = "SELECT worker, count(*) FROM towpath.running GROUP BY worker"

    def setup(self) -> None:
        """Launch once, which makes the schema."""
        self.declare({})

    def declare(self, settings: Settings) -> None:
        """Launch with the queue's options, which writes its row."""
        towpath = self._configure()
        towpath.Queue("q", **settings.get("queue", {}))
        assert towpath.launch().wait_until_ready(30)
        towpath.shutdown()

    def reset(self, connection: Connection) -> None:
        """Empty every table."""
        towpath_rows.empty(connection)

    def watch_claims(self, connection: Connection) -> None:
        """Note the time of each claim, by a trigger."""
        connection.execute(towpath_rows.WATCH)

    def fill(self, connection: Connection, fill: Fill) -> None:
        """Add workflows as `enqueue_many` would have written them."""
        towpath_rows.fill(connection, fill)

    def wake(self, connection: Connection) -> None:
        """Notify as an enqueue would have while a worker is asleep."""
        connection.execute("SELECT pg_notify('towpath.towpath', 'q')")

    def enqueue(self, count: int) -> float:
        """Enqueue one workflow at a time."""
        queue, noop = self._declare()
        for _ in range(2):
            queue.enqueue(noop, -1)
        began = time.monotonic()
        for number in range(count):
            queue.enqueue(noop, number)
        return time.monotonic() - began

    def bulk(self, count: int, size: int) -> float:
        """Enqueue many workflows in each call."""
        queue, noop = self._declare()
        queue.enqueue_many(noop, [(-1,)])
        began = time.monotonic()
        for first in range(0, count, size):
            queue.enqueue_many(noop, [(number,) for number in range(first, first + size)])
        return time.monotonic() - began

    def send(self, pace: Pace) -> list[Sent]:
        """Enqueue one workflow at a time at random gaps."""
        queue, noop = self._declare()
        queue.enqueue(noop, -1)
        return pace.run(lambda number: queue.enqueue(noop, number))

    def wait(self, kind: str, pace: Pace) -> list[Sent]:
        """Wait for workflows' ends or events, or send to one that waits."""
        queue, noop = self._declare()
        towpath = self._configure()
        if kind == "message":
            receiver = queue.enqueue(noop, pace.count).workflow_id
            return pace.run(lambda number: towpath.send(receiver, number, "number"))
        if kind == "event":
            return pace.run(
                lambda number: towpath.get_event(
                    queue.enqueue(noop, number).workflow_id, "number", timeout_seconds=20
                )
            )
        return pace.run(lambda number: queue.enqueue(noop, number).get_result(timeout=20))

    def work(self, job: Job) -> None:
        """Run a worker in this process."""
        self._declare(job)
        job.launching()
        worker = self._configure().launch(**job.settings.get("launch", {}))
        assert worker.wait_until_ready(30)
        job.ready()
        while True:
            time.sleep(60)

    def _configure(self) -> Any:
        os.environ["TOWPATH_DATABASE_URL"] = database_url(self.database)
        import towpath  # noqa: PLC0415 - where it is measured, not in the harness

        return towpath

    def _declare(self, job: Job | None = None) -> tuple[Any, Any]:
        towpath = self._configure()

        def noop(number: int) -> None:
            raise AssertionError(f"{number}: the workers run their own")

        function = noop if job is None else durable_functions.make_function(towpath, job)
        workflow = towpath.workflow(name="noop")(function)
        if job and job.idle_queues:
            return [towpath.Queue(name) for name in job.idle_queues], workflow
        return towpath.Queue("q", **(job.queue_options if job else {})), workflow


ADAPTER = Towpath()
