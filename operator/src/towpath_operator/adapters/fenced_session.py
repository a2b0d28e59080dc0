"""Runs statements that change a database, in the name of the operator that leads.

Each transaction begins by the statement `lead`, which carries the epoch of this operator's Lease: where
a later leader has written, it fails, and with it everything that came along.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg import sql

from towpath.store.session import AsyncSession, Call, Row, Session
from towpath.store.statements import Statements
from towpath_operator.ports.fence import Fence

STALE: Final = "TP007"
"""The SQLSTATE of `lead` where a later leader has written."""


class FencedSession:
    """A session whose every `run` is one transaction that only the leader's can be."""

    def __init__(self, session: Session, statements: Statements, fence: Fence) -> None:
        self._session = session
        self._lead = statements["lead"]
        self._fence = fence

    async def run(self, *calls: Call) -> Sequence[list[Row]]:
        """Run the calls in order and return the rows of each; nothing of it where we do not lead."""
        self._fence.check()
        epoch = self._fence.epoch
        if epoch is None:
            return await self._session.run(*calls)
        leading = (self._lead, {"lease": epoch.lease, "epoch": epoch.number})
        try:
            _, *results = await self._session.run(leading, *calls)
        except psycopg.Error as error:
            if error.sqlstate == STALE:
                self._fence.lose("a later leader has written to the database")
                self._fence.check()
            raise
        return results


async def make_sure(
    connection: psycopg.AsyncConnection[Any], statements: Statements, fence: Fence
) -> None:
    """Hold the right to write until the connection's transaction ends.

    For work that runs its transactions itself, as a migration does; it is called first in each of them.
    A schema that has no table of operators yet knows no later leader either.
    """
    fence.check()
    if fence.epoch is None:
        return
    found = await connection.execute("SELECT to_regclass(%s) IS NOT NULL", [_table(statements)])
    if await found.fetchone() == (True,):
        await FencedSession(AsyncSession(connection), statements, fence).run()


def _table(statements: Statements) -> str:
    return sql.Identifier(statements.schema, "operator").as_string()
