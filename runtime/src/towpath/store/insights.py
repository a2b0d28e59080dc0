"""What holds back a queue or a workflow, as one statement sees it at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from towpath.domain.ids import Seq, storable_text
from towpath.domain.queue import QueueSettings
from towpath.domain.status import WorkflowStatus
from towpath.store import settings as stored
from towpath.store.session import Row, Session
from towpath.store.statements import Statements

HEADS_LOOKED_AT = 100
"""Of so many lines and partitions that wait the head is looked at."""

PLACES_LOOKED_AT = 1000
"""Of so many that hold the places of a queue it is looked at what they wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenWorker:
    """A worker of the queue.

    Attributes:
        lease_seconds: How long its lease still holds; below 0 it is dead.
        running_here: Workflows of this queue that it has in memory.
        slots_taken: Workflows of all queues that it runs and that do not wait.
        names: Those of the heads' names, and of the workflow's that was asked for, that it has registered.
    """

    name: str
    version: str = ""
    slots: int = 10
    draining: bool = False
    lease_seconds: float = 10.0
    running_here: int = 0
    slots_taken: int = 0
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenHead:
    """The first that waits of a name and version, or of a partition (then `key` is not None).

    Attributes:
        key_running: Workflows of the partition that hold a place.
        key_fenced: Those of them that were cancelled and whose code has not ended.
        key_holders: The ids of the first three that hold a place.
        key_waiting: Those that hold a place and wait for something.
        key_tied: Those of them, of the first hundred, that wait for others of this partition alone.
        key_tokens: Starts that the partition's limiter allows now; None without one.
        key_opens_seconds: When it allows the next; below 0 or None: now.
    """

    workflow_id: str
    name: str
    version: str = ""
    key: str | None = None
    key_running: int = 0
    key_fenced: int = 0
    key_holders: tuple[str, ...] = ()
    key_waiting: int = 0
    key_tied: int = 0
    key_tokens: int | None = None
    key_opens_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenWait:
    """Something that a workflow waits for: `kind` is a `WaitKind`'s value.

    Attributes:
        topic: The topic of a message, the key of an event.
        of: The id of the workflow whose event or end it is; None also where that was deleted.
        due: When it is over in any case, in `due_seconds`; None: never.
        over: Whether what it waits for has come, or its time has passed: it goes on.
    """

    kind: str
    topic: str = ""
    of: str | None = None
    due: datetime | None = None
    due_seconds: float | None = None
    over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenWorkflow:
    """The workflow that was asked for.

    Attributes:
        ready: Whether it stands in line.
        due_seconds: When it joins the line, if it is DELAYED.
        fenced: Whether cancelled code of it still runs.
        started_seconds: How long its attempt has run.
        asleep: Whether it waits and no worker has it in memory.
        waits: What it waits for, of several branches the first four.
        before: How many stand before it, in its partition or in the lines that workers take from;
            counted to 10,001.
    """

    workflow_id: str
    name: str
    status: WorkflowStatus
    version: str = ""
    ready: bool = False
    key: str | None = None
    due: datetime | None = None
    due_seconds: float | None = None
    attempt: int = 0
    fenced: bool = False
    started_seconds: float | None = None
    worker: str | None = None
    worker_draining: bool = False
    worker_lease_seconds: float | None = None
    asleep: bool = False
    waits: tuple[SeenWait, ...] = ()
    before: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A queue at one moment, as far as it decides what may start; durations are seconds from now.

    Attributes:
        waiting: ENQUEUED workflows, counted to 10,001.
        delayed: DELAYED workflows, counted to 10,001; the first is due in `due_seconds`.
        running: Workflows that workers have in memory; `fenced` of them were cancelled.
        waiting_loaded: Those of them that wait for something; 0 where more than a thousand run.
        sleeping: Workflows that wait and that no worker has in memory, counted to 10,001 or to the
            queue's concurrency.
        awake: Those of them whose wait is over, counted to 20,002; they are the next to be taken.
        tied: Holders of places, of the first thousand, that wait for others of this queue alone; 0 where
            places are free. The first of them gives up in `tied_seconds`; None: none ever does.
        tied_to: Who of them waits for whom, three pairs of ids at most.
        tokens: Starts that the limiter allows now; None without one.
        opens_seconds: When it allows the next; below 0 or None: now.
        tickets: Whether some partition was found free by the last claim.
        heads: Most urgent first. Where a workflow was asked for: itself, or the head of its partition.
    """

    queue: str
    settings: QueueSettings
    paused: bool = False
    closed: bool = False
    waiting: int = 0
    delayed: int = 0
    due_seconds: float | None = None
    running: int = 0
    fenced: int = 0
    sleeping: int = 0
    waiting_loaded: int = 0
    awake: int = 0
    tied: int = 0
    tied_seconds: float | None = None
    tied_to: tuple[tuple[str, str], ...] = ()
    tokens: int | None = None
    opens_seconds: float | None = None
    tickets: bool = False
    workers: tuple[SeenWorker, ...] = ()
    heads: tuple[SeenHead, ...] = ()
    workflow: SeenWorkflow | None = None

    @property
    def taken(self) -> int:
        """Places of the queue's concurrency that are taken."""
        return self.running + (0 if self.settings.release_while_waiting else self.sleeping)


async def observe(
    session: Session,
    statements: Statements,
    *,
    queue: str | None = None,
    seq: Seq | None = None,
) -> Seen | None:
    """Look at a queue, or at a workflow and its queue; None where the queue has no row."""
    if queue is not None and not storable_text(queue):
        return None
    (rows,) = await session.run((statements["observe"], {"queue": queue, "seq": seq}))
    if not rows:
        return None
    return _seen(rows[0])


def _seen(row: Row) -> Seen:
    (
        name, settings, paused, closed, waiting, delayed, due_seconds,
        running, fenced, sleeping, waiting_loaded, awake, tied, tied_seconds, tied_to,
        tokens, opens_seconds, tickets, workers, heads, workflow,
    ) = row  # fmt: skip
    return Seen(
        queue=name,
        settings=stored.from_json(settings),
        paused=paused,
        closed=closed,
        waiting=waiting,
        delayed=delayed,
        due_seconds=due_seconds,
        running=running,
        fenced=fenced,
        sleeping=sleeping,
        waiting_loaded=waiting_loaded,
        awake=awake,
        tied=tied,
        tied_seconds=tied_seconds,
        tied_to=tuple((holder, awaited) for holder, awaited in tied_to),
        tokens=tokens,
        opens_seconds=opens_seconds,
        tickets=tickets,
        workers=tuple(SeenWorker(**{**w, "names": frozenset(w["names"])}) for w in workers),
        heads=tuple(SeenHead(**{**h, "key_holders": tuple(h["key_holders"])}) for h in heads),
        workflow=None if workflow is None else _workflow(workflow),
    )


def _workflow(seen: Mapping[str, Any]) -> SeenWorkflow:
    return SeenWorkflow(
        **{
            **seen,
            "status": WorkflowStatus(seen["status"]),
            "due": _moment(seen["due"]),
            "waits": read_waits(seen["waits"]),
        }
    )


def read_waits(seen: Sequence[Mapping[str, Any]]) -> tuple[SeenWait, ...]:
    """Return waits as a statement writes them in JSON."""
    return tuple(SeenWait(**{**wait, "due": _moment(wait["due"])}) for wait in seen)


def _moment(written: str | None) -> datetime | None:
    return None if written is None else datetime.fromisoformat(written)
