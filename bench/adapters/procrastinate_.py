"""procrastinate: an async worker on psycopg, woken by LISTEN."""

from __future__ import annotations

import asyncio
import importlib
import logging
import time
from typing import Any

from bench.adapter import Connection, Job, Pace, Sent, connect, database_url


class Procrastinate:
    """The library's own connector and worker."""

    database = "bench_procrastinate"
    unfinished = "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"

    def setup(self) -> None:
        """Make the library's schema."""
        schema = importlib.import_module("procrastinate.schema")
        with connect(self.database) as connection:
            connection.execute(schema.SchemaManager.get_schema())

    def reset(self, connection: Connection) -> None:
        """Empty the library's tables."""
        connection.execute(
            "TRUNCATE procrastinate_jobs, procrastinate_events, procrastinate_workers, "
            "procrastinate_periodic_defers RESTART IDENTITY"
        )

    def fill(self, connection: Connection, count: int) -> None:
        """Add jobs with the schema's triggers off, which would write an event and a NOTIFY a row.

        The event rows are written here, so that the tables have their true sizes.
        """
        with connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute(
                """
                INSERT INTO procrastinate_jobs (queue_name, task_name, args, status)
                SELECT 'q', 'noop', jsonb_build_object('number', n), 'todo'
                FROM generate_series(0, %s) n
                """,
                [count - 1],
            )
            connection.execute(
                "INSERT INTO procrastinate_events (job_id, type) "
                "SELECT id, 'deferred' FROM procrastinate_jobs"
            )

    def wake(self, connection: Connection) -> None:
        """Notify as the trigger would have."""
        connection.execute(
            """
            SELECT pg_notify('procrastinate_queue_v1#q', '{"type": "job_inserted", "job_id": 0}')
            """
        )

    def enqueue(self, count: int) -> float:
        """Defer one job at a time."""

        async def run() -> float:
            app, noop = self._make_app()
            async with app.open_async():
                await noop.defer_async(number=-1)
                began = time.monotonic()
                for number in range(count):
                    await noop.defer_async(number=number)
                return time.monotonic() - began

        return asyncio.run(run())

    def send(self, pace: Pace) -> list[Sent]:
        """Defer one job at a time at random gaps."""

        async def run() -> list[Sent]:
            app, noop = self._make_app()
            async with app.open_async():
                await noop.defer_async(number=-1)
                return await pace.run_async(lambda number: noop.defer_async(number=number))

        return asyncio.run(run())

    def work(self, job: Job) -> None:
        """Run the library's worker."""
        logging.disable(logging.WARNING)

        async def run() -> None:
            app, _ = self._make_app(job)
            async with app.open_async():
                worker = asyncio.create_task(
                    app.run_worker_async(queues=["q"], **job.settings.get("worker", {}))
                )
                await asyncio.sleep(0.5)  # the worker says nowhere that it listens
                job.ready()
                await worker

        asyncio.run(run())

    def _make_app(self, job: Job | None = None) -> tuple[Any, Any]:
        procrastinate = importlib.import_module("procrastinate")
        connections = job.settings.get("connections", 12) if job else 12
        app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(
                conninfo=database_url(self.database), min_size=2, max_size=connections
            )
        )

        async def noop(number: int) -> None:
            if job:
                job.recorder.end(job.recorder.start(number))

        return app, app.task(name="noop", queue="q")(noop)


ADAPTER = Procrastinate()
