"""pgqueuer: asyncpg on uvloop, its QueueManager woken by LISTEN; it deletes what has ended."""

from __future__ import annotations

import asyncio
import importlib
import logging
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from bench.adapter import Adapter, Connection, Fill, Job, connect, database_url
from bench.pace import Pace, Sent

T = TypeVar("T")

NO_PARTITIONS = "it has no partitions"


class Pgqueuer(Adapter):
    """The library's own queries and worker."""

    database = "bench_pgqueuer"
    unfinished = "SELECT count(*) FROM pgqueuer"
    held = (
        "SELECT queue_manager_id, count(*) FROM pgqueuer "
        "WHERE status = 'picked' GROUP BY queue_manager_id"
    )
    cannot = {  # noqa: RUF012 - a constant
        "limiter": "it has no limit on starts in a window that processes share",
        "partitions": NO_PARTITIONS,
        "cost other version": "it has no versions",
    }

    def setup(self) -> None:
        """Make the library's schema."""
        module = importlib.import_module("pgqueuer.adapters.persistence.qb")
        builder = module.QueryBuilderEnvironment()
        with connect(self.database) as connection:
            connection.execute(builder.build_install_query())
            connection.execute(builder.build_optimize_autovacuum_query())

    def reset(self, connection: Connection) -> None:
        """Empty the library's tables."""
        connection.execute("TRUNCATE pgqueuer, pgqueuer_log, pgqueuer_statistics RESTART IDENTITY")

    def fill(self, connection: Connection, fill: Fill) -> None:
        """Add jobs with the schema's trigger off; of finished ones, which go, the log's rows."""
        last = fill.first + fill.count - 1
        with connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")
            if fill.finished:
                connection.execute(
                    "INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint, aggregated) "
                    "SELECT n, 'successful', 0, 'noop', true FROM generate_series(%s::bigint, %s::bigint) n",
                    [fill.first, last],
                )
                return
            connection.execute(
                """
                INSERT INTO pgqueuer (priority, status, entrypoint, payload, execute_after)
                SELECT 0, 'queued', 'noop', convert_to(n::text, 'UTF8'), now() - interval '1 s'
                FROM generate_series(%s::bigint, %s::bigint) n
                """,
                [fill.first, last],
            )

    def wake(self, connection: Connection) -> None:
        """Notify as the trigger would have."""
        connection.execute(
            """
            SELECT pg_notify('ch_pgqueuer', json_build_object('channel', 'ch_pgqueuer',
                'operation', 'insert', 'sent_at', now(), 'table', 'pgqueuer',
                'type', 'table_changed_event')::text)
            """
        )

    def enqueue(self, count: int) -> float:
        """Enqueue one job at a time."""

        async def run() -> float:
            queries = await self._make_queries()
            await queries.enqueue("noop", b"-1")
            began = time.monotonic()
            for number in range(count):
                await queries.enqueue("noop", b"%d" % number)
            return time.monotonic() - began

        return _run(run())

    def bulk(self, count: int, size: int) -> float:
        """Enqueue many jobs in each call."""

        async def run() -> float:
            queries = await self._make_queries()
            await queries.enqueue("noop", b"-1")
            began = time.monotonic()
            for first in range(0, count, size):
                numbers = [b"%d" % number for number in range(first, first + size)]
                await queries.enqueue(["noop"] * size, numbers, [0] * size)
            return time.monotonic() - began

        return _run(run())

    def send(self, pace: Pace) -> list[Sent]:
        """Enqueue one job at a time at random gaps."""

        async def run() -> list[Sent]:
            queries = await self._make_queries()
            return await pace.run_async(lambda number: queries.enqueue("noop", b"%d" % number))

        return _run(run())

    def work(self, job: Job) -> None:
        """Run the library's worker."""
        logging.disable(logging.ERROR)

        async def noop(task: Any) -> None:
            place = job.recorder.start(int(task.payload))
            if job.sleep:
                await asyncio.sleep(job.sleep)
            job.recorder.end(place)

        async def run() -> None:
            job.launching()
            manager = importlib.import_module("pgqueuer").PgQueuer(await self._connect())
            for name in job.idle_queues or ["noop"]:
                manager.entrypoint(name, **job.queue_options)(noop)
            worker = asyncio.ensure_future(manager.run(**job.settings.get("run", {})))
            await asyncio.sleep(0.5)  # the worker says nowhere that it listens
            job.ready()
            await worker

        _run(run())

    async def _connect(self) -> Any:
        driver = importlib.import_module("pgqueuer.db").AsyncpgDriver
        connection = await importlib.import_module("asyncpg").connect(database_url(self.database))
        return driver(connection)

    async def _make_queries(self) -> Any:
        return importlib.import_module("pgqueuer.queries").Queries(await self._connect())


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    answer: T = importlib.import_module("uvloop").run(coroutine)
    return answer


ADAPTER = Pgqueuer()
