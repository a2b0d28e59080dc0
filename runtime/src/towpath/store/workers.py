"""A worker's row, its lease, and what becomes of the workflows of a worker whose lease ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from towpath.domain.ids import QueueName, WorkerId, WorkflowName
from towpath.store.session import Call, Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerIdentity:
    """Who a worker is and what it can do, as written into its row."""

    name: str
    pool: str | None
    pod_uid: str | None
    node: str | None
    version: str
    library: str
    code_hash: str
    slots: int
    queues: Sequence[QueueName]
    names: Sequence[WorkflowName]
    max_recoveries: Sequence[int | None]


@dataclass(frozen=True, slots=True)
class QueueSight:
    """What a poll saw of a queue.

    Attributes:
        waiting: Whether something may be there to claim.
        stray: Whether workflows wait that were enqueued before partitioning was switched.
        due_seconds: When something delayed or asleep becomes due, from now; None where nothing is.
        awake: Whether workflows wait to go on.
    """

    name: QueueName
    revision: int
    waiting: bool
    stray: bool
    due_seconds: float | None
    awake: bool


@dataclass(frozen=True, slots=True)
class Sight:
    """What a poll saw. `alive` is False where somebody ended this worker's lease.

    `dead` says that another worker's lease has run out, `fenced` that a workflow which runs here was
    cancelled, `current_version` which version begins unstamped work, `deadline_seconds` when the next
    deadline of any workflow passes.
    """

    alive: bool
    dead: bool
    fenced: bool
    queues: Sequence[QueueSight]
    current_version: str | None = None
    deadline_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Recovery:
    """What the end of some leases did."""

    workers: Sequence[tuple[WorkerId, str]]
    returned: int
    given_up: int


@dataclass(frozen=True, slots=True)
class EndedInPod:
    """Workers of a pod that are known to run no more.

    Attributes:
        pod_uid: The pod.
        began_before: Those whose row was written before this moment, by the clock of their node;
            None: all of them.
    """

    pod_uid: str
    began_before: datetime | None


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker as people look at it; `slots_taken` of the `running` do not wait."""

    worker_id: WorkerId
    name: str
    pool: str | None
    version: str
    library: str
    queues: Sequence[str]
    names: Sequence[str]
    slots: int
    started_at: datetime
    lease_until: datetime
    draining: bool
    lease_seconds: float
    running: int
    slots_taken: int


async def register(
    session: Session,
    statements: Statements,
    who: WorkerIdentity,
    *,
    lease: timedelta,
    node_time: datetime | None = None,
) -> WorkerId:
    """Write the worker's row and return its id; `node_time` is now, by the clock of its node."""
    (rows,) = await session.run(
        (
            statements["register_worker"],
            {
                "name": who.name,
                "pool": who.pool,
                "pod_uid": who.pod_uid,
                "node": who.node,
                "version": who.version,
                "library": who.library,
                "code_hash": who.code_hash,
                "slots": who.slots,
                "queues": list(who.queues),
                "names": list(who.names),
                "max_recoveries": list(who.max_recoveries),
                "lease_seconds": lease.total_seconds(),
                "node_time": node_time,
            },
        )
    )
    return WorkerId(rows[0][0])


async def update(
    session: Session, statements: Statements, worker: WorkerId, who: WorkerIdentity
) -> None:
    """Write which queues and names the worker serves now."""
    await session.run(
        (
            statements["update_worker"],
            {
                "worker": worker,
                "queues": list(who.queues),
                "names": list(who.names),
                "max_recoveries": list(who.max_recoveries),
            },
        )
    )


async def poll(
    session: Session,
    statements: Statements,
    *,
    worker: WorkerId,
    queues: Sequence[QueueName],
    names: Sequence[WorkflowName],
    versions: Sequence[str],
    lease: timedelta,
) -> Sight:
    """Renew the lease and look at every queue, in one statement."""
    (rows,) = await session.run(
        (
            statements["poll"],
            {
                "worker": worker,
                "queues": list(queues),
                "names": list(names),
                "versions": list(versions),
                "lease_seconds": lease.total_seconds(),
            },
        )
    )
    alive, dead, fenced, version, deadline = rows[0][:5]
    return Sight(
        alive=alive > 0,
        dead=dead,
        fenced=fenced,
        queues=[QueueSight(*row[5:]) for row in rows if row[5] is not None],
        current_version=version,
        deadline_seconds=deadline,
    )


EXPIRED_AT_ONCE = 1000


async def expire(session: Session, statements: Statements) -> tuple[int, bool]:
    """Cancel workflows whose deadline has passed, whoever runs them: how many, and whether that was all."""
    (rows,) = await session.run((statements["expire"], {"limit": EXPIRED_AT_ONCE}))
    looked_at, cancelled = rows[0]
    return cancelled, looked_at < EXPIRED_AT_ONCE


async def begin_draining(session: Session, statements: Statements, worker: WorkerId) -> None:
    """Say in the row that the worker stops; its end counts no recovery from now on."""
    await session.run((statements["begin_draining"], {"worker": worker}))


async def end_dead_leases(session: Session, statements: Statements, *, me: WorkerId) -> Recovery:
    """End every lease that ran out, and return the workflows of those workers to their lines."""
    return await _end(session, statements, (statements["end_leases"], {"me": me}))


async def end_pod_leases(
    session: Session, statements: Statements, ended: Sequence[EndedInPod]
) -> Recovery:
    """End the leases of workers that run no more, and return their workflows to their lines."""
    named = {
        "pod_uids": [one.pod_uid for one in ended],
        "began_before": [one.began_before for one in ended],
    }
    return await _end(session, statements, (statements["end_pod_leases"], named))


async def end_own_lease(session: Session, statements: Statements, worker: WorkerId) -> Recovery:
    """Remove this worker's row; what it still runs returns to its line."""
    named = {"worker": worker}
    # a turn that was cut off may still be under way: what it claims is to be seen by what follows
    waiting = statements["lock_worker"], named
    return await _end(session, statements, waiting, (statements["end_own_lease"], named))


async def _end(session: Session, statements: Statements, *marking: Call) -> Recovery:
    *_, ended, given_back, _, _ = await session.run(
        *marking,
        (statements["give_back"], {}),
        (statements["forget_sleepers"], {}),
        (statements["remove_workers"], {}),
    )
    returned, given_up, _ = given_back[0]
    return Recovery([(row[0], row[1]) for row in ended], returned, given_up)


async def list_workers(session: Session, statements: Statements) -> list[WorkerRow]:
    """Return every worker that has a row."""
    (rows,) = await session.run((statements["list_workers"], {}))
    return [WorkerRow(*row) for row in rows]
