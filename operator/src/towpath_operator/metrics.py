"""The operator's metrics: what it counts and times while it works, and the page that serves them.

The names and labels are a contract, listed in docs/reference/metrics.md. What is true at a moment, such
as the work in a queue, is read when it is asked for (`metrics_state.py`), so that the series of what
is deleted go with it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from towpath_operator.health import Page

# A second series for each counter and histogram, with the time of its birth: nobody asks for it.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY: Final = CollectorRegistry()

_RECONCILE_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_REQUEST_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Outcome(StrEnum):
    """How a reconcile ended."""

    DONE = "done"
    """What is declared is in force, or on its way there."""
    BLOCKED = "blocked"
    """Something that the object's Ready condition names stands in the way."""
    RETRY = "retry"
    """A request failed for a passing reason."""
    BUG = "bug"
    """The operator failed; its log has the traceback."""
    WAITING = "waiting"
    """Its database was not looked at yet; the look wakes it."""
    GONE = "gone"
    """The object is deleted."""


ERRORS: Final = (Outcome.BLOCKED, Outcome.RETRY, Outcome.BUG)

RECONCILE_SECONDS: Final = Histogram(
    "towpath_operator_reconcile_duration_seconds",
    "How long a reconcile took, by the kind of object and how it ended.",
    ("kind", "outcome"),
    buckets=_RECONCILE_BUCKETS,
    registry=REGISTRY,
)
RECONCILE_ERRORS: Final = Counter(
    "towpath_operator_reconcile_errors",
    "Reconciles that did not bring the object into force: blocked on something that its condition "
    "names, to be retried, or a bug.",
    ("kind", "error"),
    registry=REGISTRY,
)
API_SECONDS: Final = Histogram(
    "towpath_operator_api_request_duration_seconds",
    "How long the API server took to answer, by verb, resource and HTTP status; 0 is no answer.",
    ("verb", "resource", "code"),
    buckets=_REQUEST_BUCKETS,
    registry=REGISTRY,
)
SQL_SECONDS: Final = Histogram(
    "towpath_operator_sql_duration_seconds",
    "How long a piece of work in a database took, the wait for its connection included.",
    ("database",),
    buckets=_REQUEST_BUCKETS,
    registry=REGISTRY,
)
SQL_ERRORS: Final = Counter(
    "towpath_operator_sql_errors",
    "Pieces of work in a database that failed, by the reason as conditions have it.",
    ("database", "reason"),
    registry=REGISTRY,
)
LEADER: Final = Gauge(
    "towpath_operator_leader",
    "Whether this replica leads (1) or stands by (0).",
    registry=REGISTRY,
)
CRDS_OUTDATED: Final = Gauge(
    "towpath_operator_crds_outdated",
    "Whether the cluster's CRDs lack a field that this operator knows (1); /readyz names it.",
    registry=REGISTRY,
)
BUILD: Final = Gauge(
    "towpath_operator_build_info",
    "Always 1; the label is the operator's version.",
    ("version",),
    registry=REGISTRY,
)
BUILD.labels(version("towpath")).set(1)


def page() -> Page:
    """Return every metric as Prometheus reads it."""
    return Page(CONTENT_TYPE_LATEST, generate_latest(REGISTRY))


def reconciled(kind: str, outcome: Outcome, seconds: float) -> None:
    """Count a reconcile."""
    RECONCILE_SECONDS.labels(kind, outcome).observe(seconds)
    if outcome in ERRORS:
        RECONCILE_ERRORS.labels(kind, outcome).inc()


@dataclass(slots=True)
class ApiRequest:
    """A request to the API server; the code is its answer's HTTP status, 0 without one."""

    code: int = 0


@contextmanager
def api_request(verb: str, path: str) -> Iterator[ApiRequest]:
    """Time a request to the API server."""
    asked, began = ApiRequest(), time.perf_counter()
    try:
        yield asked
    finally:
        took = time.perf_counter() - began
        API_SECONDS.labels(verb.upper(), resource_of(path), str(asked.code)).observe(took)


def resource_of(path: str) -> str:
    """Return the resource that a REST path leads to, without the names of objects."""
    _, prefix, *rest = path.split("/")
    rest = rest[1:] if prefix == "api" else rest[2:]
    if rest[:1] == ["namespaces"] and len(rest) > 2:  # noqa: PLR2004 - what lies in a namespace
        rest = rest[2:]
    return "/".join([*rest[:1], *rest[2:]])


@asynccontextmanager
async def sql_work(database: str) -> AsyncIterator[None]:
    """Time a piece of work in a database."""
    began = time.perf_counter()
    try:
        yield
    finally:
        SQL_SECONDS.labels(database).observe(time.perf_counter() - began)


def sql_failed(database: str, reason: str) -> None:
    """Count a piece of work in a database that failed."""
    SQL_ERRORS.labels(database, reason).inc()


def forget_database(database: str) -> None:
    """Take back the series of a database that is not declared any more."""
    SQL_SECONDS.remove_by_labels({"database": database})
    SQL_ERRORS.remove_by_labels({"database": database})
