"""A workflow as the model has it, wherever it stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from towpath.domain.ids import QueueName, Seq, WorkerId

BEGUN = 1 << 32
WAITS = ("DELAYED", "ENQUEUED")
OPEN = (*WAITS, "PENDING")
RESUMABLE = ("CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")


@dataclass
class Workflow:
    """A workflow; `state` is parked, ready, running, ended or gone."""

    seq: Seq
    queue: QueueName
    name: str
    version: str
    rank: int
    first_rank: int
    line: int
    key: str | None = None
    first_key: str | None = None
    deduplication_id: str | None = None
    chosen_id: str | None = None
    state: str = "ready"
    status: str = ""
    attempt: int = 0
    recoveries: int = 0
    due: datetime | None = None
    worker: WorkerId | None = None
    fenced: bool = False
    resumed_line: int | None = None
    progress: bool = False
    forgotten: bool = False
    started_at: datetime | None = None

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands in its line."""
        return self.rank, self.line

    @property
    def there(self) -> bool:
        """Whether it was not deleted."""
        return self.state != "gone" and not self.forgotten

    @property
    def visible_status(self) -> str:
        """The status that people see."""
        if self.state == "parked":
            return "DELAYED"
        if self.state == "running" and not self.fenced:
            return "PENDING"
        return self.status or "ENQUEUED"


def fresh(rank: int) -> int:
    """Return a rank without the precedence of what has begun."""
    return rank + BEGUN if rank < -(1 << 31) else rank
