"""Random walks over everything that the store does, against a plain model of what must hold.

Each step of a walk is one call of the store, or two turns at once, at a time that the walk decides.
After each, every workflow stands where the model has it, claims took exactly what the model says, in
its order, no window of a limiter has more starts than it allows, and no stale attempt changed anything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from tests.store.holding import SCHEMA
from tests.store.model.enqueuing import Enqueuing, items
from tests.store.model.ground import FREE, HOUR, NAMES, PARTED, QUEUES, SWITCHED
from tests.store.model.model import Claiming
from tests.store.model.workflows import RESUMABLE, WAITS, Workflow, fresh
from towpath.domain.ids import QueueName, WorkerId, WorkflowName
from towpath.domain.queue import Limiter, QueueSettings
from towpath.domain.status import WorkflowStatus
from towpath.store import claims, queues, steps, workers

PICK = st.integers(0, 30)
PICKS = st.lists(st.integers(0, 5) | PICK, max_size=4)
QUEUE = st.sampled_from(QUEUES)
NAME = st.sampled_from([*NAMES, NAMES[0], "strange"])
LIMITER = st.none() | st.builds(
    Limiter, st.integers(1, 3), st.sampled_from([timedelta(seconds=s) for s in (0.3, 1, 5)])
)
SETTINGS = st.builds(
    QueueSettings,
    concurrency=st.none() | st.integers(2, 4),
    worker_concurrency=st.none() | st.integers(1, 2),
    limiter=LIMITER,
    partition_concurrency=st.none() | st.integers(1, 3),
    partition_limiter=LIMITER,
    priority_enabled=st.booleans(),
    partition_queue=st.booleans(),
)
VERSIONS = st.sampled_from([("",), ("",), ("", "v1"), ("v1",)])
KNOWN = st.sampled_from([NAMES, NAMES, NAMES, NAMES[:1]])
OUTCOMES = st.sampled_from([WorkflowStatus.SUCCESS, WorkflowStatus.SUCCESS, WorkflowStatus.ERROR])
STEPS_A_WALK = 50
STEPS = 10_000


def settings_for(queue: QueueName, wanted: QueueSettings) -> QueueSettings:
    """Return what of the settings a queue takes."""
    if queue == FREE:
        return QueueSettings(worker_concurrency=wanted.worker_concurrency)
    parted = queue == PARTED or (queue == SWITCHED and wanted.partition_queue)
    return replace(
        wanted,
        partition_queue=parted,
        priority_enabled=wanted.priority_enabled or queue != SWITCHED,
        partition_concurrency=wanted.partition_concurrency if parted else None,
        partition_limiter=wanted.partition_limiter if parted else None,
    )


class Walk(Enqueuing):
    """The steps of a walk."""

    # -- time and settings

    @rule(seconds=st.sampled_from([0.005, 0.1, 0.3, 1, 5, -0.4]))
    def tick(self, seconds: float) -> None:
        """Time passes, or the clock is set back."""
        self.advance(timedelta(seconds=seconds))

    @rule(queue=QUEUE, drawn=SETTINGS)
    def configure(self, queue: QueueName, drawn: QueueSettings) -> None:
        """Declare other settings."""
        wanted = settings_for(queue, drawn)
        stored = self.run(queues.declare(self.session, SCHEMA, queue, wanted))
        assert stored.settings == wanted
        self.model.configure(queue, wanted)

    @rule(
        queue=QUEUE,
        what=st.sampled_from(["paused", "closed"]),
        on=st.sampled_from([True] + [False] * 4),
    )
    def stop(self, queue: QueueName, what: str, *, on: bool) -> None:
        """Pause or close a queue, or let it go on."""
        if what == "paused":
            self.run(queues.set_paused(self.session, SCHEMA, queue, paused=on))
            stopped = self.model.paused
        else:
            self.run(queues.set_closed(self.session, SCHEMA, queue, closed=on))
            stopped = self.model.closed
        (stopped.add if on else stopped.discard)(queue)

    # -- what enqueuers and people do

    @rule(queue=QUEUE, name=NAME, of=items())
    def enqueue(self, queue: QueueName, name: str, of: Enqueuing.Items) -> None:
        """Put workflows in line, some of them duplicates, some refused."""
        self.advance(timedelta(milliseconds=1))
        self.enqueue_items(queue, name, of)

    @initialize(of=st.tuples(*[st.tuples(NAME, items())] * len(QUEUES)))
    def enqueue_everywhere(self, of: tuple[tuple[str, Enqueuing.Items], ...]) -> None:
        """Put something in each line."""
        for queue, (name, asked) in zip(QUEUES, of, strict=True):
            self.enqueue_items(queue, name, asked)

    @rule(queue=QUEUE, of=items(), limit=st.integers(1, 5))
    def enqueue_and_claim(self, queue: QueueName, of: Enqueuing.Items, limit: int) -> None:
        """Put workflows in line, and claim what comes first."""
        self.enqueue(queue, NAMES[0], of)
        self.claim(queue, limit)

    @rule(pick=PICK, then=st.sampled_from(["", "", "resume", "forget"]))
    def cancel(self, pick: int, then: str) -> None:
        """Cancel a workflow, and perhaps resume or delete it at once."""
        w = self.workflow(pick)
        if w is None:
            return
        expected = self.model.cancel(w)
        statement = "SELECT was FROM towpath.cancel(ARRAY[%(seq)s::bigint])"
        assert self.execute(statement, seq=w.seq) == [(expected,)]
        if then == "resume":
            self.resume_one(w)
        elif then == "forget":
            self.forget_one(w)

    @rule(pick=PICK)
    def resume(self, pick: int) -> None:
        """Resume a workflow, whatever its status."""
        if (w := self.workflow(pick)) is not None:
            self.resume_one(w)

    def resume_one(self, w: Workflow) -> None:
        """Resume; one that was not cancelled or given up is left as it is."""
        before = w.visible_status
        answer = self.execute("SELECT towpath.resume(%(seq)s)", seq=w.seq)
        assert answer == [(None if before in RESUMABLE else before,)]
        if before in RESUMABLE:
            ((line,),) = self.execute("SELECT last_value FROM towpath.workflow_seq")
            self.model.resume(w, line)

    @rule(pick=PICK)
    def forget(self, pick: int) -> None:
        """Delete a workflow, whatever its status."""
        if (w := self.workflow(pick)) is not None:
            self.forget_one(w)

    def forget_one(self, w: Workflow) -> None:
        """Delete; code that runs keeps its place."""
        self.model.forget(w)
        assert self.execute("SELECT towpath.forget(%(seq)s)", seq=w.seq) == [(True,)]

    @rule(pick=PICK, priority=st.integers(1, 3))
    def set_priority(self, pick: int, priority: int) -> None:
        """Change the priority of what waits; nothing else is changed."""
        if (w := self.workflow(pick)) is None:
            return
        statement = "SELECT towpath.set_priority(%(seq)s, %(rank)s)"
        waits = w.visible_status in WAITS
        answer = self.execute(statement, seq=w.seq, rank=-priority)
        assert answer == [(None if waits else w.visible_status,)]
        if waits:
            w.rank = w.rank - fresh(w.rank) - priority if w.state == "ready" else -priority
            if w.state == "ready":
                self.model.wake(w)

    @rule(pick=PICK, seconds=st.sampled_from([0.0, 0.1, 3.0]))
    def set_delay(self, pick: int, seconds: float) -> None:
        """Change when a delayed workflow joins the line; nothing else is changed."""
        if (w := self.workflow(pick)) is None:
            return
        parameters = {"seq": w.seq, "delay": seconds, "due": None}
        (answer,) = self.run(self.session.run((SCHEMA["set_delay"], parameters)))
        delayed = w.state == "parked"
        assert answer == [(None if delayed else w.visible_status,)]
        if delayed:
            w.due = self.model.now + timedelta(seconds=seconds)

    # -- what workers do

    @rule(
        pick=PICK, queue=QUEUE, ends=PICKS, back=PICKS, limit=st.integers(0, 5), status=OUTCOMES,
        names=KNOWN, versions=VERSIONS, old=st.sampled_from([False, False, False, True]),
        bounded=st.booleans(), upkeep=st.sampled_from(["", "ripen", "gather", "trim", "all"]),
    )  # fmt: skip
    def take_turn(
        self, pick: int, queue: QueueName, ends: list[int], back: list[int], limit: int,
        status: WorkflowStatus, names: tuple[WorkflowName, ...], versions: tuple[str, ...], upkeep: str,
        *, old: bool, bounded: bool,
    ) -> None:  # fmt: skip
        """Write outcomes, hand back, claim, each also with attempts that are stale."""
        self.advance(timedelta(milliseconds=1))
        ended = self.attempts(ends, queue)
        given = [a for a in self.attempts(back, queue) if a not in ended]
        passed = ((NAMES[0], (0, ended[0][0])),) if bounded and ended else ()
        asked = Claiming(self.worker(pick), queue, limit, names, versions, passed)
        request = self.request(asked, ripen=upkeep in ("ripen", "all"))
        if old:
            request = replace(request, revision=request.revision - 1)
        turn = claims.Turn(
            worker=asked.worker,
            names=asked.names,
            versions=asked.versions,
            outcomes=[claims.Outcome(*a, queue, status, "null") for a in ended],
            hand_back=given,
            gather=[queue] if upkeep in ("gather", "all") else [],
            trim=[queue] if upkeep in ("trim", "all") else [],
            claims=[request],
        )
        self.expect_turn(asked, turn, self.run(claims.take_turn(self.session, SCHEMA, turn)))

    def expect_turn(self, asked: Claiming, turn: claims.Turn, result: claims.TurnResult) -> None:
        """Each part of a turn did what the model does, in its order."""
        model, queue = self.model, asked.queue
        ended = [(o.seq, o.attempt, o.status.value) for o in turn.outcomes]
        counted = {a[:2] for a in ended if model.holds(*a[:2]) and model.end(a[0], a[2])}
        assert result.stale == {a[:2] for a in ended} - counted
        for seq, attempt in turn.hand_back:
            if model.holds(seq, attempt):
                model.hand_back(seq)
        if turn.gather:
            assert result.gathered == {queue: model.gather(queue)}
        if turn.claims[0].ripen:
            assert result.ripened == {queue: model.ripen(queue)}
        (stored,) = self.run(queues.settings_of(self.session, SCHEMA, [queue]))
        if turn.claims[0].revision == stored.revision:
            self.expect_claimed(asked, result.claimed[queue])
        else:
            assert result.claimed[queue] == []
            if stored.settings.partition_queue:
                model.fold(queue)
        if turn.trim and stored.settings.limiter is not None:
            model.starts_of(queue).trim(stored.settings.limiter, model.now)

    @rule(queue=QUEUE, limit=st.integers(1, 5), ends=PICKS)
    def end_and_claim(self, queue: QueueName, limit: int, ends: list[int]) -> None:
        """Write what has ended, and claim."""
        self.advance(timedelta(milliseconds=1))
        self.claim(queue, limit, ends)

    def claim(self, queue: QueueName, limit: int, ends: Sequence[int] = ()) -> None:
        """Take a turn of a worker that is alive and knows everything."""
        asked = Claiming(self.alive(0), queue, limit, NAMES, ("", "v1"))
        ended = self.attempts(ends, queue)
        turn = claims.Turn(
            worker=asked.worker,
            names=asked.names,
            versions=asked.versions,
            outcomes=[claims.Outcome(*a, queue, WorkflowStatus.SUCCESS, None) for a in ended],
            gather=[queue],
            claims=[self.request(asked, ripen=True)],
        )
        self.expect_turn(asked, turn, self.run(claims.take_turn(self.session, SCHEMA, turn)))

    @rule(queue=QUEUE, of=items(), limits=st.tuples(*[st.integers(1, 4)] * 2), names=KNOWN)
    def race(
        self, queue: QueueName, of: Enqueuing.Items, limits: tuple[int, int],
        names: tuple[WorkflowName, ...],
    ) -> None:  # fmt: skip
        """Two workers claim at once: behind a gate as if one after the other, else without a gap."""
        self.enqueue(queue, NAMES[0], of)
        pair = [self.alive(0), self.alive(1)]
        asked = [Claiming(w, queue, n, names, ("",)) for w, n in zip(pair, limits, strict=True)]
        turns = [claims.Turn(worker=a.worker, names=names, claims=[self.request(a)]) for a in asked]
        results = self.run(self.at_once(queue, turns))
        taken = [result.claimed[queue] for result in results]
        if turns[0].claims[0].way is claims.ClaimWay.FREE:
            self.expect_shared(asked, taken)
            return
        alone = self.model.expected(asked[0])
        order = (0, 1) if [c.seq for c in taken[0]] == alone else (1, 0)
        for n in order:
            self.expect_claimed(asked[n], taken[n])

    def expect_shared(self, asked: list[Claiming], taken: list[list[claims.Claimed]]) -> None:
        """Neither takes more than it may, and nothing is left that one of them had room for."""
        model = self.model
        rooms = [model.room(a) for a in asked]
        waiting = sum(asked[0].knows(w) for w in model.line(asked[0].queue, None))
        for a, claimed, room in zip(asked, taken, rooms, strict=True):
            assert len(claimed) <= room
            assert [c.place for c in claimed] == sorted(c.place for c in claimed)
            model.place(a, [c.seq for c in claimed])
            self.note(a, claimed)
        assert sum(len(claimed) for claimed in taken) == min(sum(rooms), waiting)

    @rule(pick=PICK, names=KNOWN)
    def look(self, pick: int, names: tuple[WorkflowName, ...]) -> None:
        """A poll sees what may be claimed, what strays, and when something becomes due."""
        worker = self.alive(pick)
        sight = self.run(workers.poll(
            self.session, SCHEMA, worker=worker, queues=QUEUES,
            names=[n for n in NAMES if n in names], versions=[""], lease=HOUR,
        ))  # fmt: skip
        assert (sight.alive, len(sight.queues)) == (True, len(QUEUES))
        assert sight.dead == any(living.expired for living in self.model.workers.values())
        for queue in sight.queues:
            asked = Claiming(worker, queue.name, 1, names, ("",))
            if self.model.expected(asked):
                assert queue.waiting or (queue.due_seconds or 1) <= 0
            assert queue.stray == bool(self.model.stray(queue.name))

    @rule(queue=QUEUE)
    def ask_outlook(self, queue: QueueName) -> None:
        """A worker learns when something becomes due, to the moment."""
        turn = claims.Turn(worker=self.worker(0), names=NAMES, outlook=[queue])
        outlook = self.run(claims.take_turn(self.session, SCHEMA, turn)).outlook[queue]
        model, limits = self.model, self.model.settings[queue]
        dates: list[datetime] = [w.due for w in model.in_state("parked", queue) if w.due]
        if limits.partition_queue:
            dates += [due for due, _ in model.parts(queue).alarms]
        opens = limits.limiter and model.starts_of(queue).opens_at(limits.limiter)
        dates += [opens] if opens and opens > model.now else []
        expected = (min(dates) - model.now).total_seconds() if dates else None
        assert outlook.seconds == pytest.approx(expected)
        assert outlook.unfolded == bool(model.parts(queue).wakes)

    @rule(queue=QUEUE, picks=PICKS)
    def record(self, queue: QueueName, picks: list[int]) -> None:
        """Record steps of current and of stale attempts in one commit."""
        self.position += 1
        new = [
            steps.NewStep(seq, attempt, f"{self.position}.{n}", "s", "1", None, timedelta(0))
            for n, (seq, attempt) in enumerate(self.attempts(picks, queue))
        ]
        written = set(self.run(steps.record(self.session, SCHEMA, new)))
        flows = self.model.workflows
        held = [s for s in new if self.model.holds(s.seq, s.attempt) and not flows[s.seq].fenced]
        assert written == {(s.seq, s.position) for s in held}
        for step in held:
            flows[step.seq].progress = True

    @rule(pick=PICK, kind=st.sampled_from(["dies", "dies", "drains", "drains and dies", "stops"]))
    def lose_worker(self, pick: int, kind: str) -> None:
        """A worker goes, and another comes in its place."""
        self.advance(timedelta(milliseconds=1))
        worker = self.worker(pick)
        if "drains" in kind:
            self.run(workers.begin_draining(self.session, SCHEMA, worker))
            self.model.workers[worker].draining = True
        if kind == "stops":
            recovery = self.run(workers.end_own_lease(self.session, SCHEMA, worker))
            assert (recovery.returned, recovery.given_up) == self.model.fall(worker)
        elif "dies" in kind:
            statement = "UPDATE towpath.worker SET lease_until = '-infinity' WHERE id = %(w)s"
            self.execute(statement, w=worker)
            self.model.workers[worker].expired = True
        self.register()

    @rule()
    def recover(self) -> None:
        """Leases that ran out are ended."""
        self.advance(timedelta(milliseconds=1))
        recovery = self.run(workers.end_dead_leases(self.session, SCHEMA, me=WorkerId(0)))
        dead = [w for w, living in self.model.workers.items() if living.expired]
        assert sorted(w for w, _ in recovery.workers) == sorted(dead)
        fell = [self.model.fall(worker) for worker in dead]
        expected = (sum(back for back, _ in fell), sum(up for _, up in fell))
        assert (recovery.returned, recovery.given_up) == expected


def walk(count: int, *, derandomize: bool) -> None:
    """Take so many walks."""
    taken = settings(
        max_examples=count,
        stateful_step_count=STEPS_A_WALK,
        derandomize=derandomize,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Walk, settings=taken)


@pytest.mark.timeout(0)
def test_random_walks_agree_with_the_model(new_database: Callable[[], str]) -> None:
    """10,000 steps, the same ones every time; `make walk` takes new ones for MINUTES."""
    Walk.stand_on(new_database())
    minutes = float(os.environ.get("TOWPATH_WALK_MINUTES", "0"))
    end = time.monotonic() + minutes * 60
    try:
        walk(STEPS // STEPS_A_WALK, derandomize=not minutes)
        while time.monotonic() < end:
            walk(STEPS // STEPS_A_WALK, derandomize=False)
    finally:
        Walk.leave()
