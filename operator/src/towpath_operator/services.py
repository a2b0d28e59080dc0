"""What a reconcile works with; made once, in `__main__` or in `towpath dev`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from towpath_operator.declarations import Declarations
from towpath_operator.desk import DatabaseDesk
from towpath_operator.memory import Memory
from towpath_operator.plan.observed import OperatorFacts
from towpath_operator.ports.cluster import Cluster
from towpath_operator.ports.database import Databases


class Pace(Protocol):
    """Spaces out writes."""

    async def wait(self) -> None:
        """Wait for the next free moment."""
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
    """

    cluster: Cluster
    databases: Databases
    operator: OperatorFacts
    declared: Declarations
    desk: DatabaseDesk
    pace: Pace
    clock: Callable[[], datetime]
    memory: Memory = field(default_factory=Memory)
