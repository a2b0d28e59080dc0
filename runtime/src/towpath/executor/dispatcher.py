"""A worker's turns: outcomes out, workflows in, one round trip each, as fast as there is either.

Which queues are worth a look is kept here: a queue is `hot` from when something may be waiting in it
(a poll saw it, a NOTIFY named it, a place came free) until a claim comes back with less than it
asked for. Then the worker says in `sleeper` that it wants to be called, and looks twice more, for an
enqueuer whose snapshot was older than that word.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from towpath.domain.ids import QueueName, Seq, WorkerId, WorkflowName
from towpath.domain.queue import QueueSettings
from towpath.executor.context import Execution
from towpath.executor.slots import Slots
from towpath.store.claims import (
    Claimed,
    ClaimRequest,
    Outcome,
    Turn,
    TurnResult,
    take_turn,
)
from towpath.store.session import Session
from towpath.store.statements import Statements
from towpath.store.workers import QueueSight

# An enqueue in one statement is over within a few milliseconds; the second look is for a slow disk.
SECOND_LOOKS_SECONDS = (0.005, 0.05)
# Under a steady load the worker stops asking for calls; one full claim alone is no steady load.
FULL_CLAIMS_BEFORE_AWAKE = 8

logger = logging.getLogger("towpath.worker")


@dataclass(slots=True)
class QueueView:
    """What this worker knows of a queue that it serves."""

    name: QueueName
    revision: int
    settings: QueueSettings
    hot: bool = True
    asleep: bool = False
    wants_sleep: bool = False
    wants_wake: bool = False
    full_claims: int = 0

    @property
    def shared(self) -> bool:
        """Whether a limit is shared by all workers, so that claims lock the gate."""
        return self.settings.concurrency is not None

    @property
    def limited(self) -> bool:
        """Whether the end of a workflow may let another begin."""
        return self.shared or self.settings.worker_concurrency is not None


@dataclass(slots=True)
class Reports:
    """Whom the dispatcher tells: of claims, of committed ends, of outcomes that came too late."""

    claimed: Callable[[Sequence[Claimed]], None]
    ended: Callable[[Sequence[Outcome]], None]
    stale: Callable[[Seq], None]


class Dispatcher:
    """Takes turns for one worker. All but `finished` is called on the library's loop."""

    def __init__(
        self,
        statements: Statements,
        slots: int,
        names: Callable[[], Sequence[WorkflowName]],
        reports: Reports,
    ) -> None:
        self._statements = statements
        self._names = names
        self._reports = reports
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self.slots = Slots(slots, on_free=self._wake.set)
        self._queues: dict[QueueName, QueueView] = {}
        self._rotation = 0
        self._arrived: deque[tuple[Execution, Outcome | None]] = deque()
        self._signalled = False
        self._outcomes: list[Outcome] = []
        self._hand_back: list[tuple[Seq, int]] = []
        self.active: dict[tuple[Seq, int], Execution] = {}
        self.worker_id: WorkerId | None = None
        self.claiming = True

    # -- what may call for a turn

    def finished(self, execution: Execution, outcome: Outcome | None) -> None:
        """Take an attempt that has ended, from any thread."""
        self._arrived.append((execution, outcome))
        if not self._signalled:
            self._signalled = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
                self._loop.call_soon_threadsafe(self._collect)

    def _collect(self) -> None:
        self._signalled = False
        while self._arrived:
            execution, outcome = self._arrived.popleft()
            execution.seat.end()
            if outcome is not None:
                self._outcomes.append(outcome)
            elif execution.handed_back:
                self._hand_back.append((execution.seq, execution.attempt))
            self.active.pop((execution.seq, execution.attempt), None)
            view = self._queues.get(execution.queue)
            if view is not None and view.limited:
                view.hot = True
        self._wake.set()

    def look(self, queue: QueueName) -> None:
        """Look at a queue: a NOTIFY named it, or this process has put something there."""
        view = self._queues.get(queue)
        if view is not None and not view.hot:
            view.hot = True
            self._wake.set()

    def saw(self, sights: Sequence[QueueSight]) -> None:
        """Take what a poll saw: settings, queues that came and went, queues with work."""
        views = {}
        for sight in sights:
            view = self._queues.get(sight.name)
            if view is None:
                view = QueueView(sight.name, sight.revision, sight.settings)
            elif view.revision != sight.revision:
                view.revision, view.settings, view.hot = sight.revision, sight.settings, True
            elif sight.waiting:
                view.hot = True
            views[sight.name] = view
        self._queues = views
        self._wake.set()

    def serve_as(self, worker_id: WorkerId) -> None:
        """The worker has a new row: nobody calls it yet, and every queue deserves a look."""
        self.worker_id = worker_id
        for view in self._queues.values():
            view.asleep = view.wants_wake = False
            view.hot = True
        self._wake.set()

    def stop_claiming(self) -> None:
        """Claim nothing from now on; outcomes still go out."""
        self.claiming = False
        self._wake.set()

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing is left to write."""
        return not (self.active or self._arrived or self._outcomes or self._hand_back)

    @property
    def known(self) -> list[tuple[Seq, int]]:
        """The attempts whose places this worker holds knowingly."""
        return [*self.active, *((o.seq, o.attempt) for o in self._outcomes), *self._hand_back]

    # -- turns

    async def run(self, session: Session) -> None:
        """Take turns until cancelled, or until the connection breaks."""
        while True:
            self._wake.clear()
            turn = self._plan(self.worker_id) if self.worker_id is not None else None
            if turn is None or turn.empty:
                await self._wake.wait()
            else:
                await self._take(session, turn)

    def _plan(self, worker: WorkerId) -> Turn:
        claims = self._share_slots() if self.claiming else []
        outcomes = list(self._outcomes)
        claimed_from = {request.queue for request in claims}
        freed = {o.queue for o in outcomes} - claimed_from
        return Turn(
            worker=worker,
            names=self._names(),
            outcomes=outcomes,
            hand_back=list(self._hand_back),
            claims=claims,
            announce=[q for q in freed if (v := self._queues.get(q)) is not None and v.shared],
            fall_asleep=[v.name for v in self._queues.values() if v.wants_sleep and self.claiming],
            wake_up=[v.name for v in self._queues.values() if v.wants_wake],
        )

    def _share_slots(self) -> list[ClaimRequest]:
        """Split the free slots evenly among the hot queues; the odd ones go round."""
        hot = [v for v in self._queues.values() if v.hot]
        free = self.slots.free
        if not hot or free <= 0:
            return []
        self._rotation += 1
        start = self._rotation % len(hot)
        ordered = (hot[start:] + hot[:start])[:free]
        share, odd = divmod(free, len(ordered))
        return [
            ClaimRequest(v.name, share + (1 if i < odd else 0), v.revision, v.shared)
            for i, v in enumerate(ordered)
        ]

    async def _take(self, session: Session, turn: Turn) -> None:
        asked = sum(request.limit for request in turn.claims)
        self.slots.take(asked)
        used = 0
        try:
            for request in turn.claims:
                # a call that comes while the claim is under way makes it hot again
                self._queues[request.queue].hot = False
            result = await take_turn(session, self._statements, turn)
            used = sum(len(rows) for rows in result.claimed.values())
        except BaseException:
            for request in turn.claims:
                self.look(request.queue)
            raise
        finally:
            if asked > used:
                self.slots.give(asked - used)
        self._settle(turn, result)

    def _settle(self, turn: Turn, result: TurnResult) -> None:
        """Believe what the turn has committed."""
        self._outcomes = self._outcomes[len(turn.outcomes) :]
        self._hand_back = self._hand_back[len(turn.hand_back) :]
        for seq, _ in result.stale:
            self._reports.stale(seq)
        self._reports.ended([o for o in turn.outcomes if (o.seq, o.attempt) not in result.stale])
        for name in turn.fall_asleep:
            self._asleep(name)
        for name in turn.wake_up:
            if (view := self._queues.get(name)) is not None:
                view.asleep = view.wants_wake = False
        for request in turn.claims:
            rows = result.claimed[request.queue]
            self._learn(request, len(rows))
            if turn.worker == self.worker_id and self.claiming:
                self._reports.claimed(rows)
                continue
            self.slots.give(len(rows))
            if turn.worker == self.worker_id:
                # told to stop while the claim was under way: none of it begins here
                self._hand_back += [(row.seq, row.attempt) for row in rows]
                self._wake.set()
            # else the lease ended before the answer came, and with it these places

    def _learn(self, request: ClaimRequest, count: int) -> None:
        view = self._queues.get(request.queue)
        if view is None:
            return
        if count == request.limit:
            view.hot = True
            view.full_claims += 1
            if view.asleep and view.full_claims >= FULL_CLAIMS_BEFORE_AWAKE:
                view.wants_wake = True
                self._wake.set()
            return
        view.full_claims = 0
        view.wants_wake = False
        if not view.asleep:
            view.wants_sleep = True
            self._wake.set()

    def _asleep(self, name: QueueName) -> None:
        view = self._queues.get(name)
        if view is None:
            return
        view.asleep, view.wants_sleep = True, False
        for seconds in SECOND_LOOKS_SECONDS:
            self._loop.call_later(seconds, self.look, name)
