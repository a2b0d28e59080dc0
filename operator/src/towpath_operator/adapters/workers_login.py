"""Tries the login of the pods, which can tell nobody themselves that Postgres refuses it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

import psycopg

from towpath.store.connect import Endpoint, connect_async
from towpath_operator.adapters.certificates import uri_with_certificates
from towpath_operator.adapters.postgres_errors import EXPECTED, blocked_by
from towpath_operator.model.conditions import Reason
from towpath_operator.plan.observed import Blocked, DatabaseTarget

AGAIN_SECONDS: Final = 50.0
REFUSED_AGAIN_SECONDS: Final = 4.0
"""Whoever has just made the login, or mended its password, waits for us."""

ANSWER_SECONDS: Final = 1.0
TIMEOUT_SECONDS: Final = 10.0
APPLICATION_NAME: Final = "towpath-operator-login"


class WorkersLogin:
    """Knows whether the login in one target's URI for the pods is refused.

    Only a refusal counts: where the pods go, the operator may not be able to.
    """

    def __init__(self, target: DatabaseTarget) -> None:
        self._target = target
        self._tried_at: float | None = None
        self._trying: asyncio.Task[None] | None = None
        self.refused: Blocked | None = None
        """What Postgres said at the last try, where it was a refusal."""

    async def look(self) -> None:
        """Try once a minute, at each look while it is refused, and wait a moment for the answer.

        An answer that comes later is seen at the next look.
        """
        if self._target.worker_role is None:
            return
        now = asyncio.get_running_loop().time()
        again = AGAIN_SECONDS if self.refused is None else REFUSED_AGAIN_SECONDS
        if self._tried_at is None or now - self._tried_at >= again:
            self._tried_at = now
            await self.stop()
            self._trying = asyncio.create_task(self._try(), name="workers' login")
        if self._trying is not None:
            await asyncio.wait([self._trying], timeout=ANSWER_SECONDS)

    async def stop(self) -> None:
        """End a try that is under way."""
        if self._trying is not None:
            self._trying.cancel()
            await asyncio.wait([self._trying])
        self._trying = None

    async def _try(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._connect()
        except EXPECTED as error:
            blocked = blocked_by(error)
            rejected = blocked.reason is Reason.CREDENTIALS_REJECTED
            self.refused = blocked if rejected else None
        else:
            self.refused = None

    async def _connect(self) -> None:
        # The pods' certificates are where the pods are; ours are the same ones.
        ours = replace(self._target, uri=self._target.pods_uri)
        with uri_with_certificates(ours) as uri:
            endpoint = Endpoint(lambda: uri, pooled=True, application_name=APPLICATION_NAME)
            connection = await connect_async(endpoint, psycopg.AsyncConnection)
        await connection.close()
