"""A worker's turn: completions and claims in one round trip and one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from towpath.domain.ids import (
    QueueName,
    Seq,
    WorkerId,
    WorkflowId,
    WorkflowName,
    format_generated_id,
)
from towpath.domain.queue import QueueSettings
from towpath.domain.status import WorkflowStatus, is_legal
from towpath.store.session import Call, Parameters, Row, Session
from towpath.store.statements import Statements

START_MARGIN_SECONDS = 0.02
"""A start is dated so much after its claim; a function that has not begun by then takes a new start."""
LEAST_FOLDED = 100
"""So many changes in partitions a claim looks at, and twice as many as it may take."""


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


class ClaimWay(Enum):
    """By which statements a queue is claimed from; it follows from its settings."""

    FREE = "free"
    """No limit that workers share: no gate."""
    GATED = "gated"
    PARTITIONED = "partitioned"
    AWAKE = "awake"
    """Only what has waited and goes on, whatever the queue's settings."""


def way_of(settings: QueueSettings) -> ClaimWay:
    """Tell by which statements a queue of these settings is claimed from."""
    if settings.partition_queue:
        return ClaimWay.PARTITIONED
    return ClaimWay.GATED if settings.gated else ClaimWay.FREE


Place = tuple[int, int]
"""A rank and a line: where a workflow stands in its queue."""

