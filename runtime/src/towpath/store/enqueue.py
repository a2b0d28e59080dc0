"""Starting workflows: one round trip, whatever the options; all or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from towpath.domain.errors import (
    EnqueueOptionError,
    QueueClosedError,
    QueueDeduplicatedError,
    QueueNotFoundError,
    TowpathError,
    WorkflowIdConflictError,
)
from towpath.domain.ids import (
    QueueName,
    Seq,
    WorkflowId,
    WorkflowName,
    format_generated_id,
)
from towpath.store.session import Row, Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """One workflow that is enqueued, with its options.

    Attributes:
        input: Encoded.
        secret: 64 random bits, signed.
        delay_seconds: How long it waits before it joins the line.
        start_at: When it joins the line; not beside delay_seconds.
        timeout_seconds: How long after its first start it is cancelled; 0: not even with its parent.
        refuse_duplicate: Whether a held deduplication id is an error, rather than reported.
    """

    input: str
    secret: int
    chosen_id: WorkflowId | None = None
    priority: int | None = None
    partition_key: str | None = None
    deduplication_id: str | None = None
    delay_seconds: float | None = None
    start_at: datetime | None = None
    timeout_seconds: float | None = None
    refuse_duplicate: bool = True

    @property
    def plain(self) -> bool:
        """Whether it has no option."""
        return (
            self.chosen_id is None
            and self.priority is None
            and self.partition_key is None
            and self.deduplication_id is None
            and self.delay_seconds is None
            and self.start_at is None
            and not self.timeout_seconds
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWorkflows:
    """Workflows of one name for one queue, enqueued together.

    Attributes:
        version: The application version that alone may run them; empty for any.
        many: Whether a parent records a list of children rather than one.
        notify: Whether sleeping workers are called whatever this statement sees of them: in a
            transaction that goes on, one may fall asleep before it commits.
    """

    queue: QueueName
    name: WorkflowName
    codec: str
    items: Sequence[NewItem]
    version: str = ""
    many: bool = False
    notify: bool = False


@dataclass(frozen=True, slots=True)
class Enqueued:
    """A workflow that is in the store now. `created`: this call put it there."""

    seq: Seq
    workflow_id: WorkflowId
    created: bool


@dataclass(frozen=True, slots=True)
class ParentStep:
    """The place in a running workflow from which a child is started."""

    seq: Seq
    attempt: int
    position: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was written. `stale`: the parent's attempt holds its place no more, or its step is recorded."""

    error: TowpathError | None = field(default=None)
    stale: bool = False


async def enqueue(
    session: Session,
    statements: Statements,
    new: NewWorkflows,
    *,
    parent: ParentStep | None = None,
) -> list[Enqueued] | Refused:
    """Write workflows, all or none; where one is a duplicate, return the one that it is the same as.

    With a parent, the children and the parent's step record are one transaction.
    """
    if len(new.items) == 1 and parent is None and not new.version and not new.notify:
        item = new.items[0]
        if item.plain and (seq := await _enqueue_plain(session, statements, new, item)) is not None:
            return [Enqueued(seq, format_generated_id(seq, item.secret), created=True)]
    if not new.items:
        return []
    timed = parent is not None or any(item.timeout_seconds for item in new.items)
    statement = statements["enqueue_timed" if timed else "enqueue_items"]
    (rows,) = await session.run((statement, _parameters(new, parent)))
    return answer_of(new, rows)


def answer_of(new: NewWorkflows, rows: list[Row]) -> list[Enqueued] | Refused:
    """Read what a function of the schema answered: a row an item, or the one that says why not."""
    if rows[0][1] in ("created", "exists", "deduplicated") and len(rows) == len(new.items):
        refused = _duplicate(new, rows[0])
        return refused or [_enqueued(item, row) for item, row in zip(new.items, rows, strict=True)]
    return refusal(new, rows[0])


async def _enqueue_plain(
    session: Session, statements: Statements, new: NewWorkflows, item: NewItem
) -> Seq | None:
    parameters = {
        "queue": new.queue,
        "name": new.name,
        "codec": new.codec,
        "input": item.input,
        "secret": item.secret,
    }
    (rows,) = await session.run((statements["enqueue"], parameters))
    return Seq(rows[0][0]) if rows else None


def _parameters(new: NewWorkflows, parent: ParentStep | None) -> dict[str, object]:
    items = new.items
    return {
        "queue": new.queue,
        "name": new.name,
        "codec": new.codec,
        "version": new.version,
        "inputs": [i.input for i in items],
        "secrets": [i.secret for i in items],
        "ids": _column([i.chosen_id for i in items]),
        "priorities": _column([i.priority for i in items]),
        "keys": _column([i.partition_key for i in items]),
        "deduplication_ids": _column([i.deduplication_id for i in items]),
        "delays": _column([i.delay_seconds for i in items]),
        "dues": _column([i.start_at for i in items]),
        "timeouts": _column([i.timeout_seconds for i in items]),
        "refuse_duplicates": [i.refuse_duplicate for i in items],
        "parent": parent and parent.seq,
        "attempt": parent and parent.attempt,
        "position": parent and parent.position,
        "many": new.many,
        "notify": new.notify,
    }


def _column(values: list[object]) -> list[object] | None:
    """Leave out an option that no item has."""
    return None if all(value is None for value in values) else values


def _enqueued(item: NewItem, row: Row) -> Enqueued:
    _, outcome, seq, workflow_id, _ = row
    if outcome == "created":
        chosen = item.chosen_id or format_generated_id(seq, item.secret)
        return Enqueued(seq, chosen, created=True)
    return Enqueued(seq, workflow_id, created=False)


def _duplicate(new: NewWorkflows, row: Row) -> Refused | None:
    """Tell a single refused duplicate from a reported one: both come as one row."""
    if row[1] != "deduplicated" or len(new.items) > 1 or not new.items[0].refuse_duplicate:
        return None
    return refusal(new, row)


def refusal(new: NewWorkflows, row: Row) -> Refused:
    """Read the row that says why nothing was written."""
    number, outcome, _, workflow_id, detail = row
    if outcome == "stale":
        return Refused(stale=True)
    error = error_of(new, new.items[number - 1], outcome, workflow_id, detail)
    if new.many and outcome not in ("unknown queue", "closed"):
        error.add_note(f"in item {number - 1} of enqueue_many, counted from 0")
    return Refused(error)


def error_of(
    new: NewWorkflows, item: NewItem, outcome: str, workflow_id: str, detail: list[str]
) -> TowpathError:
    """Return the error of an item that was refused."""
    match outcome:
        case "unknown queue":
            return QueueNotFoundError(queue_name=new.queue, nearest=detail)
        case "closed":
            return QueueClosedError(queue_name=new.queue)
        case "refused":
            field, _, allowed = detail
            values = {"queue_partition_key": "partition_key"}
            value = getattr(item, values.get(field, field))
            return EnqueueOptionError(
                queue_name=new.queue, field=field, value=value, allowed=allowed
            )
        case "id conflict":
            name, queue = detail
            return WorkflowIdConflictError(
                workflow_id=workflow_id, asked=(new.name, new.queue), existing=(name, queue)
            )
        case "deduplicated":
            return QueueDeduplicatedError(
                workflow_id=workflow_id, queue_name=new.queue, deduplication_id=detail[0]
            )
    raise ValueError(f"enqueue_items answered {outcome!r}")
