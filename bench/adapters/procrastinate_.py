"""procrastinate: an async worker on psycopg, woken by LISTEN."""

from __future__ import annotations

import asyncio
import importlib
import logging
import time
from typing import Any

from bench.adapter import Adapter, Connection, Fill, Job, connect, database_url
from bench.pace import Pace, Sent

NO_LIMITS = "it has locks (one at a time), and neither a concurrency above that nor a limiter"
FILL = """
WITH written AS (
    INSERT INTO procrastinate_jobs (queue_name, task_name, lock, args, status)
    SELECT 'q', 'noop',
        CASE WHEN %(partitions)s > 0 THEN 'p' || n %% greatest(%(partitions)s, 1) END,
        jsonb_build_object('number', n), %(status)s::procrastinate_job_status
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
    RETURNING id
)
INSERT INTO procrastinate_events (job_id, type)
SELECT id, unnest(%(events)s::procrastinate_job_event_type[]) FROM written
"""


class Procrastinate(Adapter):
    """The library's own connector and worker."""

    database = "bench_procrastinate"
    unfinished = "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
    held = (
        "SELECT worker_id, count(*) FROM procrastinate_jobs "
        "WHERE status = 'doing' GROUP BY worker_id"
    )
    cannot = {  # noqa: RUF012 - a constant
        "concurrency": NO_LIMITS,
        "limiter": NO_LIMITS,
        "cost other version": "it has no versions",
    }

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

    def fill(self, connection: Connection, fill: Fill) -> None:
        """Add jobs with the schema's triggers off, which would write an event and a NOTIFY a row.

        The event rows are written here, so that the tables have their true sizes.
        """
        with connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute(
                FILL,
                {
                    "status": "succeeded" if fill.finished else "todo",
                    "events": ["deferred", "started", "succeeded"][: 3 if fill.finished else 1],
                    "partitions": fill.partitions,
                    "first": fill.first,
                    "last": fill.first + fill.count - 1,
                },
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

    def bulk(self, count: int, size: int) -> float:
        """Defer many jobs in each call."""

        async def run() -> float:
            app, noop = self._make_app()
            async with app.open_async():
                await noop.defer_async(number=-1)
                began = time.monotonic()
                for first in range(0, count, size):
                    jobs = [{"number": number} for number in range(first, first + size)]
                    await noop.batch_defer_async(*jobs)
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
        queues = job.idle_queues or ["q"]

        async def run() -> None:
            app, _ = self._make_app(job)
            job.launching()
            async with app.open_async():
                worker = asyncio.create_task(
                    app.run_worker_async(queues=queues, **job.settings.get("worker", {}))
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
                place = job.recorder.start(number)
                if job.sleep:
                    await asyncio.sleep(job.sleep)
                job.recorder.end(place)

        return app, app.task(name="noop", queue="q")(noop)


ADAPTER = Procrastinate()
