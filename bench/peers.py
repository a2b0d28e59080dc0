"""The settings at which each system works off no-op jobs fastest, found by a sweep; towpath's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Best(NamedTuple):
    """A system's settings, and what they are called in the tables."""

    variant: str
    settings: Mapping[str, Any]


BEST = {
    "raw": Best("batch 100", {"batch": 100}),
    "towpath": Best("default", {}),
    "dbos": Best(
        "10 ms poll", {"queue": {"worker_concurrency": 100, "polling_interval_sec": 0.01}}
    ),
    "procrastinate": Best("concurrency 30", {"connections": 30, "worker": {"concurrency": 30}}),
    "pgqueuer": Best("batch 1,000", {"run": {"batch_size": 1000}}),
    "celery": Best(
        "1 process, prefetch 100",
        {
            "prefetch": 100,
            "arguments": ["-c", "1", "-O", "fair", "--without-gossip", "--without-mingle"],
        },
    ),
}
