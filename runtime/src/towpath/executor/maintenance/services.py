"""The services that a worker runs beside its turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from towpath.domain.ids import WorkerId
from towpath.executor.engine import Engine
from towpath.executor.maintenance.retention import RetentionService
from towpath.executor.maintenance.schedules import ScheduleFiring


class Service(Protocol):
    """Runs on the library's loop as long as the worker is connected, and again after an outage."""

    async def run(self) -> None:
        """Serve until cancelled. What several workers do at once must do no harm."""
        ...


def services_of(engine: Engine, worker_id: Callable[[], WorkerId | None]) -> Sequence[Service]:
    """Return the services of a worker; its id changes when its lease was lost."""
    return [ScheduleFiring(engine, worker_id), RetentionService(engine)]
