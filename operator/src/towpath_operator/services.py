"""What a reconcile works with; made once, in `__main__` or in `towpath dev`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from towpath_operator.declarations import Declarations, Subject
from towpath_operator.desk import DatabaseDesk
from towpath_operator.memory import Memory
from towpath_operator.plan.observed import Declared, OperatorFacts
from towpath_operator.ports.cluster import Cluster, Manifest
from towpath_operator.ports.database import Databases


class Pace(Protocol):
    """Spaces out writes."""

    async def wait(self) -> None:
        """Wait for the next free moment."""
        ...


class Hold(Protocol):
    """Says in an object's status what would be done for it, and does nothing."""

    async def __call__(
        self, declared: Declared, manifest: Manifest, subject: Subject, services: Services
    ) -> None:
        """Say it. Raises `ClusterError`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The ports, and what is known.

    Attributes:
        cluster: Where objects live.
        databases: Where queues live.
        operator: The operator's own facts.
        declared: The declared objects.
        desk: The databases as last seen.
        pace: How quickly statuses may be written.
        clock: What time it is.
        memory: What this process remembers.
        hold: Says what would be done for an object that is held; None brings it into force too.
        foretells: Whether nothing is done, so that the log and the metrics are told of nothing.
    """

    cluster: Cluster
    databases: Databases
    operator: OperatorFacts
    declared: Declarations
    desk: DatabaseDesk
    pace: Pace
    clock: Callable[[], datetime]
    memory: Memory = field(default_factory=Memory)
    hold: Hold | None = None
    foretells: bool = False
