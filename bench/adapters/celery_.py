"""celery on Redis: acknowledged late, results kept, the append-only file synced every second.

That is less durable than a commit in Postgres, and what most people run. It has no tables: a queue
is filled by its own client, and done is what the functions say.
"""

from __future__ import annotations

import importlib
import os
import time
from typing import Any

from bench.adapter import Adapter, Job
from bench.pace import Pace, Sent
from bench.records import Recorder

NO_LIMITS = "it has none that its workers share"
NO_TABLES = "its jobs are in Redis"


class Celery(Adapter):
    """The library's own client and worker."""

    cannot = {  # noqa: RUF012 - a constant
        "bulk": "it has no call for many jobs",
        "cost": NO_TABLES,
        "concurrency": NO_LIMITS,
        "limiter": NO_LIMITS,
        "partitions": "it has no partitions",
        "backlog": NO_TABLES,
        "snapshot": NO_TABLES,
    }

    def setup(self) -> None:
        """Empty Redis."""
        redis = importlib.import_module("redis")
        redis.Redis.from_url(os.environ["BENCH_REDIS_URL"]).flushall()

    def enqueue(self, count: int) -> float:
        """Send one job at a time."""
        _, noop = self._make_app()
        noop.delay(-1)
        began = time.monotonic()
        for number in range(count):
            noop.delay(number)
        return time.monotonic() - began

    def send(self, pace: Pace) -> list[Sent]:
        """Send one job at a time at random gaps."""
        _, noop = self._make_app()
        noop.delay(-1)
        return pace.run(noop.delay)

    def work(self, job: Job) -> None:
        """Run the library's worker: a parent process and those that it forks."""
        app, _ = self._make_app(job)
        ready = importlib.import_module("celery.signals").worker_ready

        def report(**_: Any) -> None:
            job.ready()

        ready.connect(report, weak=False)
        job.launching()
        app.worker_main(
            [
                *("worker", "--loglevel=ERROR", "-n", f"w{os.getpid()}@bench"),
                *("-Q", ",".join(job.idle_queues or ["q"])),
                *job.settings.get("arguments", []),
            ]
        )

    def _make_app(self, job: Job | None = None) -> tuple[Any, Any]:
        url = os.environ["BENCH_REDIS_URL"]
        app = importlib.import_module("celery").Celery("bench", broker=url, backend=url)
        app.conf.update(
            task_acks_late=True,
            worker_prefetch_multiplier=job.settings.get("prefetch", 4) if job else 4,
            task_default_queue="q",
            broker_connection_retry_on_startup=True,
            worker_hijack_root_logger=False,
            result_expires=3600,
        )
        recorders: list[Recorder] = []

        def noop(number: int) -> None:
            if job and not recorders:  # in the child: each process has a file of its own
                recorders.append(Recorder(job.recorder.folder))
            for recorder in recorders:
                recorder.end(recorder.start(number))

        return app, app.task(name="noop")(noop)


ADAPTER = Celery()
