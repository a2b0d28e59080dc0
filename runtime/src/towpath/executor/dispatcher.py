"""A worker's turns: outcomes out, workflows in, one round trip each, as fast as there is either.

A queue is looked at while it is hot (see `QueueView`). Once a claim comes back short, the worker says
in `sleeper` that it wants to be called, and looks twice more, for an enqueuer whose snapshot was older
than that word. What becomes due without a call (delayed workflows, a limiter's window) sets a timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from towpath.domain.ids import QueueName, Seq, WorkerId, WorkflowName
from towpath.executor.context import Execution, Then
from towpath.executor.prefetch import PATIENCE_SECONDS, Prefetched
from towpath.executor.queue_view import split_evenly
from towpath.executor.queue_views import QueueViews
from towpath.executor.slots import Slots
from towpath.store.claims import (
    Claimed,
    ClaimRequest,
    ClaimWay,
    Outcome,
    Turn,
    TurnResult,
    take_turn,
)
from towpath.store.queues import StoredSettings
from towpath.store.session import Session
from towpath.store.statements import Statements

STARTS_BETWEEN_TRIMS = 64
# A workflow that waits costs memory, and a thread where it is sync.
MOST_WAITING = 200
# Beyond that, those that wait go to sleep, and no more than so many are claimed before they have gone.
CLAIMED_WHILE_CROWDED = 100

logger = logging.getLogger("towpath.worker")


@dataclass(slots=True)
class Reports:
    """Whom the dispatcher tells: of claims, of committed ends, of outcomes that came too late.

    `claimed` has the time.monotonic() by which the functions must begin, where a limiter dates them.
    `asleep` takes attempts that have left this process's memory where they waited.
    """

    claimed: Callable[[Sequence[Claimed], float | None], None]
    ended: Callable[[Sequence[Outcome]], None]
    stale: Callable[[Seq], None]
    asleep: Callable[[Sequence[Execution]], None]


class Dispatcher:
    """Takes turns for one worker. All but `finished` is called on the library's loop."""

    def __init__(
        self,
        statements: Statements,
        slots: int,
        names: Callable[[], Sequence[WorkflowName]],
        reports: Reports,
        stamp: str = "",
    ) -> None:
        self._statements = statements
        self._names = names
        self._reports = reports
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self.slots = Slots(slots, on_free=self._wake.set)
        self._prefetched = Prefetched(slots)
        self.queues = QueueViews(stamp, self._wake.set)
        self._rotation = 0
        self._dated_claims = 0
        self._arrived: deque[tuple[Execution, Outcome | None]] = deque()
        self._signalled = False
        self._outcomes: list[Outcome] = []
        self._hand_back: list[tuple[Seq, int]] = []
        self._falling_asleep: set[tuple[Seq, int]] = set()
        self.active: dict[tuple[Seq, int], Execution] = {}
        self.worker_id: WorkerId | None = None
        self.claiming = True
        self._resting = False

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
        now = self._loop.time()
        self._prefetched.ended(len(self._arrived), now)
        asleep: list[Execution] = []
        while self._arrived:
            execution, outcome = self._arrived.popleft()
            execution.seat.end()
            if outcome is not None:
                self._outcomes.append(outcome)
            elif execution.then is Then.BACK:
                self._hand_back.append((execution.seq, execution.attempt))
            elif execution.then is Then.ASLEEP:
                asleep.append(execution)
                self._falling_asleep.add((execution.seq, execution.attempt))
            self.active.pop((execution.seq, execution.attempt), None)
            view = self.queues.find(execution.queue)
            if view is None:
                continue
            if view.limited:
                view.has_room()
            if execution.late:
                view.was_late(now)
        if asleep:
            self._reports.asleep(asleep)
        self._begin_prefetched()
        self._wake.set()

    def slept(self, attempts: Sequence[tuple[Seq, int]], kept: Collection[Seq]) -> None:
        """Attempts have been put to sleep; those that were not kept so go back to their line."""
        self._falling_asleep.difference_update(attempts)
        self._hand_back += [attempt for attempt in attempts if attempt[0] not in kept]
        self._wake.set()

    def adopt(self, rows: Sequence[Claimed]) -> None:
        """Begin what a claim took whose answer was lost; what a limiter dates has to be dated anew."""
        for row in rows:
            view = self.queues.find(row.queue)
            if view is None or view.dated or not self.claiming or self.slots.free <= 0:
                self._give_up([row])
            else:
                self.slots.take(1)
                self._reports.claimed([row], None)

    def configure(self, settings: Sequence[StoredSettings]) -> None:
        """Take the settings of queues: new ones are served from now on."""
        for stored in settings:
            view = self.queues.configure(stored)
            if not view.prefetches:
                self._give_up(self._prefetched.give_up(queue=view.name))

    def cancel(self, attempts: Sequence[tuple[Seq, int]]) -> None:
        """Tell code that its workflow was cancelled; what has not begun here never does."""
        for attempt in attempts:
            execution = self.active.get(attempt)
            if execution is not None:
                execution.interrupt("it was cancelled", Then.BACK)
        fenced = set(attempts)
        if any((r.seq, r.attempt) in fenced for r in self._prefetched.rows):
            self._give_up(self._prefetched.give_up())

    def releases(self, queue: QueueName) -> bool:
        """Tell whether a queue gives the places of waiting workflows back."""
        view = self.queues.find(queue)
        return view is not None and view.settings.release_while_waiting

    def serve_as(self, worker_id: WorkerId) -> None:
        """The worker has a new row: nobody calls it yet, and every queue deserves a look."""
        self.worker_id = worker_id
        self._prefetched.give_up()  # their places went with the row before
        self.queues.call_anew()

    def stop_claiming(self) -> None:
        """Claim nothing from now on; outcomes still go out, and what has not begun goes back."""
        self.claiming = False
        self._give_up(self._prefetched.give_up())
        self._wake.set()

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing is left to write."""
        return not (
            self.active or self._arrived or self._outcomes or self._hand_back or self._prefetched
            or self._falling_asleep
        )  # fmt: skip

    @property
    def most_loaded(self) -> int:
        """So many workflows are kept in memory, running and waiting, if others could do without."""
        return self.slots.total + MOST_WAITING

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to do until somebody calls: whatever runs here only waits."""
        return (
            self._resting
            and not (
                self._wake.is_set() or self._arrived or self._prefetched or self._falling_asleep
            )
            and all(e.interruption is None and e.sleeps_since for e in self.active.values())
        )

    @property
    def known(self) -> list[tuple[Seq, int]]:
        """The attempts whose places this worker holds knowingly."""
        return [
            *self.active,
            *((o.seq, o.attempt) for o in self._outcomes),
            *self._hand_back,
            *self._falling_asleep,
            *((r.seq, r.attempt) for r in self._prefetched.rows),
        ]

    # -- what was claimed ahead

    def _begin_prefetched(self) -> None:
        rows = self._prefetched.take(self.slots.free)
        if rows:
            self.slots.take(len(rows))
            self._reports.claimed(rows, None)

    def _give_up(self, rows: Sequence[Claimed]) -> None:
        self._hand_back += [(row.seq, row.attempt) for row in rows]
        if rows:
            self._wake.set()

    def _hold(self, rows: Sequence[Claimed]) -> None:
        """Keep what there is no slot for, for a moment."""
        if rows:
            now = self._loop.time()
            self._prefetched.put(rows, now)
            self._loop.call_later(
                PATIENCE_SECONDS,
                lambda: self._give_up(self._prefetched.give_up(before=now)),
            )

    # -- turns

    async def run(self, session: Session) -> None:
        """Take turns until cancelled, or until the connection breaks."""
        while True:
            self._wake.clear()
            self._begin_prefetched()
            turn = self._plan(self.worker_id) if self.worker_id is not None else None
            if turn is None or turn.empty:
                self._resting = True
                await self._wake.wait()
                self._resting = False
            else:
                await self._take(session, turn)

    def _plan(self, worker: WorkerId) -> Turn:
        claims = self._share_slots() if self.claiming else []
        views = list(self.queues)
        outcomes = list(self._outcomes)
        claimed = {request.queue for request in claims}
        freed = {o.queue for o in outcomes} - claimed
        dated = [v.name for v in views if v.dated and v.name in claimed]
        self._dated_claims += len(dated)
        trims = dated if dated and self._dated_claims % STARTS_BETWEEN_TRIMS == 0 else []
        return Turn(
            worker=worker,
            names=self._names(),
            versions=self.queues.versions,
            stamp=self.queues.stamp,
            outcomes=outcomes,
            hand_back=list(self._hand_back),
            claims=claims,
            gather=[v.name for v in views if v.stray and self.claiming],
            trim=trims,
            outlook=[
                v.name for v in views if self.claiming and v.asks_outlook(claimed=v.name in claimed)
            ],
            announce=[
                q for q in freed
                if (v := self.queues.find(q)) is not None and v.way is not ClaimWay.FREE
            ],
            fall_asleep=[v.name for v in views if v.wants_sleep and self.claiming],
            wake_up=[v.name for v in views if v.wants_wake],
        )  # fmt: skip

    def _share_slots(self) -> list[ClaimRequest]:
        """Split the free slots evenly among the hot queues; the odd ones go round."""
        now = self._loop.time()
        hot = [v for v in self.queues if (v.hot and not v.paused) or v.awake]
        ahead = self._prefetched.allowance(now) if any(v.prefetches for v in hot) else 0
        room = self.most_loaded + CLAIMED_WHILE_CROWDED - len(self.active)
        free = min(self.slots.free, room)
        if free + ahead <= 0:
            return []
        self._rotation += 1
        limits = dict.fromkeys((v.name for v in hot), 0)
        split_evenly(limits, [v.name for v in hot], free, self._rotation)
        ahead_of = [v.name for v in hot if v.prefetches and not v.awake]
        split_evenly(limits, ahead_of, ahead, self._rotation)
        return [v.request(limits[v.name], now) for v in hot if limits[v.name] > 0]

    async def _take(self, session: Session, turn: Turn) -> None:
        reserved = min(self.slots.free, sum(request.limit for request in turn.claims))
        self.slots.take(reserved)
        sent_at, began_at = time.monotonic(), self._loop.time()
        try:
            for request in turn.claims:
                if (view := self.queues.find(request.queue)) is not None:
                    view.sent(request)
            for name in turn.outlook:
                if (view := self.queues.find(name)) is not None:
                    view.wants_outlook = False
            result = await take_turn(session, self._statements, turn)
        except BaseException:
            for request in turn.claims:
                self.queues.due(request.queue)
            for name in turn.outlook:
                self.queues.ask_outlook(name)
            raise
        finally:
            self.slots.give(reserved)
        self._settle(turn, result)
        self._begin_prefetched()
        for request in turn.claims:
            rows = result.claimed[request.queue]
            view_now = self.queues.find(request.queue)
            if view_now is not None:
                now = self._loop.time()
                view_now.learn(request, rows, now, now - began_at)
                view_now.ripened(result.ripened.get(request.queue, 0))
            self._begin(turn, request, rows, sent_at + request.margin)
        self.queues.look_ahead(result)

    def _settle(self, turn: Turn, result: TurnResult) -> None:
        """Believe what the turn has committed."""
        self._outcomes = self._outcomes[len(turn.outcomes) :]
        self._hand_back = self._hand_back[len(turn.hand_back) :]
        for seq, _ in result.stale:
            self._reports.stale(seq)
        self._reports.ended([o for o in turn.outcomes if (o.seq, o.attempt) not in result.stale])
        self.queues.settle(turn, result)

    def _begin(
        self, turn: Turn, request: ClaimRequest, rows: Sequence[Claimed], begin_by: float
    ) -> None:
        view = self.queues.find(request.queue)
        if turn.worker != self.worker_id:
            return  # the lease ended before the answer came, and with it these places
        if not self.claiming:
            # told to stop while the claim was under way: none of it begins here
            self._give_up(rows)
            return
        free = max(self.slots.free, 0)
        begun, rest = rows[:free], rows[free:]
        self.slots.take(len(begun))
        if begun:
            dated = request.way is not ClaimWay.AWAKE and (view is None or view.dated)
            self._reports.claimed(begun, begin_by if dated else None)
        if request.way is not ClaimWay.AWAKE and (view is None or not view.prefetches):
            self._give_up(rest)  # a slot was retaken meanwhile, or the settings have changed
        else:
            self._hold(rest)