START_OF_LINE: Place = (-(1 << 62), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """Take at most `limit` workflows from a queue, under the settings of this revision.

    Attributes:
        way: As the settings of the revision have it.
        passed: By name, the place that this worker's last claim passed; the line is looked through
            from there. Names that are not in it are looked through from the start.
        margin: Seconds after the claim by which a limited queue's functions have begun: each start
            is dated so much later than its claim.
        ripen: Whether delayed workflows may be due, and join the line first, and sleeping ones go on.
    """

    queue: QueueName
    limit: int
    revision: int
    way: ClaimWay = ClaimWay.FREE
    passed: Mapping[WorkflowName, Place] = field(default_factory=dict)
    margin: float = START_MARGIN_SECONDS
    ripen: bool = False

    @property
    def gated(self) -> bool:
        """Whether the gate is locked first: some limit is counted that workers share."""
        return self.way is not ClaimWay.FREE


@dataclass(frozen=True, slots=True)
class Claimed:
    """A workflow that this worker is to run now. `place` is where it stood in line."""

    seq: Seq
    attempt: int
    workflow_id: WorkflowId
    queue: QueueName
    name: WorkflowName
    codec: str
    input: str
    place: Place


@dataclass(frozen=True, slots=True)
class Outlook:
    """When a queue may have something to start although nobody calls.

    `seconds` is from now, None where nothing is known to become due; `unfolded` says that partitions
    have changed that no claim has looked at.
    """

    seconds: float | None
    unfolded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one round trip of a worker does. `stamp` is the version that it gives to what has none."""

    worker: WorkerId
    names: Sequence[WorkflowName]
    versions: Sequence[str] = ("",)
    stamp: str = ""
    outcomes: Sequence[Outcome] = ()
    claims: Sequence[ClaimRequest] = ()
    hand_back: Sequence[tuple[Seq, int]] = ()
    gather: Sequence[QueueName] = ()
    trim: Sequence[QueueName] = ()
    outlook: Sequence[QueueName] = ()
    announce: Sequence[QueueName] = ()
    fall_asleep: Sequence[QueueName] = ()
    wake_up: Sequence[QueueName] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (
            self.outcomes or self.claims or self.hand_back or self.fall_asleep or self.wake_up
            or self.gather or self.outlook
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class TurnResult:
    """What a turn did.

    Attributes:
        stale: Outcomes whose attempt no longer held its place.
        ripened: How many delayed workflows joined the line, or sleeping ones can go on, of at most
            1,000 a queue.
        gathered: How many workflows partitioning's switch had left behind, of at most 1,000.
        left_awake: Of those that can go on, the number of the first that was left where it is.
    """

    claimed: dict[QueueName, list[Claimed]] = field(default_factory=dict)
    stale: frozenset[tuple[Seq, int]] = frozenset()
    outlook: dict[QueueName, Outlook] = field(default_factory=dict)
    ripened: dict[QueueName, int] = field(default_factory=dict)
    gathered: dict[QueueName, int] = field(default_factory=dict)
    left_awake: dict[QueueName, int | None] = field(default_factory=dict)


_CLAIMS = {ClaimWay.PARTITIONED: "claim_partitioned", ClaimWay.AWAKE: "claim_awake"}


class _Calls:
    """The calls of a turn in order, with who reads which answer."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self.calls: list[Call] = []
        self._places: dict[tuple[str, str], int] = {}

    def add(self, name: str, parameters: Parameters, of: str = "") -> None:
        self._places[name, of] = len(self.calls)
        self.calls.append((self._statements[name], parameters))

    def rows(self, results: Sequence[list[Row]], name: str, of: str = "") -> list[Row]:
        place = self._places.get((name, of))
        return [] if place is None else results[place]

    def queues(self, name: str) -> list[QueueName]:
        """Name the queues that a statement is called for."""
        return [QueueName(of) for called, of in self._places if called == name]


async def take_turn(session: Session, statements: Statements, turn: Turn) -> TurnResult:
    """Write the outcomes, then claim, in the order of locks that claims.sql states."""
    calls = _Calls(statements)
    requests = sorted(turn.claims, key=lambda request: request.queue)
    queues = [request.queue for request in requests]
    calls.add("hold_worker", {"worker": turn.worker, "queues": queues})
    if turn.outcomes:
        calls.add("complete", _outcomes(turn.outcomes))
    if turn.hand_back:
        calls.add("hand_back", _attempts(turn.hand_back))
    for queue in turn.gather:
        calls.add("gather", {"queue": queue}, queue)
    for request in requests:
        if request.ripen:
            calls.add("ripen", {"queue": request.queue}, request.queue)
            calls.add("rouse", {"queue": request.queue}, request.queue)
    for request in requests:
        if request.gated:
            calls.add("lock_gate", {"queue": request.queue}, request.queue)
    for request in requests:
        _add_claim(calls, turn, request)
    _add_rest(calls, turn)
    if turn.outcomes:
        # last: whoever begins to wait while the turn waits for a gate is told, and nobody waits for its locks
        calls.add("tell_ends", {"seqs": [outcome.seq for outcome in turn.outcomes]})
    return _result(calls, turn, await session.run(*calls.calls))


def _add_claim(calls: _Calls, turn: Turn, request: ClaimRequest) -> None:
    parameters = {
        "worker": turn.worker,
        "queue": request.queue,
        "revision": request.revision,
        "limit": request.limit,
        "names": list(turn.names),
        "versions": list(turn.versions),
        "margin": request.margin,
        "stamp": turn.stamp,
    }
    if request.way is ClaimWay.AWAKE:
        calls.add("claim_awake", parameters, request.queue)
        calls.add("first_awake", parameters, request.queue)
        return
    if request.way is ClaimWay.PARTITIONED:
        # more than are taken, so that all are folded in time; not all at once, which would hold up claims
        most = 2 * request.limit + LEAST_FOLDED
        calls.add("fold", {"queue": request.queue, "most": most}, request.queue)
        calls.add("claim_partitioned", parameters, request.queue)
        return
    passed = [request.passed.get(name, START_OF_LINE) for name in turn.names]
    parameters["from_ranks"] = [rank for rank, _ in passed]
    parameters["from_lines"] = [line for _, line in passed]
    calls.add("claim", parameters, request.queue)


def _add_rest(calls: _Calls, turn: Turn) -> None:
    for name, queues in (("fall_asleep", turn.fall_asleep), ("wake_up", turn.wake_up)):
        if queues:
            calls.add(name, {"worker": turn.worker, "queues": sorted(queues)})
    for name, queues in (("trim_starts", turn.trim), ("outlook", turn.outlook)):
        for queue in queues:
            calls.add(name, {"queue": queue}, queue)
    if turn.announce:
        calls.add("announce", {"queues": sorted(turn.announce)})


def _result(calls: _Calls, turn: Turn, results: Sequence[list[Row]]) -> TurnResult:
    stale = frozenset[tuple[Seq, int]]()
    if turn.outcomes:
        written = {(row[0], row[1]) for row in calls.rows(results, "complete")}
        stale = frozenset((o.seq, o.attempt) for o in turn.outcomes) - written
    claimed = {}
    for request in turn.claims:
        name = _CLAIMS.get(request.way, "claim")
        claimed[request.queue] = [_claimed(r) for r in calls.rows(results, name, request.queue)]
    return TurnResult(
        claimed,
        stale,
        {q: Outlook(*row) for q in turn.outlook for row in calls.rows(results, "outlook", q)},
        {
            q: max(calls.rows(results, "ripen", q)[0][0], calls.rows(results, "rouse", q)[0][0])
            for q in calls.queues("ripen")
        },
        {q: calls.rows(results, "gather", q)[0][0] for q in calls.queues("gather")},
        {q: calls.rows(results, "first_awake", q)[0][0] for q in calls.queues("first_awake")},
    )


def _outcomes(outcomes: Sequence[Outcome]) -> Parameters:
    ordered = sorted(outcomes, key=lambda outcome: outcome.seq)
    return {
        "seqs": [o.seq for o in ordered],
        "attempts": [o.attempt for o in ordered],
        "statuses": [o.status.value for o in ordered],
        "outputs": [o.output for o in ordered],
    }


def _attempts(attempts: Sequence[tuple[Seq, int]]) -> Parameters:
    ordered = sorted(attempts)
    return {
        "seqs": [seq for seq, _ in ordered],
        "attempts": [attempt for _, attempt in ordered],
    }


def _claimed(row: Row) -> Claimed:
    seq, attempt, chosen_id, secret, queue, name, codec, text, rank, line = row
    workflow_id = chosen_id or format_generated_id(seq, secret)
    return Claimed(seq, attempt, workflow_id, queue, name, codec, text, (rank, line))


async def fenced_places(
    session: Session, statements: Statements, worker: WorkerId
) -> list[tuple[Seq, int]]:
    """Return the attempts of a worker whose workflows were cancelled or deleted."""
    (rows,) = await session.run((statements["fenced_places"], {"worker": worker}))
    return [(row[0], row[1]) for row in rows]


async def find_unknown(
    session: Session,
    statements: Statements,
    *,
    worker: WorkerId,
    known: Sequence[tuple[Seq, int]],
) -> list[Claimed]:
    """Return what a claim took whose answer was lost with the connection; nothing of it has begun.

    `known` are the attempts that the worker knows of.
    """
    parameters = {
        "worker": worker,
        "seqs": [seq for seq, _ in known],
        "attempts": [attempt for _, attempt in known],
    }
    _, rows = await session.run(
        (statements["lock_worker"], {"worker": worker}),
        (statements["find_unknown"], parameters),
    )
    return [_claimed(row) for row in rows]
