"""A queue's settings: what a manifest or `Queue(...)` declares, checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta

from towpath.domain.errors import ConfigurationError, QueueSettingsError
from towpath.domain.ids import MAX_NAME_LENGTH, QueueName, storable_text

MAX_CONCURRENCY = 2_147_483_647
MAX_LIMIT = 2_147_483_647
MIN_PERIOD = timedelta(milliseconds=1)
MAX_PERIOD = timedelta(days=366)
DEFAULT_POLLING_INTERVAL = timedelta(seconds=1)
MIN_POLLING_INTERVAL = timedelta(milliseconds=1)
MAX_POLLING_INTERVAL = timedelta(days=1)
MIN_RETENTION = timedelta(seconds=1)
MAX_RETENTION = timedelta(days=36525)

ALLOWED_CONCURRENCY = f"an int from 1 to {MAX_CONCURRENCY}"
ALLOWED_LIMIT = f"an int from 1 to {MAX_LIMIT}"
ALLOWED_PERIOD = "a number of seconds from 0.001 to 31622400 (366 days)"
ALLOWED_POLLING_INTERVAL = "a number of seconds from 0.001 to 86400"
ALLOWED_RETENTION = 'a dict with "succeeded", "failed" or both'
ALLOWED_RETENTION_SECONDS = "a number of seconds from 1 to 3155760000 (100 years)"
ALLOWED_LIMITER = 'a dict with exactly "limit" and "period"'
ALLOWED_WITH_PARTITIONS = "none without partitioning (partition_queue=True)"
ALLOWED_FLAG = "True or False"


@dataclass(frozen=True, slots=True)
class Limiter:
    """At most `limit` starts in any window of `period`."""

    limit: int
    period: timedelta


@dataclass(frozen=True, slots=True)
class Retention:
    """How long workflows are kept after their end: after SUCCESS, and after any other.

    None is as the database's default says, which is for ever unless it was set.
    """

    succeeded: timedelta | None = None
    failed: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """How a queue starts its workflows; None is no limit.

    Attributes:
        concurrency: Places for running workflows in all workers together.
        worker_concurrency: Places for running workflows in one worker.
        partition_concurrency: Places for the running workflows of one partition key; None is 1.
        limiter: Starts of the whole queue.
        partition_limiter: Starts of each partition key.
        priority_enabled: Whether workflows may have a priority.
        partition_queue: Whether every workflow has a partition key.
        release_while_waiting: Whether a workflow that waits gives its place in `concurrency` back.
        polling_interval: The longest wait for what a lost notification has missed.
        retention: How long its workflows are kept after their end.
    """

    concurrency: int | None = None
    worker_concurrency: int | None = None
    partition_concurrency: int | None = None
    limiter: Limiter | None = None
    partition_limiter: Limiter | None = None
    priority_enabled: bool = False
    partition_queue: bool = False
    release_while_waiting: bool = False
    polling_interval: timedelta = DEFAULT_POLLING_INTERVAL
    retention: Retention = Retention()

    @property
    def gated(self) -> bool:
        """Whether a limit is shared by all workers, so that a claim locks the queue's gate."""
        return self.concurrency is not None or self.limiter is not None or self.partition_queue

    def differences(self, other: QueueSettings) -> tuple[str, ...]:
        """Name the fields in which the other settings differ."""
        return tuple(
            f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)
        )


UNLIMITED = QueueSettings()


def check_queue_name(name: object) -> QueueName:
    """Return the name when a queue can have it: 1 to 255 characters, no comma.

    Raises:
        QueueSettingsError: it cannot be a queue's name.
    """
    allowed = "a str of 1 to 255 characters without a comma, NUL or lone surrogates"
    if (
        not isinstance(name, str)
        or not 1 <= len(name) <= MAX_NAME_LENGTH
        or "," in name
        or not storable_text(name)
    ):
        shown = name[:40] if isinstance(name, str) else name
        raise QueueSettingsError(queue_name=str(shown), field="name", value=shown, allowed=allowed)
    return QueueName(name)


def make_limiter(queue_name: str, field: str, value: object) -> Limiter | None:
    """Read a limiter as code writes it: `{"limit": 5, "period": 10}`, the period in seconds.

    Raises:
        QueueSettingsError: naming the part that is missing, unknown or out of bounds.
    """
    if value is None or isinstance(value, Limiter):
        return value
    if not isinstance(value, Mapping) or set(value) != {"limit", "period"}:
        raise QueueSettingsError(
            queue_name=queue_name, field=field, value=value, allowed=ALLOWED_LIMITER
        )
    period = make_seconds(
        queue_name, f"{field}.period", value["period"], ALLOWED_PERIOD, MIN_PERIOD, MAX_PERIOD
    )
    return Limiter(value["limit"], period)


