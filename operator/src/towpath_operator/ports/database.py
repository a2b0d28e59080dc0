"""The port through which the operator looks at and changes its databases.

Every call has a bound in time (10 s), and a database that does not answer holds up no
call to another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from towpath.domain.deletion import Cleared, Walk
from towpath.domain.queue import QueueSettings, Retention
from towpath_operator.plan.observed import (
    Blocked,
    DatabaseState,
    DatabaseTarget,
    HeldBack,
    Owner,
    QueueCounts,
    QueueRow,
)
from towpath_operator.plan.proof import Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at a database found; the rows and counts are empty where there was a problem."""

    state: DatabaseState
    rows: Mapping[str, QueueRow] = field(default_factory=dict)
    counts: Mapping[str, QueueCounts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What the end of some leases did: whose they were, and what became of their workflows."""

    workers: Sequence[str] = ()
    returned: int = 0
    given_up: int = 0


class Databases(Protocol):
    """Everything that the operator does to databases."""

    async def look(
        self, target: DatabaseTarget, *, cluster: str, queue_names: Sequence[str]
    ) -> Look:
        """Read the schema's version, the rows of a cluster and of some names, and their counts.

        A database that cannot be used is an answer (`state.problem`), never an error.
        """
        ...

    async def count(
        self, target: DatabaseTarget, queue_names: Sequence[str]
    ) -> Mapping[str, QueueCounts]:
        """Count the work of some queues. Raises `DatabaseError`."""
        ...

    async def explain(
        self, target: DatabaseTarget, queue_names: Sequence[str]
    ) -> Mapping[str, HeldBack]:
        """Say of some queues what holds back what waits in them; one without a row is left out.

        Raises `DatabaseError`.
        """
        ...

    async def migrate(self, target: DatabaseTarget) -> None:
        """Bring the schema to this operator's version. Raises `DatabaseError`.

        What takes longer than a moment goes on after the call; a look tells of it, and of its failure.
        """
        ...

    async def grant(self, target: DatabaseTarget) -> None:
        """Give the workers' login the least that it needs in the schema. Raises `DatabaseError`."""
        ...

    async def set_retention(self, target: DatabaseTarget, retention: Retention) -> None:
        """Say how long ended workflows are kept by default. Raises `DatabaseError`."""
        ...

    async def declare(
        self,
        target: DatabaseTarget,
        *,
        queue_name: str,
        settings: QueueSettings,
        paused: bool | None,
        closed: bool | None,
        owner: Owner,
        replaces: str | None,
    ) -> QueueRow:
        """Write a row unless another owner has it; return what it says now. Raises `DatabaseError`.

        `paused` and `closed` are left as they are where they are None.
        """
        ...

    async def release(self, target: DatabaseTarget, *, queue_name: str, owner: Owner) -> None:
        """Free a row if it still records the owner. Raises `DatabaseError`."""
        ...

    async def clear(
        self,
        target: DatabaseTarget,
        *,
        queue_name: str,
        owner: Owner,
        walk: Walk,
        cancels_running: bool,
    ) -> Cleared:
        """Delete a batch of the workflows of an owner's queue, and its row when none is left.

        Raises `DatabaseError`.
        """
        ...

    async def delete_if_empty(
        self, target: DatabaseTarget, *, queue_name: str, owner: Owner, walk: Walk, reopens: bool
    ) -> Cleared:
        """Look on whether an owner's queue has any workflow; delete its row if it has none.

        Where it has some, it is open again with `reopens`. Raises `DatabaseError`.
        """
        ...

    async def listen(self, target: DatabaseTarget) -> bool:
        """Tell whether NOTIFY reaches us, after trying to make it so. Never raises."""
        ...

    async def heard(self, target: DatabaseTarget) -> bool:
        """Wait until a NOTIFY came since the last call; tell whether rows may have changed."""
        ...

    async def ask_for_notify(
        self, target: DatabaseTarget, queue_names: Sequence[str], *, no_longer: Sequence[str]
    ) -> None:
        """Have enqueuers tell us of work in some queues, and no longer in others.

        Raises `DatabaseError`.
        """
        ...

    async def end_leases(self, target: DatabaseTarget, proofs: Sequence[Proof]) -> Ended:
        """End the leases of workers that are proved to run no more. Raises `DatabaseError`."""
        ...

    async def forget(self, target: DatabaseTarget) -> None:
        """Close what is open to a database that is not used any more."""
        ...


class DatabaseError(Exception):
    """A database cannot be used; `blocked` says why in words that hold no secret."""

    def __init__(self, blocked: Blocked) -> None:
        super().__init__(blocked.message)
        self.blocked = blocked
