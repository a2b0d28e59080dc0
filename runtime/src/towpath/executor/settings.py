"""What a worker is told by its environment (design: flag beats environment beats default)."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from towpath.domain.errors import ConfigurationError
from towpath.domain.ids import QueueName
from towpath.domain.queue import check_queue_name
from towpath.store.budget import DEFAULT_CONNECTIONS, LEAST_CONNECTIONS

DEFAULT_SLOTS = 100
DEFAULT_LEASE_SECONDS = 10.0
DEFAULT_DRAIN_SECONDS = 30.0
LONGEST_SECONDS = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a worker behaves.

    Attributes:
        queues: The queues it serves; None means every queue declared in the process.
        slots: How many workflows it runs at once.
        lease: After this long without a heartbeat the others take over its workflows.
        drain: How long a stop waits for running workflows before it hands them back.
        listen: Whether LISTEN works; False behind a transaction pooler.
        max_connections: How many connections it opens at most, those that transactions use included.
        migrate: Whether launch may migrate a missing or older schema.
    """

    queues: Sequence[QueueName] | None = None
    slots: int = DEFAULT_SLOTS
    lease: timedelta = timedelta(seconds=DEFAULT_LEASE_SECONDS)
    drain: timedelta = timedelta(seconds=DEFAULT_DRAIN_SECONDS)
    name: str = ""
    pool: str | None = None
    pod_uid: str | None = None
    node: str | None = None
    version: str = ""
    listen: bool = True
    migrate: bool = True
    max_connections: int = DEFAULT_CONNECTIONS

    def changed(self, **changes: Any) -> WorkerSettings:
        """Return the settings with other values for some fields.

        Raises:
            ConfigurationError: slots is not a whole number, 1 or more.
        """
        slots = changes.get("slots", self.slots)
        if type(slots) is not int or slots < 1:
            raise ConfigurationError(f"slots is {slots!r}; allowed is an int, 1 or more.")
        return replace(self, **changes)


def read_max_value_bytes(environ: Mapping[str, str], default: int) -> int:
    """Read how large a recorded value may be (TOWPATH_MAX_VALUE_BYTES).

    Raises:
        ConfigurationError: it is not a whole number, 1 or more.
    """
    return _count(environ, "TOWPATH_MAX_VALUE_BYTES", default)


def read_worker_settings(environ: Mapping[str, str]) -> WorkerSettings:
    """Read the TOWPATH_* variables.

    Raises:
        ConfigurationError: naming the variable whose value is not allowed.
    """
    return WorkerSettings(
        queues=_queues(environ.get("TOWPATH_QUEUES")),
        slots=_count(environ, "TOWPATH_SLOTS", DEFAULT_SLOTS),
        lease=_seconds(environ, "TOWPATH_LEASE_SECONDS", DEFAULT_LEASE_SECONDS, least=0.5),
        drain=_seconds(environ, "TOWPATH_DRAIN_SECONDS", DEFAULT_DRAIN_SECONDS, least=0),
        name=environ.get("TOWPATH_POD_NAME") or f"{platform.node()}:{os.getpid()}",
        pool=environ.get("TOWPATH_POOL") or None,
        pod_uid=environ.get("TOWPATH_POD_UID") or None,
        node=environ.get("TOWPATH_NODE") or None,
        version=environ.get("TOWPATH_VERSION", ""),
        listen=environ.get("TOWPATH_LISTEN", "1") != "0",
        migrate=environ.get("TOWPATH_MIGRATE", "1") != "0",
        max_connections=_connections(environ),
    )


def _queues(value: str | None) -> list[QueueName] | None:
    if value is None:
        return None
    return [check_queue_name(name.strip()) for name in value.split(",") if name.strip()]


def _count(environ: Mapping[str, str], variable: str, default: int) -> int:
    value = environ.get(variable)
    if not value:
        return default
    if not value.isdecimal() or int(value) < 1:
        raise ConfigurationError(f"{variable} is {value!r}; allowed is a whole number, 1 or more.")
    return int(value)


def _connections(environ: Mapping[str, str]) -> int:
    count = _count(environ, "TOWPATH_MAX_CONNECTIONS", DEFAULT_CONNECTIONS)
    if count < LEAST_CONNECTIONS:
        raise ConfigurationError(
            f"TOWPATH_MAX_CONNECTIONS is '{count}'; a worker needs {LEAST_CONNECTIONS} or more: two for "
            "its turns and its lease, one to listen, two for calls of Towpath, one for transactions."
        )
    return count


def _seconds(
    environ: Mapping[str, str], variable: str, default: float, *, least: float
) -> timedelta:
    value = environ.get(variable)
    if not value:
        return timedelta(seconds=default)
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not least <= seconds < LONGEST_SECONDS:
        raise ConfigurationError(
            f"{variable} is {value!r}; allowed is a number of seconds from {least:g}."
        )
    return timedelta(seconds=seconds)
