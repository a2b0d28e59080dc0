"""dbos: DBOSClient enqueues, a DBOS process works off a queue in the database."""

from __future__ import annotations

import importlib
import os
import time
from typing import Any

from bench.adapter import Adapter, Connection, Fill, Job, database_url
from bench.adapters import durable_functions
from bench.pace import Pace, Sent

VERSION = "v1"
TABLES = "dbos.workflow_status, dbos.workflow_input, dbos.workflow_output, dbos.operation_outputs"
OPTIONS = {"queue_name": "q", "workflow_name": "noop"}
STATUS = """
INSERT INTO dbos.workflow_status (
    workflow_uuid, status, name, queue_name, priority, queue_partition_key, serialization,
    created_at, updated_at, application_name, application_version, started_at_epoch_ms,
    completed_at)
SELECT %(prefix)s || n, %(status)s, 'noop', 'q', 0,
    CASE WHEN %(partitions)s > 0 THEN 'p' || n %% greatest(%(partitions)s, 1) END,
    'portable_json', now - %(count)s + (n - %(first)s), now, 'bench', %(version)s,
    CASE WHEN %(finished)s THEN now - 600000 END, CASE WHEN %(finished)s THEN now - 600000 END
FROM generate_series(%(first)s::bigint, %(last)s::bigint) n, (
    SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now) AS clock
"""
INPUT = """
INSERT INTO dbos.workflow_input (workflow_uuid, inputs, retention_timestamp)
SELECT %(prefix)s || n, '{"positionalArgs":[' || n || '],"namedArgs":{}}',
    (extract(epoch FROM now()) * 1000)::bigint
FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
"""
OUTPUT = """
INSERT INTO dbos.workflow_output (workflow_uuid, output)
SELECT %(prefix)s || n, 'null' FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
"""


class Dbos(Adapter):
    """The library's own client and worker."""

    database = "bench_dbos"
    unfinished = "SELECT count(*) FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING')"
    claims = (
        "SELECT started_at_epoch_ms / 1000.0::float8 FROM dbos.workflow_status "
        "WHERE started_at_epoch_ms IS NOT NULL"
    )
    held = (
        "SELECT executor_id, count(*) FROM dbos.workflow_status "
        "WHERE status = 'PENDING' GROUP BY executor_id"
    )

    def setup(self) -> None:
        """Launch once, which makes the library's schema."""
        self._configure().launch()
        importlib.import_module("dbos").DBOS.destroy()

    def reset(self, connection: Connection) -> None:
        """Empty the library's tables."""
        connection.execute(f"TRUNCATE {TABLES} CASCADE")
        connection.execute("DELETE FROM dbos.queues")
        # Work without a version goes to the newest one alone.
        connection.execute(
            "DELETE FROM dbos.application_versions WHERE version_name <> %s", [VERSION]
        )

    def fill(self, connection: Connection, fill: Fill) -> None:
        """Add workflows in the library's portable JSON format."""
        # Each kind has ids of its own.
        kind = "done" if fill.finished else "other" if fill.other_version else "fill"
        values = {
            "prefix": f"{kind}-",
            "status": "SUCCESS" if fill.finished else "ENQUEUED",
            "version": "v0" if fill.other_version else None,
            "finished": fill.finished,
            "partitions": fill.partitions,
            "count": fill.count,
            "first": fill.first,
            "last": fill.first + fill.count - 1,
        }
        with connection.transaction():
            connection.execute(STATUS, values)
            connection.execute(INPUT, values)
            if fill.finished:
                connection.execute(OUTPUT, values)

    def enqueue(self, count: int) -> float:
        """Enqueue one workflow at a time."""
        client = self._make_client()
        for _ in range(2):
            client.enqueue(OPTIONS, -1)
        began = time.monotonic()
        for number in range(count):
            client.enqueue(OPTIONS, number)
        return time.monotonic() - began

    def bulk(self, count: int, size: int) -> float:
        """Enqueue many in a transaction of the caller: the only way in bulk that is public."""
        client = self._make_client()
        client.enqueue(OPTIONS, -1)
        engine = client._sys_db.engine  # noqa: SLF001 - the caller's own would be such a one
        began = time.monotonic()
        for first in range(0, count, size):
            with engine.begin() as connection:
                for number in range(first, first + size):
                    client.enqueue_in_transaction(connection, OPTIONS, number)
        return time.monotonic() - began

    def send(self, pace: Pace) -> list[Sent]:
        """Enqueue one workflow at a time at random gaps."""
        client = self._make_client()
        client.enqueue(OPTIONS, -1)
        return pace.run(lambda number: client.enqueue(OPTIONS, number))

    def wait(self, kind: str, pace: Pace) -> list[Sent]:
        """Wait for workflows' ends or events, or send to one that waits."""
        client = self._make_client()
        if kind == "message":
            receiver = client.enqueue(OPTIONS, pace.count).workflow_id
            return pace.run(lambda number: client.send(receiver, number, "number"))
        if kind == "event":
            return pace.run(
                lambda number: client.get_event(
                    client.enqueue(OPTIONS, number).workflow_id, "number", timeout_seconds=20
                )
            )
        return pace.run(lambda number: client.enqueue(OPTIONS, number).get_result())

    def work(self, job: Job) -> None:
        """Run the library's worker."""
        dbos = self._configure()
        dbos.workflow(name="noop")(durable_functions.make_function(dbos, job))
        job.launching()
        dbos.launch()
        for name in job.idle_queues:
            dbos.register_queue(name)
        if not job.idle_queues:
            dbos.register_queue("q", on_conflict="always_update", **job.queue_options)
        time.sleep(1.5)  # it looks for new queues once a second
        job.ready()
        while True:
            time.sleep(60)

    def _configure(self) -> Any:
        dbos = importlib.import_module("dbos").DBOS
        dbos(
            config={
                "name": "bench",
                "system_database_url": database_url(self.database),
                "log_level": "ERROR",
                "application_version": VERSION,
                "executor_id": f"executor-{os.getpid()}",
            }
        )
        return dbos

    def _make_client(self) -> Any:
        return importlib.import_module("dbos").DBOSClient(
            system_database_url=database_url(self.database), application_name="bench"
        )


ADAPTER = Dbos()
