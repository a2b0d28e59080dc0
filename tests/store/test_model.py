"""Random walks over claims, ends, leases and limits, against a plain model of what must hold.

Each step of a walk is one call of the store, or two turns at once. After each, every workflow is in
exactly one place, the order of the line and the limits are the model's, and no stale attempt has
changed anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.store.test_claims import MAIL, SCHEMA, put, success
from towpath.domain.ids import Seq, WorkerId, WorkflowName
from towpath.domain.queue import UNLIMITED, QueueSettings
from towpath.store import claims, queues, steps, workers
from towpath.store.connect import Endpoint, open_async
from towpath.store.session import AsyncSession

T = TypeVar("T")

NAMES = ("send", "other")  # what workers know; "strange" waits for ever
MAX_RECOVERIES = 1
HOUR = timedelta(hours=1)
CLEAR = (
    b"TRUNCATE towpath.workflow, towpath.ready, towpath.running, towpath.result, towpath.step, "
    b"towpath.worker, towpath.queue RESTART IDENTITY CASCADE"
)
# numbers, since how many attempts there are after a race is no choice of the walk's
PICKS = st.lists(st.integers(0, 7) | st.integers(0, 30), max_size=4)
SETTINGS = settings(
    max_examples=200,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@dataclass
class Waiting:
    """A workflow in the line."""

    name: str
    attempt: int = 0
    recoveries: int = 0


@dataclass
class Running:
    """A place, and what was claimed into it."""

    worker: WorkerId
    recoveries: int
    claimed: claims.Claimed
    progress: bool = False


@dataclass
class Living:
    """A worker that has a row."""

    draining: bool = False
    expired: bool = False


@dataclass
class Model:
    """What the database should hold. The key of a line is the workflow's seq: first in, first out."""

    settings: QueueSettings = UNLIMITED
    ready: dict[Seq, Waiting] = field(default_factory=dict)
    running: dict[Seq, Running] = field(default_factory=dict)
    ended: dict[Seq, str] = field(default_factory=dict)
    workers: dict[WorkerId, Living] = field(default_factory=dict)
    past: list[claims.Claimed] = field(default_factory=list)

    def room(self, worker: WorkerId, limit: int) -> int:
        """Return how many a claim may take."""
        living = self.workers.get(worker)
        if living is None or living.draining or living.expired:
            return 0
        most = [limit]
        if self.settings.concurrency is not None:
            most.append(self.settings.concurrency - len(self.running))
        if self.settings.worker_concurrency is not None:
            own = sum(r.worker == worker for r in self.running.values())
            most.append(self.settings.worker_concurrency - own)
        return max(0, min(most))

    def head(self, count: int) -> list[Seq]:
        """Return the first in line that workers know."""
        return [s for s in sorted(self.ready) if self.ready[s].name in NAMES][:count]

    def place(self, worker: WorkerId, claimed: claims.Claimed) -> None:
        """Take a workflow from the line."""
        waiting = self.ready.pop(claimed.seq)
        assert claimed.attempt == waiting.attempt + 1
        self.running[claimed.seq] = Running(worker, waiting.recoveries, claimed)
        self.past.append(claimed)

    def holds(self, claimed: claims.Claimed) -> bool:
        """Tell whether the attempt still has its place."""
        running = self.running.get(claimed.seq)
        return running is not None and running.claimed.attempt == claimed.attempt

    def hand_back(self, seq: Seq) -> None:
        """Return a workflow to its place in the line."""
        running = self.running.pop(seq)
        self.ready[seq] = Waiting(running.claimed.name, running.claimed.attempt, running.recoveries)

    def fall(self, worker: WorkerId) -> tuple[int, int]:
        """End a worker's lease; return how many went back and how many were given up."""
        living = self.workers.pop(worker)
        given_up = 0
        fallen = [seq for seq, r in self.running.items() if r.worker == worker]
        for seq in fallen:
            running = self.running[seq]
            if not living.draining:
                running.recoveries = 0 if running.progress else running.recoveries + 1
            if running.recoveries > MAX_RECOVERIES:
                del self.running[seq]
                self.ended[seq] = "MAX_RECOVERY_ATTEMPTS_EXCEEDED"
                given_up += 1
            else:
                self.hand_back(seq)
        return len(fallen) - given_up, given_up


