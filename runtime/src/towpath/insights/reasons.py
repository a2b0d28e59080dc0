"""Which limit holds a queue or a workflow back: a pure decision over what was seen at one moment.

The first reason is the one that a reader is told first: what a person must change comes before what
changes by itself, and the queue's own limits before those of its workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from towpath.domain.ids import INTERNAL_QUEUE
from towpath.domain.status import WorkflowStatus
from towpath.insights import waits
from towpath.insights.words import agree, duration, starts
from towpath.store.insights import HEADS_LOOKED_AT, Seen, SeenHead, SeenWorker, SeenWorkflow


class Kind(StrEnum):
    """What holds back. The values are stable: programs read them in JSON."""

    NOTHING_WAITS = "nothing_waits"
    DELAYED = "delayed"
    PAUSED = "paused"
    NO_WORKER = "no_worker"
    NAME_NOT_REGISTERED = "name_not_registered"
    OTHER_VERSION = "other_version"
    CONCURRENCY = "concurrency"
    CANCELLED_CODE = "cancelled_code"
    OWN_CHILDREN = "own_children"
    LIMITER = "limiter"
    PARTITION = "partition"
    PARTITION_LIMITER = "partition_limiter"
    WORKER_CONCURRENCY = "worker_concurrency"
    SLOTS = "slots"
    IN_LINE = "in_line"
    RUNNING = "running"
    WAITS = "waits"
    LEASE_ENDED = "lease_ended"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """What holds back.

    Attributes:
        used: How much of the limit is taken; None where it is no number.
        limit: The limit; None where there is none.
        seconds: Until it may change by itself; None where that is not known.
        partition_key: The partition that it is about.
        holders: Ids of workflows that hold it, three at most.
    """

    kind: Kind
    sentence: str
    used: int | None = None
    limit: int | None = None
    seconds: float | None = None
    partition_key: str | None = None
    holders: tuple[str, ...] = ()


def why_queue(seen: Seen) -> tuple[Reason, ...]:
    """Return what holds a queue back now, first things first; there is at least one answer."""
    overdue = seen.due_seconds is not None and seen.due_seconds <= 0
    if not seen.waiting and not overdue:
        if seen.awake:
            return (_of_awake(seen),)
        return (*_paused(seen), _nothing_waits(seen))
    if reasons := tuple(_of_queue(seen)) or _of_heads(seen, seen.heads):
        return reasons
    if not seen.waiting:
        sentence = "what is due joins the line at a worker's next look"
    elif seen.heads:
        sentence = "nothing holds them back: workers take them now"
    else:
        sentence = "partitioning was switched: they join the line at a worker's next look"
    return (Reason(kind=Kind.IN_LINE, sentence=sentence, seconds=0),)


def why_workflow(seen: Seen, workflow: SeenWorkflow) -> tuple[Reason, ...]:
    """Return where a workflow stands, or what holds it back, first things first."""
    if workflow.status.ended:
        return (_ended(workflow),)
    if workflow.status is WorkflowStatus.PENDING:
        return _asleep(seen, workflow) if workflow.asleep else (_running(seen, workflow),)
    if workflow.fenced:
        return (_resumed(),)
    if workflow.due_seconds is not None and workflow.due_seconds > 0:
        return (_delayed(workflow, workflow.due_seconds), *_paused(seen))
    return tuple(_of_queue(seen)) or _in_its_place(seen, workflow)


# -- what is known without looking at the line


def _nothing_waits(seen: Seen) -> Reason:
    runs = f"; {begun}" if (begun := waits.who_is_begun(seen)) else ""
    closed = "; the queue is closed and takes no new ones" if seen.closed else ""
    if seen.due_seconds is None:
        return Reason(kind=Kind.NOTHING_WAITS, sentence=f"nothing waits{runs}{closed}")
    first = "it" if seen.delayed == 1 else "the first"
    sentence = (
        f"nothing waits but {agree(seen.delayed, 'delayed workflow', 'delayed workflows')}: "
        f"{first} is due in {duration(seen.due_seconds)}{runs}{closed}"
    )
    return Reason(kind=Kind.DELAYED, sentence=sentence, seconds=seen.due_seconds)


def _delayed(workflow: SeenWorkflow, seconds: float) -> Reason:
    at = "" if workflow.due is None else f", at {workflow.due.isoformat(timespec='milliseconds')}"
    sentence = f"delayed: due in {duration(seconds)}{at}"
    return Reason(kind=Kind.DELAYED, sentence=sentence, seconds=seconds)


def _ended(workflow: SeenWorkflow) -> Reason:
    code = "; its code has not ended yet and keeps its place" if workflow.fenced else ""
    return Reason(kind=Kind.ENDED, sentence=f"it has ended: {workflow.status}{code}")


def _resumed() -> Reason:
    sentence = "it was resumed, and joins the line when the code of its cancelled attempt has ended"
    return Reason(kind=Kind.CANCELLED_CODE, sentence=sentence)


def _running(seen: Seen, workflow: SeenWorkflow) -> Reason:
    lease = workflow.worker_lease_seconds
    where = "" if workflow.worker is None else f" on worker {workflow.worker!r}"
    attempt = f"attempt {workflow.attempt}{where}"
    if lease is None or lease <= 0:
        lost = f"{attempt} has lost its worker"
        if not _live(seen):
            return Reason(
                kind=Kind.LEASE_ENDED, sentence=f"{lost}, and {_no_worker(seen).sentence}"
            )
        sentence = f"{lost}: a live worker puts the workflow back in line"
        return Reason(kind=Kind.LEASE_ENDED, sentence=sentence, seconds=0)
    draining = ", which drains" if workflow.worker_draining else ""
    if workflow.waits:
        sentence = f"{attempt}{draining} {waits.what_for(workflow.waits)}"
        return Reason(
            kind=Kind.WAITS, sentence=sentence, seconds=waits.seconds_left(workflow.waits)
        )
    ran = duration(workflow.started_seconds or 0)
    return Reason(kind=Kind.RUNNING, sentence=f"it runs: {attempt}{draining}, for {ran}")


def _asleep(seen: Seen, workflow: SeenWorkflow) -> tuple[Reason, ...]:
    """Return what a workflow waits for that no worker has in memory, or why it does not go on."""
    if workflow.waits and not any(wait.over for wait in workflow.waits):
        sentence = f"it {waits.what_for(workflow.waits)}; until then it is in no worker's memory"
        reason = Reason(
            kind=Kind.WAITS, sentence=sentence, seconds=waits.seconds_left(workflow.waits)
        )
        return (reason,) if _live(seen) else (reason, _no_worker(seen))
    it = SeenHead(workflow_id=workflow.workflow_id, name=workflow.name, version=workflow.version)
    over = Reason(kind=Kind.WAITS, sentence="its wait is over", seconds=0)
    return (over, _of_awake(seen, it))


def _of_awake(seen: Seen, head: SeenHead | None = None) -> Reason:
    """Return what holds back those whose wait is over: little, since they have begun, paused or not."""
    live = _live(seen)
    if not live:
        return _no_worker(seen)
    if head is not None and not any(_fits(w, head) for w in live):
        return _nobody_takes(seen, live, head)
    if seen.settings.release_while_waiting and (full := next(_concurrency(seen), None)):
        return full
    sentence = "workers go on with them now" if head is None else "a worker goes on with it now"
    return Reason(kind=Kind.WAITS, sentence=sentence, seconds=0)


def _in_its_place(seen: Seen, workflow: SeenWorkflow) -> tuple[Reason, ...]:
    """Return what holds the line back, and how far it is to the front where that says more."""
    reasons = _of_heads(seen, seen.heads)
    if reasons and not workflow.before:
        return reasons
    return (*reasons, _in_line(seen, workflow))


def _in_line(seen: Seen, workflow: SeenWorkflow) -> Reason:
    if not workflow.ready:
        sentence = "it is due and joins the line at a worker's next look"
    elif seen.settings.partition_queue != (workflow.key is not None):
        sentence = "partitioning was switched: it joins the line at a worker's next look"
    elif workflow.before:
        of = "" if workflow.key is None else f" in partition {workflow.key!r}"
        sentence = f"it is in line{of}: {agree(workflow.before, 'is', 'are')} before it"
    else:
        sentence = "it is the first in line: a worker takes it now"
    return Reason(
        kind=Kind.IN_LINE, sentence=sentence, used=workflow.before if workflow.ready else None
    )


# -- what holds everything of a queue back


def _of_queue(seen: Seen) -> Iterator[Reason]:
    """Yield what holds back whatever waits; no limit is looked at while nobody can start anything."""
    yield from _paused(seen)
    live = _live(seen)
    if not live:
        yield _no_worker(seen)
    elif seen.heads and not any(_fits(w, h) for w in live for h in seen.heads):
        yield _nobody_takes(seen, live, seen.heads[0])


def _paused(seen: Seen) -> Iterator[Reason]:
    if seen.paused:
        sentence = f"paused: nothing starts until it is resumed (towpath queue resume {seen.queue})"
        yield Reason(kind=Kind.PAUSED, sentence=sentence)


def _live(seen: Seen) -> list[SeenWorker]:
    return [w for w in seen.workers if w.lease_seconds > 0 and not w.draining]


def _fits(worker: SeenWorker, head: SeenHead) -> bool:
    return head.name in worker.names and head.version in {"", worker.version}


def _served(seen: Seen) -> str:
    return "direct calls" if seen.queue == INTERNAL_QUEUE else f"queue {seen.queue!r}"


def _no_worker(seen: Seen) -> Reason:
    dead = sum(w.lease_seconds <= 0 for w in seen.workers)
    draining = len(seen.workers) - dead
    others = [
        f"{number} {what}" for number, what in ((draining, "draining"), (dead, "dead")) if number
    ]
    beside = f" ({', '.join(others)})" if others else ""
    sentence = f"no live worker serves {_served(seen)}{beside}"
    return Reason(kind=Kind.NO_WORKER, sentence=sentence, used=0)


def _nobody_takes(seen: Seen, live: Sequence[SeenWorker], head: SeenHead) -> Reason:
    first = ""
    if seen.workflow is not None and head.workflow_id != seen.workflow.workflow_id:
        first = f"partition {head.key!r}: workflow {head.workflow_id!r} is before it, and "
    knowing = [w for w in live if head.name in w.names]
    if not knowing:
        of = f"of {_served(seen)}"
        nobody = f"none of the {len(live)} live workers {of} has"
        if len(live) == 1:
            nobody = f"the one live worker {of} has not"
        sentence = f"{first}{nobody} registered a workflow named {head.name!r}"
        return Reason(
            kind=Kind.NAME_NOT_REGISTERED, sentence=sentence, used=0, partition_key=head.key
        )
    there = sorted({w.version for w in knowing if w.version})
    running = f"run {', '.join(map(repr, there))}" if there else "have no version"
    sentence = (
        f"{first}workflow {head.name!r} is for application version {head.version!r}; "
        f"its live workers {running}"
    )
    return Reason(kind=Kind.OTHER_VERSION, sentence=sentence, used=0, partition_key=head.key)


# -- limits


def _of_heads(seen: Seen, heads: Sequence[SeenHead]) -> tuple[Reason, ...]:
    """Return the limits that hold back every head which some live worker could run."""
    live = _live(seen)
    takeable = [h for h in heads if any(_fits(w, h) for w in live)]
    free = [h for h in takeable if _partition(seen, h) is None]
    reasons = [*_concurrency(seen), *_limiter(seen)]
    if takeable and not free and not (len(heads) >= HEADS_LOOKED_AT and seen.tickets):
        reasons.append(_partitions(seen, takeable))
    able = [w for w in live if any(_fits(w, h) for h in free or takeable)]
    if able:
        reasons += _workers(seen, able)
    return tuple(reasons)


def _concurrency(seen: Seen) -> Iterator[Reason]:
    limit = seen.settings.concurrency
    if limit is None or seen.taken < limit:
        return
    kind, beside = Kind.CONCURRENCY, ""
    if seen.fenced and seen.taken - seen.fenced < limit:
        kind = Kind.CANCELLED_CODE
        beside = f", {seen.fenced} of them by cancelled workflows whose code has not ended"
    elif waits.waits_for_itself(seen):
        kind, beside = Kind.OWN_CHILDREN, waits.of_itself(seen)
    elif seen.waiting_loaded or seen.sleeping:
        beside = f": {waits.who_is_begun(seen)}"
    itself = kind is Kind.OWN_CHILDREN
    yield Reason(
        kind=kind,
        sentence=f"concurrency: {seen.taken} of {limit} places are taken{beside}",
        used=seen.taken,
        limit=limit,
        seconds=seen.tied_seconds if itself else None,
        holders=tuple(holder for holder, _ in seen.tied_to) if itself else (),
    )


def _limiter(seen: Seen) -> Iterator[Reason]:
    limiter = seen.settings.limiter
    if limiter is None or seen.tokens != 0:
        return
    sentence, seconds = starts(
        limiter.limit, limiter.period.total_seconds(), seen.opens_seconds or 0
    )
    yield Reason(
        kind=Kind.LIMITER,
        sentence=f"limiter: {sentence}",
        used=limiter.limit,
        limit=limiter.limit,
        seconds=seconds,
    )


def _partition(seen: Seen, head: SeenHead) -> Reason | None:
    """Return what holds back one partition; None where nothing does, or there are none."""
    if head.key is None:
        return None
    if head.key_running >= (seen.settings.partition_concurrency or 1):
        return _busy(seen, head)
    limiter = seen.settings.partition_limiter
    if limiter is None or head.key_tokens != 0:
        return None
    sentence, seconds = starts(
        limiter.limit, limiter.period.total_seconds(), head.key_opens_seconds or 0
    )
    return Reason(
        kind=Kind.PARTITION_LIMITER,
        sentence=f"partition {head.key!r}: limiter: {sentence}",
        used=limiter.limit,
        limit=limiter.limit,
        seconds=seconds,
        partition_key=head.key,
    )


def _busy(seen: Seen, head: SeenHead) -> Reason:
    limit = seen.settings.partition_concurrency or 1
    who = "workflow" if len(head.key_holders) == 1 else "workflows"
    more = ", ..." if head.key_running > len(head.key_holders) else ""
    return Reason(
        kind=Kind.PARTITION,
        sentence=f"partition {head.key!r}: {head.key_running} of {limit} running: "
        f"{who} {', '.join(map(repr, head.key_holders))}{more}{waits.of_holders(head)}",
        used=head.key_running,
        limit=limit,
        partition_key=head.key,
        holders=head.key_holders,
    )


def _partitions(seen: Seen, heads: Sequence[SeenHead]) -> Reason:
    """Return the reason of the partition that may start something first; all are held back."""
    reasons = [reason for h in heads if (reason := _partition(seen, h)) is not None]
    first = min(reasons, key=lambda r: float("inf") if r.seconds is None else r.seconds)
    if len(reasons) == 1 or seen.workflow is not None:
        return first
    number = len(heads) if len(heads) < HEADS_LOOKED_AT else f"the first {HEADS_LOOKED_AT}"
    return Reason(
        kind=first.kind,
        sentence=f"all {number} partitions that wait are held back: {first.sentence}",
        used=first.used,
        limit=first.limit,
        seconds=first.seconds,
        partition_key=first.partition_key,
        holders=first.holders,
    )


def _workers(seen: Seen, able: Sequence[SeenWorker]) -> Iterator[Reason]:
    """Yield what holds back each of the workers that could run it, if all are held back."""
    limit = seen.settings.worker_concurrency
    full = [w for w in able if limit is not None and w.running_here >= limit]
    busy = [w for w in able if w.slots_taken >= w.slots and w not in full]
    if len(full) + len(busy) < len(able):
        return
    if not busy:
        each = (
            "the live worker runs" if len(able) == 1 else f"each of {len(able)} live workers runs"
        )
        yield Reason(
            kind=Kind.WORKER_CONCURRENCY,
            sentence=f"worker_concurrency: {each} {limit} of {limit}",
            used=sum(w.running_here for w in able),
            limit=(limit or 0) * len(able),
        )
        return
    used, slots = sum(min(w.slots_taken, w.slots) for w in busy), sum(w.slots for w in busy)
    rest = f"; {len(full)} more run {limit} of {limit} (worker_concurrency)" if full else ""
    workers = (
        "the live worker" if len(able) == 1 else agree(len(busy), "live worker", "live workers")
    )
    sentence = f"slots: {used} of {slots} slots of {workers} are taken{rest}"
    yield Reason(kind=Kind.SLOTS, sentence=sentence, used=used, limit=slots)
