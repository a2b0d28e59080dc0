"""Random walks over everything that the store does, against a plain model of what must hold.

Each step of a walk is one call of the store, or two turns at once, at a time that the walk decides.
After each, every workflow stands where the model has it, claims took exactly what the model says, in
its order, no window of a limiter has more starts than it allows, and no stale attempt changed anything.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from tests.store.model import (
    FREE,
    NAMES,
    PARTED,
    fresh,
)  # fmt: skip
from tests.store.test_claims import SCHEMA
from tests.store.walk import QUEUES, Ground
from towpath.domain.ids import QueueName, WorkerId, WorkflowId, WorkflowName
from towpath.domain.queue import Limiter
from towpath.domain.status import WorkflowStatus
from towpath.store import claims, enqueue, queues, steps, workers

# numbers, since how many there are to choose from is nothing that the walk may draw by
PICK = st.integers(0, 30)
PICKS = st.lists(PICK, max_size=4)
QUEUE = st.sampled_from(QUEUES)
LIMITER = st.none() | st.builds(
    Limiter, st.integers(1, 3), st.sampled_from([timedelta(seconds=s) for s in (0.3, 1, 5)])
)
PRIORITY = st.none() | st.integers(1, 3)
STEPS = int(os.environ.get("TOWPATH_WALK_STEPS", "10000"))
SETTINGS = settings(
    max_examples=STEPS // 50,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class Walk(Ground):
    """The steps of a walk."""

    # -- time and limits

    @rule(seconds=st.sampled_from([0.005, 0.1, 0.3, 1, 5, -0.4]))
    def tick(self, seconds: float) -> None:
        """Time passes, or the clock is set back."""
        self.advance(timedelta(seconds=seconds))

    @rule(
        queue=QUEUE,
        places=st.none() | st.integers(1, 4),
        here=st.none() | st.integers(1, 2),
        limiter=LIMITER,
        of_key=st.none() | st.integers(1, 3),
        key_limiter=LIMITER,
    )
    def configure(
        self, queue: QueueName, places: int | None, here: int | None, limiter: Limiter | None,
        of_key: int | None, key_limiter: Limiter | None,
    ) -> None:  # fmt: skip
        """Declare other limits."""
        if places is not None and here is not None:
            here = min(places, here)
        parted = queue == PARTED
        wanted = replace(
            self.model.settings[queue],
            concurrency=None if queue == FREE else places,
            worker_concurrency=here,
            limiter=None if queue == FREE else limiter,
            partition_concurrency=of_key if parted else None,
            partition_limiter=key_limiter if parted else None,
        )
        stored = self.run(queues.declare(self.session, SCHEMA, queue, wanted))
        assert stored.settings == wanted
        self.model.configure(queue, wanted)

    @rule(queue=QUEUE, paused=st.booleans())
    def pause(self, queue: QueueName, *, paused: bool) -> None:
        """Pause a queue, or let it go on."""
        self.run(queues.set_paused(self.session, SCHEMA, queue, paused=paused))
        self.model.paused[queue] = paused

    # -- what enqueuers and people do

    @rule(
        queue=QUEUE,
        name=st.sampled_from([*NAMES, NAMES[0], "strange"]),
        items=st.lists(
            st.tuples(
                PRIORITY, st.sampled_from("abc"), st.sampled_from([None, None, "x", "y"]),
                st.sampled_from([None, None, "i", "j"]), st.sampled_from([None, None, 0.2, 2.0]),
            ),
            min_size=1, max_size=4,
        ),
    )  # fmt: skip
    def enqueue(self, queue: QueueName, name: str, items: list[tuple[Any, ...]]) -> None:
        """Put workflows in line, some of them duplicates."""
        self.advance(timedelta(milliseconds=1))
        ranked, parted = queue != FREE, queue == PARTED
        asked = [
            enqueue.NewItem(
                input="{}",
                secret=number,
                priority=priority if ranked else None,
                partition_key=key if parted else None,
                deduplication_id=held,
                chosen_id=WorkflowId(f"{queue}-{name}-{chosen}") if chosen else None,
                delay_seconds=delay,
                refuse_duplicate=False,
            )
            for number, (priority, key, held, chosen, delay) in enumerate(items)
        ]
        new = enqueue.NewWorkflows(queue=queue, name=WorkflowName(name), codec="json", items=asked)
        done = self.run(enqueue.enqueue(self.session, SCHEMA, new))
        assert isinstance(done, list)
        for item, report in zip(asked, done, strict=True):
            self.expect_enqueued(queue, name, item, report)

    @rule(pick=PICK, then=st.sampled_from(["", "", "resume", "forget"]))
    def cancel(self, pick: int, then: str) -> None:
        """Cancel a workflow, and perhaps resume or delete it at once."""
        w = self.workflow(pick)
        if w is None:
            return
        expected = self.model.cancel(w)
        ((_, was),) = self.run(
            self.execute("SELECT * FROM towpath.cancel(ARRAY[%(seq)s::bigint])", seq=w.seq)
        )
        assert was == expected
        if then == "resume":
            self.resume_one(w)
        elif then == "forget":
            self.forget_one(w)

    @rule(pick=PICK)
    def resume(self, pick: int) -> None:
        """Resume a workflow, whatever its status."""
        w = self.workflow(pick)
        if w is not None:
            self.resume_one(w)

    @rule(pick=PICK)
    def forget(self, pick: int) -> None:
        """Delete a workflow, whatever its status."""
        w = self.workflow(pick)
        if w is not None:
            self.model.cancel(w)
            self.forget_one(w)

    @rule(pick=PICK, priority=st.integers(1, 3))
    def set_priority(self, pick: int, priority: int) -> None:
        """Change the priority of what waits; nothing else is changed."""
        w = self.workflow(pick)
        if w is None or w.queue == FREE:
            return
        statement = "SELECT towpath.set_priority(%(seq)s, %(rank)s)"
        ((answer,),) = self.run(self.execute(statement, seq=w.seq, rank=-priority))
        waits = w.visible_status in ("DELAYED", "ENQUEUED")
        assert answer == (None if waits else w.visible_status)
        if waits:
            w.rank = w.rank - fresh(w.rank) - priority
            if w.state == "ready":
                self.model.partitions.wake(w.key, self.model.now)

    # -- what workers do

    @rule(
        pick=PICK, queue=QUEUE, ends=PICKS, back=PICKS, limit=st.integers(0, 5),
        old=st.sampled_from([False, False, False, True]), ripen=st.booleans(),
    )  # fmt: skip
    def take_turn(
        self, pick: int, queue: QueueName, ends: list[int], back: list[int], limit: int,
        *, old: bool, ripen: bool,
    ) -> None:  # fmt: skip
        """Write outcomes, hand back, claim, each also with attempts that are stale."""
        self.advance(timedelta(milliseconds=1))
        model, worker = self.model, self.worker(pick)
        ended = self.attempts(ends, queue)
        given = [a for a in self.attempts(back, queue) if a[0] not in {e[0] for e in ended}]
        request = self.request(queue, limit, ripen=ripen)
        if old:
            request = replace(request, revision=request.revision - 1)
        turn = claims.Turn(
            worker=worker,
            names=[WorkflowName(n) for n in NAMES],
            outcomes=[claims.Outcome(*a, WorkflowStatus.SUCCESS, "null") for a in ended],
            hand_back=[a[:2] for a in given],
            claims=[request],
        )
        result = self.run(claims.take_turn(self.session, SCHEMA, turn))
        counted = {a[:2] for a in ended if model.holds(*a[:2]) and model.end(a[0], "SUCCESS")}
        assert result.stale == {a[:2] for a in ended} - counted
        for seq, attempt, _ in given:
            if model.holds(seq, attempt):
                model.hand_back(seq)
        if ripen:
            assert result.ripened == {queue: model.ripen(queue)}
        if old:
            model.fold() if queue == PARTED else None
            assert result.claimed[queue] == []
            return
        self.expect_claimed(worker, request, result)

    @rule(queue=QUEUE, limits=st.tuples(st.integers(1, 4), st.integers(1, 4)))
    def race(self, queue: QueueName, limits: tuple[int, int]) -> None:
        """Two workers claim at once: behind a gate as if one after the other, else without a gap."""
        self.advance(timedelta(milliseconds=1))
        pair = sorted(self.model.workers)[:2]
        requests = [self.request(queue, limit) for limit in limits]
        turns = [
            claims.Turn(worker=w, names=[WorkflowName(n) for n in NAMES], claims=[r])
            for w, r in zip(pair, requests, strict=True)
        ]

        async def both() -> list[claims.TurnResult]:
            pairs = zip(self.sessions, turns, strict=True)
            return await asyncio.gather(*(claims.take_turn(s, SCHEMA, t) for s, t in pairs))

        results = self.run(both())
        if requests[0].way is claims.ClaimWay.FREE:
            self.expect_shared(queue, pair, limits, results)
            return
        order = [0, 1]
        first = self.model.expected(pair[0], queue, limits[0])
        if [c.seq for c in results[0].claimed[queue]] != first:
            order = [1, 0]
        for n in order:
            self.expect_claimed(pair[n], requests[n], results[n])

    @rule(queue=QUEUE, picks=PICKS)
    def record(self, queue: QueueName, picks: list[int]) -> None:
        """Record steps of current and of stale attempts in one commit."""
        attempts = self.attempts(picks, queue)
        self.position += 1
        new = [
            steps.NewStep(seq, attempt, f"{self.position}.{n}", "s", "1", None, timedelta(0))
            for n, (seq, attempt, _) in enumerate(attempts)
        ]
        written = self.run(steps.record(self.session, SCHEMA, new))
        held = [
            s for s in new
            if self.model.holds(s.seq, s.attempt) and not self.model.workflows[s.seq].fenced
        ]  # fmt: skip
        assert written == {(s.seq, s.position) for s in held}
        for step in held:
            self.model.workflows[step.seq].progress = True

    @rule(pick=PICK, kind=st.sampled_from(["dies", "dies", "drains and dies", "stops"]))
    def lose_worker(self, pick: int, kind: str) -> None:
        """A worker goes, and another comes in its place."""
        self.advance(timedelta(milliseconds=1))
        worker = self.worker(pick)
        if kind == "drains and dies":
            self.run(workers.begin_draining(self.session, SCHEMA, worker))
            self.model.workers[worker].draining = True
        if kind == "stops":
            recovery = self.run(workers.end_own_lease(self.session, SCHEMA, worker))
            assert (recovery.returned, recovery.given_up) == self.model.fall(worker)
        else:
            statement = "UPDATE towpath.worker SET lease_until = '-infinity' WHERE id = %(w)s"
            self.run(self.execute(statement, w=worker))
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


def test_random_walks_agree_with_the_model(new_database: Callable[[], str]) -> None:
    """`STEPS` steps; `make walk` takes more of them."""
    Walk.url = new_database()
    run_state_machine_as_test(Walk, settings=SETTINGS)
