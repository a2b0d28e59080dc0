"""What a worker knows of a queue that it serves, and what it asks of it next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from towpath.domain.ids import QueueName, WorkflowName
from towpath.domain.queue import QueueSettings
from towpath.store.claims import (
    START_MARGIN_SECONDS,
    Claimed,
    ClaimRequest,
    ClaimWay,
    Place,
    way_of,
)

# Under a steady load the worker stops asking for calls; one full claim alone is no steady load.
FULL_CLAIMS_BEFORE_AWAKE = 8
# So many delayed workflows join the line in one turn at most, and so many strays are gathered.
ROWS_A_TURN = 1000
# Looking through a line from its start again may cost so much of the time at most.
RESCAN_SHARE = 0.05
LONGEST_MARGIN_SECONDS = 1.28
SHARE_OF_PERIOD = 0.001
MARGIN_KEPT_SECONDS = 30.0


@dataclass(slots=True)
class QueueView:
    """One queue as this worker sees it; times are the loop's.

    A queue is `hot` from when something may be waiting in it until a claim comes back with less than
    it asked for.

    Attributes:
        wants_sleep: Whether `sleeper` is to say that this worker waits for a call.
        ripen: Whether delayed workflows, or sleeping ones, may have become due.
        awake: Whether workflows whose wait is over may be there to go on; a pause does not hold them.
        left_awake: The first of them that was left, as there was no room: it goes before what begins.
        wants_outlook: Whether to ask when something becomes due.
        stray: Whether partitioning was switched and workflows of before are to be gathered.
        passed: The places that the last claim passed, by name.
    """

    name: QueueName
    revision: int
    settings: QueueSettings
    paused: bool
    hot: bool = True
    asleep: bool = False
    wants_sleep: bool = False
    wants_wake: bool = False
    wants_outlook: bool = False
    ripen: bool = True
    awake: bool = False
    left_awake: int | None = None
    stray: bool = False
    full_claims: int = 0
    polled_at: float = 0.0
    passed: Mapping[WorkflowName, Place] = field(default_factory=dict)
    rescan_at: float = 0.0
    _slack: float = START_MARGIN_SECONDS
    _late_at: float = 0.0

    @property
    def way(self) -> ClaimWay:
        """By which statements it is claimed from."""
        return way_of(self.settings)

    @property
    def limited(self) -> bool:
        """Whether the end of a workflow may let another begin."""
        return self.settings.gated or self.settings.worker_concurrency is not None

    @property
    def dated(self) -> bool:
        """Whether a limiter dates its starts, so that a function must begin soon after its claim."""
        return self.settings.limiter is not None or self.settings.partition_limiter is not None

    @property
    def prefetches(self) -> bool:
        """Whether more may be claimed than begins at once: only where that changes no order and no limit."""
        return not (self.limited or self.settings.priority_enabled or self.paused)

    def request(self, limit: int, now: float) -> ClaimRequest:
        """Ask for so many workflows."""
        if now >= self.rescan_at:
            self.passed = {}
        return ClaimRequest(
            queue=self.name,
            limit=limit,
            revision=self.revision,
            way=ClaimWay.AWAKE if self.awake else self.way,
            passed=self.passed,
            margin=self.margin,
            ripen=self.ripen,
        )

    def sent(self, request: ClaimRequest) -> None:
        """A claim is under way; a call that comes meanwhile makes the queue hot again."""
        if request.way is ClaimWay.AWAKE:
            self.awake = False
        else:
            self.hot = False
        self.ripen = False

    def ripened(self, count: int) -> None:
        """So many have become due: they joined the line, or can go on."""
        self.ripen |= count == ROWS_A_TURN
        self.awake |= count > 0
        self.hot |= count > 0

    def asks_outlook(self, *, claimed: bool) -> bool:
        """Tell whether the next turn, which claims from it or not, asks when something becomes due."""
        may_come_short = self.dated or self.settings.partition_queue or self.ripen
        return self.wants_outlook or self.wants_sleep or (claimed and may_come_short)

    def learn(
        self, request: ClaimRequest, rows: Sequence[Claimed], now: float, took: float
    ) -> None:
        """Believe what a claim came back with, after `took` seconds."""
        if request.way is ClaimWay.AWAKE:
            return
        if len(rows) == request.limit:
            self.hot = True
            self.full_claims += 1
            self.wants_wake = self.asleep and self.full_claims >= FULL_CLAIMS_BEFORE_AWAKE
            self._pass(request, rows, now, took)
            return
        self.full_claims = 0
        self.wants_wake = False
        self.passed = {}
        self.wants_sleep = not self.asleep

    def went_on(self, left: int | None) -> None:
        """Take the first of those who can go on that a claim has left: another one than before is asked for."""
        self.awake |= left is not None and left != self.left_awake
        self.left_awake = left

    def has_room(self) -> None:
        """A place may be free: whoever was left takes it before what begins."""
        self.hot = True
        self.awake |= self.left_awake is not None

    def _pass(
        self, request: ClaimRequest, rows: Sequence[Claimed], now: float, took: float
    ) -> None:
        """Note how far the line was taken, so that the next claim does not walk through what is gone.

        A row that was committed late, or came back, may stand before that: the line is looked through
        from its start again once a polling interval, or more seldom where that is slow because another
        transaction's old snapshot keeps the dead rows there. Priority allows no such short cut.
        """
        if self.settings.priority_enabled:
            return
        if not request.passed:
            interval = self.settings.polling_interval.total_seconds()
            self.rescan_at = now + max(interval, took / RESCAN_SHARE)
        self.passed = {**request.passed, **{row.name: row.place for row in rows}}

    @property
    def margin(self) -> float:
        """Seconds within which a limited queue's functions begin after their claim.

        A thousandth of the window at least: where it is long, a start that is lost is lost for long,
        and a later date costs nothing.
        """
        limiters = (self.settings.limiter, self.settings.partition_limiter)
        periods = [limiter.period.total_seconds() for limiter in limiters if limiter is not None]
        share = min(periods, default=0.0) * SHARE_OF_PERIOD
        return max(self._slack, min(share, LONGEST_MARGIN_SECONDS))

    def was_late(self, now: float) -> None:
        """A function would have begun later than its start is dated: allow more time from now on."""
        self._late_at = now
        self._slack = min(self._slack * 2, LONGEST_MARGIN_SECONDS)

    def forgive(self, now: float) -> None:
        """Return to the usual margin once nothing was late for a while."""
        if now - self._late_at > MARGIN_KEPT_SECONDS:
            self._slack = START_MARGIN_SECONDS


def split_evenly(
    limits: dict[QueueName, int], names: Sequence[QueueName], count: int, rotation: int
) -> None:
    """Add `count` evenly to the limits; the odd ones go round."""
    if not names or count <= 0:
        return
    start = rotation % len(names)
    share, odd = divmod(count, len(names))
    for number, name in enumerate((*names[start:], *names[:start])):
        limits[name] += share + (1 if number < odd else 0)
