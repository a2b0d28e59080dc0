"""The services that a worker runs beside its turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from towpath.executor.engine import Engine


class Service(Protocol):
    """Runs on the library's loop as long as the worker is connected; made anew after an outage."""

    async def run(self) -> None:
        """Serve until cancelled. What several workers do at once must do no harm."""
        ...


def services_of(engine: Engine) -> Sequence[Service]:
    """Return the services of a worker."""
    del engine
    return []
