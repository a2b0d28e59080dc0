"""Outages of Postgres: pauses that grow between the tries, and two log lines however many callers try."""

from __future__ import annotations

import asyncio
import logging
import random

import psycopg

from towpath.domain.errors import (
    DatabaseUnreachableError,
    SchemaMissingError,
    SchemaNotGrantedError,
    SchemaOlderError,
)

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0

# Worth another try: an outage, a server that only reads until its standby has taken over, and a schema
# that somebody else migrates and grants, as the operator does for pods.
AWAY = (
    psycopg.OperationalError,
    psycopg.errors.ReadOnlySqlTransaction,
    DatabaseUnreachableError,
    SchemaMissingError,
    SchemaNotGrantedError,
    SchemaOlderError,
)

_random = random.SystemRandom()  # of our own: an application may have seeded the global one

logger = logging.getLogger("towpath.engine")


class Outage:
    """Whether Postgres is away, as a process's last try has found it. Used on one loop."""

    def __init__(self) -> None:
        self._lasts = False

    def begins(self, error: Exception) -> None:
        """Note a failure; the first is logged."""
        if not self._lasts:
            self._lasts = True
            logger.warning("database unreachable", extra={"reason": str(error)})

    def ends(self) -> None:
        """Note a success; the first after a failure is logged."""
        if self._lasts:
            self._lasts = False
            logger.info("database reachable again")


class BackOff:
    """Pauses of one caller that tries again, with jitter.

    A worker's are shorter than its lease: whoever is back first ends those of the others after one.
    """

    def __init__(self, outage: Outage, *, longest: float = LONGEST_PAUSE_SECONDS) -> None:
        self._outage = outage
        self._longest = min(longest, LONGEST_PAUSE_SECONDS)
        self._seconds = FIRST_PAUSE_SECONDS

    def failed(self, error: Exception) -> None:
        """Note a failure."""
        self._outage.begins(error)

    async def pause(self) -> None:
        """Wait before the next try."""
        await asyncio.sleep(self._seconds * _random.uniform(0.5, 1.0))
        self._seconds = min(self._seconds * 2, self._longest)

    def over(self) -> None:
        """Note a success."""
        self._outage.ends()
        self._seconds = FIRST_PAUSE_SECONDS
