"""What a look found of a schema itself: its migrations, the rights of the workers' login, its retention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from towpath.domain.queue import Retention
from towpath_operator.model.conditions import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaPhase:
    """One phase of the schema's migrations; the message says what is to come, and for whom it waits."""

    state: Literal["Applied", "Pending", "Waits"] = "Applied"
    message: str = ""

    def to_status(self) -> dict[str, str]:
        """Return what the status says of it."""
        said = {"state": self.state, "message": self.message}
        return {name: text for name, text in said.items() if text}


APPLIED = SchemaPhase()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRights:
    """What is amiss with the rights of the workers' login.

    Attributes:
        exists: Whether Postgres has the login.
        missing: What it may not do and should, such as `INSERT on queue`.
        excess: What it is or may do beyond that, such as `is a superuser`.
    """

    exists: bool = True
    missing: tuple[str, ...] = ()
    excess: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaFacts:
    """A schema beside its rows.

    Attributes:
        pre: What comes before new code.
        post: What takes away that which older code needs, once no worker of it lives.
        migrating: Whether it is being migrated by this process.
        failure: Why this process's last migration ended early, if it did.
        rights: The rights of the workers' login; None where they have none of their own.
        retention: How long ended workflows are kept where their queue does not say; None where unknown.
    """

    pre: SchemaPhase = APPLIED
    post: SchemaPhase = APPLIED
    migrating: bool = False
    failure: tuple[Reason, str] | None = None
    rights: WorkerRights | None = None
    retention: Retention | None = None
