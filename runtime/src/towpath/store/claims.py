"""A worker's turn: completions and claims in one round trip and one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from towpath.domain.ids import (
    QueueName,
    Seq,
    WorkerId,
    WorkflowId,
    WorkflowName,
    format_generated_id,
)
from towpath.domain.status import WorkflowStatus, is_legal
from towpath.store.session import Call, Row, Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. `output` is the encoded value or the recorded failure."""

    seq: Seq
    attempt: int
    queue: QueueName
    status: WorkflowStatus
    output: str | None

    def __post_init__(self) -> None:
        """Hold to the table of transitions: an attempt that runs is PENDING."""
        if not is_legal(WorkflowStatus.PENDING, self.status) or not self.status.ended:
            raise ValueError(f"an attempt cannot end as {self.status}")


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """Take at most `limit` workflows from a queue, under the settings of this revision.

    `shared` says that the settings limit all workers together, so that the gate must be locked.
    """

    queue: QueueName
    limit: int
    revision: int
    shared: bool


@dataclass(frozen=True, slots=True)
class Claimed:
    """A workflow that this worker is to run now."""

    seq: Seq
    attempt: int
    workflow_id: WorkflowId
    queue: QueueName
    name: WorkflowName
    codec: str
    input: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one round trip of a worker does."""

    worker: WorkerId
    names: Sequence[WorkflowName]
    outcomes: Sequence[Outcome] = ()
    claims: Sequence[ClaimRequest] = ()
    hand_back: Sequence[tuple[Seq, int]] = ()
    announce: Sequence[QueueName] = ()
    fall_asleep: Sequence[QueueName] = ()
    wake_up: Sequence[QueueName] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (
            self.outcomes or self.claims or self.hand_back or self.fall_asleep or self.wake_up
        )


@dataclass(frozen=True, slots=True)
class TurnResult:
    """What a turn did. `stale` are outcomes whose attempt no longer held its place."""

    claimed: dict[QueueName, list[Claimed]] = field(default_factory=dict)
    stale: frozenset[tuple[Seq, int]] = frozenset()


async def take_turn(session: Session, statements: Statements, turn: Turn) -> TurnResult:
    """Write the outcomes, then claim, in the order of locks that claims.sql states."""
    calls: list[Call] = [(statements["hold_worker"], {"worker": turn.worker})]
    if turn.outcomes:
        calls.append(_complete(statements, turn.outcomes))
    completed_at = len(calls) - 1
    if turn.hand_back:
        calls.append(_hand_back(statements, turn.hand_back))
    requests = sorted(turn.claims, key=lambda request: request.queue)
    gates = [(statements["lock_gate"], {"queue": r.queue}) for r in requests if r.shared]
    calls += gates
    first_claim = len(calls)
    calls += [_claim(statements, turn, request) for request in requests]
    calls += _sleep_calls(statements, turn)
    results = await session.run(*calls)
    stale = frozenset[tuple[Seq, int]]()
    if turn.outcomes:
        written = {(row[0], row[1]) for row in results[completed_at]}
        stale = frozenset((o.seq, o.attempt) for o in turn.outcomes) - written
    claimed = {
        request.queue: [_claimed(row) for row in rows]
        for request, rows in zip(requests, results[first_claim:], strict=False)
    }
    return TurnResult(claimed, stale)


def _complete(statements: Statements, outcomes: Sequence[Outcome]) -> Call:
    ordered = sorted(outcomes, key=lambda outcome: outcome.seq)
    return statements["complete"], {
        "seqs": [o.seq for o in ordered],
        "attempts": [o.attempt for o in ordered],
        "statuses": [o.status.value for o in ordered],
        "outputs": [o.output for o in ordered],
    }


def _hand_back(statements: Statements, attempts: Sequence[tuple[Seq, int]]) -> Call:
    ordered = sorted(attempts)
    return statements["hand_back"], {
        "seqs": [seq for seq, _ in ordered],
        "attempts": [attempt for _, attempt in ordered],
    }


def _claim(statements: Statements, turn: Turn, request: ClaimRequest) -> Call:
    return statements["claim"], {
        "worker": turn.worker,
        "queue": request.queue,
        "revision": request.revision,
        "limit": request.limit,
        "names": list(turn.names),
    }


def _sleep_calls(statements: Statements, turn: Turn) -> list[Call]:
    calls: list[Call] = []
    for name, queues in (("fall_asleep", turn.fall_asleep), ("wake_up", turn.wake_up)):
        if queues:
            calls.append((statements[name], {"worker": turn.worker, "queues": sorted(queues)}))
    if turn.announce:
        calls.append(
            (
                statements["announce"],
                {"queues": sorted(turn.announce)},
            )
        )
    return calls


def _claimed(row: Row) -> Claimed:
    seq, attempt, chosen_id, secret, queue, name, codec, text = row
    return Claimed(
        seq, attempt, chosen_id or format_generated_id(seq, secret), queue, name, codec, text
    )


async def hand_back_unknown(
    session: Session,
    statements: Statements,
    *,
    worker: WorkerId,
    queues: Sequence[QueueName],
    known: Sequence[tuple[Seq, int]],
) -> None:
    """Give back what a claim took whose answer was lost with the connection.

    `known` are the attempts that the worker knows of.
    """
    parameters = {
        "worker": worker,
        "queues": list(queues),
        "seqs": [seq for seq, _ in known],
        "attempts": [attempt for _, attempt in known],
    }
    await session.run(
        (statements["lock_worker"], {"worker": worker}),
        (statements["hand_back_unknown"], parameters),
    )