class Walk(RuleBasedStateMachine):
    """One walk, over a database of its own that is emptied first."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model = Model()
        self.position = 0
        self.sessions = [self.run(self.open()), self.run(self.open())]
        self.run(self.session.run((CLEAR, {})))
        self.run(queues.declare(self.session, SCHEMA, MAIL, UNLIMITED))
        self.register()
        self.register()

    def run(self, awaitable: Awaitable[T]) -> T:
        """Await something."""

        async def wait() -> T:
            return await awaitable

        return self.runner.run(wait())

    async def open(self) -> AsyncSession:
        """Return a session."""
        return AsyncSession(await open_async(Endpoint.at(self.url)))

    @property
    def session(self) -> AsyncSession:
        """The session of all but races."""
        return self.sessions[0]

    def teardown(self) -> None:
        """Close the connections."""
        for session in self.sessions:
            self.run(session.connection.close())
        self.runner.close()

    def some_worker(self, data: st.DataObject) -> WorkerId:
        """Choose a worker that has a row."""
        return data.draw(st.sampled_from(sorted(self.model.workers)), "worker")

    def attempts(self, picks: list[int]) -> list[claims.Claimed]:
        """Choose attempts, current and stale; the newest are the first."""
        past = self.model.past[::-1]
        return list({past[pick % len(past)]: None for pick in picks}) if past else []

    # -- the steps of a walk

    @rule(name=st.sampled_from([*NAMES, "strange"]), count=st.integers(1, 4))
    def enqueue(self, name: str, count: int) -> None:
        """Put workflows in line."""
        for number in range(count):
            done = self.run(put(self.session, number, name=name))
            self.model.ready[done.seq] = Waiting(name)

    def register(self) -> None:
        """A worker comes."""
        who = workers.WorkerIdentity(
            name="w", pool=None, pod_uid=None, node=None, version="", library="0", code_hash="",
            slots=9, queues=[MAIL], names=[WorkflowName(n) for n in NAMES],
            max_recoveries=[MAX_RECOVERIES for _ in NAMES],
        )  # fmt: skip
        worker = self.run(workers.register(self.session, SCHEMA, who, lease=HOUR))
        self.model.workers[worker] = Living()

    @rule(concurrency=st.none() | st.integers(1, 4), here=st.none() | st.integers(1, 2))
    def change_limits(self, concurrency: int | None, here: int | None) -> None:
        """Declare other limits."""
        if concurrency is not None and here is not None:
            here = min(concurrency, here)
        wanted = QueueSettings(concurrency=concurrency, worker_concurrency=here)
        stored = self.run(queues.declare(self.session, SCHEMA, MAIL, wanted))
        assert stored.settings == wanted
        self.model.settings = wanted

    def request(self, limit: int) -> claims.ClaimRequest:
        """Return the claim of a worker that knows the settings of this moment."""
        (stored,) = self.run(queues.settings_of(self.session, SCHEMA, [MAIL]))
        shared = stored.settings.concurrency is not None
        return claims.ClaimRequest(MAIL, limit, stored.revision, shared)

    @rule(
        data=st.data(), ends=PICKS, back=PICKS, limit=st.integers(0, 5),
        old=st.sampled_from([False, False, False, True]),
    )  # fmt: skip
    def take_turn(
        self, data: st.DataObject, ends: list[int], back: list[int], limit: int, *, old: bool
    ) -> None:
        """Write outcomes, hand back, claim, each also with attempts that are stale."""
        model, worker = self.model, self.some_worker(data)
        ended = self.attempts(ends)
        given = [c for c in self.attempts(back) if c not in ended]
        request = self.request(limit)
        if old:
            request = claims.ClaimRequest(MAIL, limit, request.revision - 1, request.shared)
        turn = claims.Turn(
            worker=worker,
            names=[WorkflowName(n) for n in NAMES],
            outcomes=[success(c) for c in ended],
            hand_back=[(c.seq, c.attempt) for c in given],
            claims=[request],
        )
        result = self.run(claims.take_turn(self.session, SCHEMA, turn))
        held = [c.seq for c in ended if model.holds(c)]
        assert result.stale == {(c.seq, c.attempt) for c in ended if not model.holds(c)}
        for seq in held:
            del model.running[seq]
            model.ended[seq] = "SUCCESS"
        for claimed in given:
            if model.holds(claimed):
                model.hand_back(claimed.seq)
        taken = result.claimed[MAIL]
        assert [c.seq for c in taken] == model.head(0 if old else model.room(worker, limit))
        for claimed in taken:
            model.place(worker, claimed)

    @rule(data=st.data(), limits=st.tuples(st.integers(1, 4), st.integers(1, 4)))
    def race(self, data: st.DataObject, limits: tuple[int, int]) -> None:
        """Two workers claim at once: none is taken twice, and each stays within every limit."""
        model = self.model
        pair = data.draw(st.permutations(sorted(model.workers)), "workers")[:2]
        turns = [
            claims.Turn(
                worker=worker,
                names=[WorkflowName(n) for n in NAMES],
                claims=[self.request(limit)],
            )
            for worker, limit in zip(pair, limits, strict=True)
        ]

        async def both() -> list[claims.TurnResult]:
            pairs = zip(self.sessions, turns, strict=True)
            return await asyncio.gather(*(claims.take_turn(s, SCHEMA, t) for s, t in pairs))

        before = len(model.running)
        rooms = [model.room(w, n) for w, n in zip(pair, limits, strict=True)]
        known = len(model.head(len(model.ready)))
        for worker, room, result in zip(pair, rooms, self.run(both()), strict=True):
            taken = result.claimed[MAIL]
            assert [c.seq for c in taken] == sorted(c.seq for c in taken)
            assert len(taken) <= room
            for claimed in taken:
                model.place(worker, claimed)
        begun = len(model.running) - before
        if model.settings.concurrency is not None:
            # they went one after the other, so that the second saw what the first had left
            both_rooms = min(sum(rooms), max(0, model.settings.concurrency - before))
            assert begun == min(both_rooms, known)
        assert begun >= min(max(rooms), known)

    @rule(picks=PICKS)
    def record(self, picks: list[int]) -> None:
        """Record steps of current and of stale attempts in one commit."""
        attempts = self.attempts(picks)
        self.position += 1
        new = [
            steps.NewStep(c.seq, c.attempt, f"{self.position}.{n}", "s", "1", None, timedelta(0))
            for n, c in enumerate(attempts)
        ]
        written = self.run(steps.record(self.session, SCHEMA, new))
        held = [c for c in attempts if self.model.holds(c)]
        assert written == {
            (s.seq, s.position) for s, c in zip(new, attempts, strict=True) if c in held
        }
        for claimed in held:
            self.model.running[claimed.seq].progress = True

    @rule(data=st.data(), kind=st.sampled_from(["dies", "dies", "drains and dies", "stops"]))
    def lose_worker(self, data: st.DataObject, kind: str) -> None:
        """A worker goes, and another comes in its place."""
        worker = self.some_worker(data)
        if kind == "drains and dies":
            self.run(workers.begin_draining(self.session, SCHEMA, worker))
            self.model.workers[worker].draining = True
        if kind == "stops":
            recovery = self.run(workers.end_own_lease(self.session, SCHEMA, worker))
            assert (recovery.returned, recovery.given_up) == self.model.fall(worker)
        else:
            statement = b"UPDATE towpath.worker SET lease_until = '-infinity' WHERE id = %(w)s"
            self.run(self.session.run((statement, {"w": worker})))
            self.model.workers[worker].expired = True
        self.register()

    @rule()
    def recover(self) -> None:
        """Leases that ran out are ended."""
        recovery = self.run(workers.end_dead_leases(self.session, SCHEMA, me=WorkerId(0)))
        dead = [w for w, living in self.model.workers.items() if living.expired]
        assert sorted(w for w, _ in recovery.workers) == sorted(dead)
        fell = [self.model.fall(worker) for worker in dead]
        expected = (sum(back for back, _ in fell), sum(up for _, up in fell))
        assert (recovery.returned, recovery.given_up) == expected

    @rule(data=st.data(), picks=PICKS)
    def reconnect(self, data: st.DataObject, picks: list[int]) -> None:
        """A worker has lost an answer: it gives back every place but those that it knows."""
        worker = self.some_worker(data)
        known = {(c.seq, c.attempt) for c in self.attempts(picks)}
        self.run(
            claims.hand_back_unknown(
                self.session, SCHEMA, worker=worker, queues=[MAIL], known=sorted(known)
            )
        )
        for seq, running in list(self.model.running.items()):
            if running.worker == worker and (seq, running.claimed.attempt) not in known:
                self.model.hand_back(seq)

    # -- what holds after each

    @invariant()
    def every_workflow_is_where_the_model_has_it(self) -> None:
        """In the line, in a place, or ended; never in two of them, never in none."""
        look: Callable[..., Any] = self.session.run
        ready, running, ended, there = self.run(
            look(
                (b"SELECT seq, name, attempt, recoveries FROM towpath.ready", {}),
                (b"SELECT seq, worker, attempt, recoveries FROM towpath.running", {}),
                (b"SELECT seq, status FROM towpath.result", {}),
                (b"SELECT seq FROM towpath.workflow", {}),
            )
        )
        model = self.model
        assert sorted(ready) == [
            (s, w.name, w.attempt, w.recoveries) for s, w in sorted(model.ready.items())
        ]
        assert sorted(running) == [
            (s, r.worker, r.claimed.attempt, r.recoveries) for s, r in sorted(model.running.items())
        ]
        assert sorted(ended) == sorted(model.ended.items())
        assert len(there) == len(ready) + len(running) + len(ended)


@pytest.mark.timeout(600)  # a walk that fails is made short before it is shown
def test_random_walks_agree_with_the_model(database_url: str) -> None:
    """Enqueue, claim, complete, hand back, expire, recover, drain, stop, change limits, in any order."""
    machine = type("WalkHere", (Walk,), {"url": database_url})
    run_state_machine_as_test(machine, settings=SETTINGS)
