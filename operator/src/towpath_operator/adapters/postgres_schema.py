"""Looks at a schema beside its rows, and asks no more of the server than may have changed."""

from __future__ import annotations

from typing import Any

import psycopg

from towpath.domain.errors import GrantRefusedError, RoleNotFoundError
from towpath.store.grants import grant, worker_rights
from towpath.store.migrate import Phase, phases
from towpath.store.statements import Statements
from towpath_operator.adapters.fenced_session import make_sure
from towpath_operator.adapters.postgres_migrate import Migrator
from towpath_operator.model.conditions import Reason
from towpath_operator.plan.observed import Blocked, DatabaseTarget
from towpath_operator.plan.schema_facts import APPLIED, SchemaFacts, SchemaPhase, WorkerRights
from towpath_operator.ports.database import DatabaseError
from towpath_operator.ports.fence import Fence

Connection = psycopg.AsyncConnection[Any]


class SchemaWatch:
    """What one process knows of a schema.

    What was applied stays applied, and rights change only with what the catalog says of them (its
    access lists, read in the statement that reads the rows): at rest nothing more is asked.
    """

    def __init__(self, target: DatabaseTarget, migrator: Migrator) -> None:
        self._target = target
        self._migrator = migrator
        self._applied_at: int | None = None
        self._rights: tuple[str | None, WorkerRights] | None = None

    async def look(
        self, connection: Connection, *, version: int | None, access: str | None
    ) -> SchemaFacts:
        """Read the phases and the rights as far as they are not known."""
        pre, post = APPLIED, APPLIED
        if version is None or version != self._applied_at:
            pre, post = map(_phase, await phases(connection, self._target.schema))
            self._applied_at = version if pre == post == APPLIED else None
        return SchemaFacts(
            pre=pre,
            post=post,
            migrating=self._migrator.running,
            failure=self._migrator.failure,
            rights=None if version is None else await self._look_at_rights(connection, access),
        )

    async def _look_at_rights(
        self, connection: Connection, access: str | None
    ) -> WorkerRights | None:
        role = self._target.worker_role
        if role is None:
            return None
        if self._rights is None or self._rights[0] != access or not self._rights[1].exists:
            found = await worker_rights(connection, self._target.schema, role)
            rights = (
                WorkerRights(exists=False)
                if found is None
                else WorkerRights(missing=found.missing, excess=found.excess)
            )
            self._rights = access, rights
        return self._rights[1]


async def grant_workers(connection: Connection, target: DatabaseTarget, fence: Fence) -> None:
    """Give the workers' login the least that it needs, as the leader or not at all."""
    assert target.worker_role is not None  # noqa: S101 - the plan names one
    statements = Statements(target.schema)
    try:
        await grant(
            connection,
            target.schema,
            target.worker_role,
            first=lambda c: make_sure(c, statements, fence),
        )
    except (RoleNotFoundError, GrantRefusedError) as error:
        blocked = Blocked(reason=Reason.CREDENTIALS_REJECTED, message=str(error))
        raise DatabaseError(blocked) from None


def _phase(phase: Phase) -> SchemaPhase:
    """Say how far a phase is; without numbers of workers, which change by themselves."""
    names = ", ".join(phase.pending)
    if not phase.waits_for:
        message = f"{names} is to be applied" if names else ""
        return SchemaPhase(state=phase.state, message=message)
    whom = ", ".join(
        f"{f'pool {one.pool}' if one.pool else 'no pool'} (towpath {one.library})"
        for one in phase.waits_for
    )
    message = f"{names} waits until the older workers of {whom} are gone"
    return SchemaPhase(state=phase.state, message=message)
