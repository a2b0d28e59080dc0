"""dbos: DBOSClient enqueues, a DBOS process works off a queue in the database."""

from __future__ import annotations

import importlib
import os
import time
from typing import Any

from bench.adapter import Connection, Job, Pace, Sent, database_url

VERSION = "v1"
TABLES = "dbos.workflow_status, dbos.workflow_input, dbos.workflow_output, dbos.operation_outputs"
OPTIONS = {"queue_name": "q", "workflow_name": "noop"}


class Dbos:
    """The library's own client and worker."""

    database = "bench_dbos"
    unfinished = "SELECT count(*) FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING')"

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

    def fill(self, connection: Connection, count: int) -> None:
        """Add workflows in the library's portable JSON format."""
        with connection.transaction():
            connection.execute(
                """
                INSERT INTO dbos.workflow_status (
                    workflow_uuid, status, name, queue_name, priority, serialization, created_at,
                    updated_at, application_name)
                SELECT 'fill-' || n, 'ENQUEUED', 'noop', 'q', 0, 'portable_json',
                    (extract(epoch FROM now()) * 1000)::bigint - %(count)s + n,
                    (extract(epoch FROM now()) * 1000)::bigint, 'bench'
                FROM generate_series(0, %(count)s - 1) n
                """,
                {"count": count},
            )
            connection.execute(
                """
                INSERT INTO dbos.workflow_input (workflow_uuid, inputs, retention_timestamp)
                SELECT 'fill-' || n, '{"positionalArgs":[' || n || '],"namedArgs":{}}',
                    (extract(epoch FROM now()) * 1000)::bigint
                FROM generate_series(0, %(count)s - 1) n
                """,
                {"count": count},
            )

    def wake(self, connection: Connection) -> None:
        """Do nothing: the library polls."""

    def enqueue(self, count: int) -> float:
        """Enqueue one workflow at a time."""
        client = self._make_client()
        for _ in range(2):
            client.enqueue(OPTIONS, -1)
        began = time.monotonic()
        for number in range(count):
            client.enqueue(OPTIONS, number)
        return time.monotonic() - began

    def send(self, pace: Pace) -> list[Sent]:
        """Enqueue one workflow at a time at random gaps."""
        client = self._make_client()
        client.enqueue(OPTIONS, -1)
        return pace.run(lambda number: client.enqueue(OPTIONS, number))

    def work(self, job: Job) -> None:
        """Run the library's worker; a sync function, which it runs faster than an async one."""
        dbos = self._configure()

        def noop(number: int) -> None:
            job.recorder.end(job.recorder.start(number))

        dbos.workflow(name="noop")(noop)
        dbos.launch()
        dbos.register_queue("q", on_conflict="always_update", **job.settings.get("queue", {}))
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
