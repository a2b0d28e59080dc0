"""towpath: `queue.enqueue` in one process, a launched worker at default settings in another."""

from __future__ import annotations

import os
import time
from typing import Any

from bench.adapter import Connection, Job, Pace, Sent, database_url


class Towpath:
    """The library's public surface, in the schema `towpath` of a database of its own."""

    database = "bench_towpath"
    unfinished = (
        "SELECT (SELECT count(*) FROM towpath.ready) + (SELECT count(*) FROM towpath.running)"
    )

    def setup(self) -> None:
        """Launch once, which makes the schema."""
        towpath = self._configure()
        assert towpath.launch().wait_until_ready(30)
        towpath.shutdown()

    def reset(self, connection: Connection) -> None:
        """Empty the tables of workflows."""
        connection.execute(
            "TRUNCATE towpath.workflow, towpath.ready, towpath.running, towpath.result, towpath.step"
        )

    def fill(self, connection: Connection, count: int) -> None:
        """Add workflows as `enqueue_many` would have written them."""
        with connection.transaction():
            connection.execute(
                "INSERT INTO towpath.queue (name) VALUES ('q') ON CONFLICT (name) DO NOTHING"
            )
            connection.execute(
                """
                WITH written AS (
                    INSERT INTO towpath.workflow (secret, queue, name, codec, input, created_at)
                    SELECT n, 'q', 'noop', 'json', '{"args":[' || n || '],"kwargs":{}}',
                        towpath.clock()
                    FROM generate_series(0, %s) n
                    RETURNING seq, queue, name, version
                )
                INSERT INTO towpath.ready (queue, name, version, rank, line, seq)
                SELECT queue, name, version, 0, seq, seq FROM written
                """,
                [count - 1],
            )

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

    def send(self, pace: Pace) -> list[Sent]:
        """Enqueue one workflow at a time at random gaps."""
        queue, noop = self._declare()
        queue.enqueue(noop, -1)
        return pace.run(lambda number: queue.enqueue(noop, number))

    def work(self, job: Job) -> None:
        """Run a worker in this process."""
        self._declare(job)
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
            if job:
                job.recorder.end(job.recorder.start(number))

        return towpath.Queue("q"), towpath.workflow(name="noop")(noop)


ADAPTER = Towpath()