def make_retention(queue_name: str, value: object) -> Retention:
    """Read a retention as code writes it: `{"succeeded": 3600, "failed": 86400}`, in seconds.

    Raises:
        QueueSettingsError: naming the part that is unknown or out of bounds.
    """
    if value is None:
        return Retention()
    if isinstance(value, Retention):
        return value
    if not isinstance(value, Mapping) or not value or not set(value) <= {"succeeded", "failed"}:
        raise QueueSettingsError(
            queue_name=queue_name, field="retention", value=value, allowed=ALLOWED_RETENTION
        )
    kept = {
        end: make_seconds(
            queue_name, f"retention.{end}", seconds, ALLOWED_RETENTION_SECONDS, MIN_RETENTION,
            MAX_RETENTION,
        )
        for end, seconds in value.items()
        if seconds is not None
    }  # fmt: skip
    return Retention(**kept)


def make_seconds(
    queue_name: str, field: str, value: object, allowed: str, least: timedelta, most: timedelta
) -> timedelta:
    """Read a number of seconds that lies within bounds.

    Raises:
        QueueSettingsError: it does not, or is no number.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not least.total_seconds() <= value <= most.total_seconds()
    ):
        raise QueueSettingsError(queue_name=queue_name, field=field, value=value, allowed=allowed)
    return timedelta(seconds=value)


def check_queue_settings(name: str, settings: QueueSettings) -> QueueSettings:
    """Return the settings when they are within bounds and agree with each other.

    Raises:
        QueueSettingsError: naming the first field that does not.
    """
    refusal = (
        _out_of_bounds(settings)
        or _kept_out_of_bounds(settings.retention)
        or _contradiction(settings)
    )
    if refusal is not None:
        field, value, allowed = refusal
        raise QueueSettingsError(queue_name=name, field=field, value=value, allowed=allowed)
    return settings


Refusal = tuple[str, object, str]
"""A field, its value, and what is allowed."""


def _out_of_bounds(settings: QueueSettings) -> Refusal | None:
    for field in ("concurrency", "worker_concurrency", "partition_concurrency"):
        value = getattr(settings, field)
        if value is not None and not _count(value, MAX_CONCURRENCY):
            return field, value, ALLOWED_CONCURRENCY
    for field in ("limiter", "partition_limiter"):
        limiter: Limiter | None = getattr(settings, field)
        if limiter is None:
            continue
        if not _count(limiter.limit, MAX_LIMIT):
            return f"{field}.limit", limiter.limit, ALLOWED_LIMIT
        if not MIN_PERIOD <= limiter.period <= MAX_PERIOD:
            return f"{field}.period", limiter.period.total_seconds(), ALLOWED_PERIOD
    for field in ("priority_enabled", "partition_queue", "release_while_waiting"):
        value = getattr(settings, field)
        if type(value) is not bool:
            return field, value, ALLOWED_FLAG
    if not MIN_POLLING_INTERVAL <= settings.polling_interval <= MAX_POLLING_INTERVAL:
        seconds = settings.polling_interval.total_seconds()
        return "polling_interval_sec", seconds, ALLOWED_POLLING_INTERVAL
    return None


def check_retention(retention: Retention) -> Retention:
    """Return a database's default retention when it is within bounds.

    Raises:
        ConfigurationError: naming the part that is not.
    """
    refusal = _kept_out_of_bounds(retention)
    if refusal is not None:
        field, value, allowed = refusal
        raise ConfigurationError(f"{field} is {value!r}; allowed is {allowed}.")
    return retention


def _kept_out_of_bounds(retention: Retention) -> Refusal | None:
    for end in ("succeeded", "failed"):
        kept: timedelta | None = getattr(retention, end)
        if kept is not None and not MIN_RETENTION <= kept <= MAX_RETENTION:
            return f"retention.{end}", kept.total_seconds(), ALLOWED_RETENTION_SECONDS
    return None


def _count(value: object, most: int) -> bool:
    return type(value) is int and 1 <= value <= most


def _contradiction(settings: QueueSettings) -> Refusal | None:
    places, here = settings.concurrency, settings.worker_concurrency
    if places is not None and here is not None and here > places:
        return "worker_concurrency", here, f"at most concurrency, which is {places}"
    if not settings.partition_queue:
        for field in ("partition_concurrency", "partition_limiter"):
            value = getattr(settings, field)
            if value is not None:
                return field, value, ALLOWED_WITH_PARTITIONS
    return None
