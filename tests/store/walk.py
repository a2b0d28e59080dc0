"""What random walks over the store stand on, and what must hold after each of their steps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from hypothesis.stateful import RuleBasedStateMachine, invariant

from tests.store.model import (
    FREE,
    GATED,
    MAX_RECOVERIES,
    NAMES,
    PARTED,
    Living,
    Model,
    Workflow,
)  # fmt: skip
from tests.store.test_claims import SCHEMA
from towpath.domain.ids import QueueName, Seq, WorkerId, WorkflowName
from towpath.domain.queue import UNLIMITED, QueueSettings
from towpath.store import claims, queues, workers
from towpath.store.connect import Endpoint, open_async
from towpath.store.enqueue import Enqueued, NewItem
from towpath.store.session import AsyncSession

T = TypeVar("T")

QUEUES = (FREE, GATED, PARTED)
HOUR = timedelta(hours=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
TABLES = (
    "workflow", "ready", "running", "result", "step", "worker", "queue", "parked", "deduplication",
    "start", "ticket", "wake", "alarm",
)  # fmt: skip
CLEAR = f"TRUNCATE {', '.join(f'towpath.{t}' for t in TABLES)} RESTART IDENTITY CASCADE".encode()
CLOCK = b"""
CREATE TABLE IF NOT EXISTS towpath.test_clock (now timestamptz NOT NULL);
CREATE OR REPLACE FUNCTION towpath.clock() RETURNS timestamptz LANGUAGE sql VOLATILE
AS 'SELECT now FROM towpath.test_clock';
DELETE FROM towpath.test_clock;
"""


class Ground(RuleBasedStateMachine):
    """What a walk stands on: a database that is emptied first, its clock, and what must hold."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.position = 0
        self.past: list[tuple[Seq, int, QueueName]] = []
        self.sessions = [self.run(self.open()), self.run(self.open())]
        self.run(self.session.connection.execute(CLEAR))
        self.run(self.session.connection.execute(CLOCK))
        self.run(self.execute("INSERT INTO towpath.test_clock VALUES (%(now)s)", now=START))
        first = QueueSettings(priority_enabled=True)
        self.model = Model(
            START,
            {FREE: UNLIMITED, GATED: first, PARTED: replace(first, partition_queue=True)},
        )
        for queue, declared in self.model.settings.items():
            self.run(queues.declare(self.session, SCHEMA, queue, declared))
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

    async def execute(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Run a statement of the test's own."""
        return (await self.session.run((statement.encode(), parameters)))[0]

    @property
    def session(self) -> AsyncSession:
        """The session of all but races."""
        return self.sessions[0]

    def teardown(self) -> None:
        """Close the connections."""
        for session in self.sessions:
            self.run(session.connection.close())
        self.runner.close()

    def worker(self, pick: int) -> WorkerId:
        """Choose a worker that has a row."""
        living = sorted(self.model.workers)
        return living[pick % len(living)]

    def attempts(self, picks: list[int], queue: QueueName) -> list[tuple[Seq, int, QueueName]]:
        """Choose attempts of a queue, current and stale; the newest are the first."""
        past = [a for a in self.past[::-1] if a[2] == queue]
        return list({past[pick % len(past)]: None for pick in picks}) if past else []

    def workflow(self, pick: int) -> Workflow | None:
        """Choose a workflow that is there; the newest are the first."""
        there = [w for w in self.model.workflows.values() if w.state != "gone" and not w.forgotten]
        return there[::-1][pick % len(there)] if there else None

    # -- time

    def advance(self, length: timedelta) -> None:
        """Set the database's clock."""
        self.model.now += length
        self.run(self.execute("UPDATE towpath.test_clock SET now = %(now)s", now=self.model.now))

    # -- what a step came back with

    def expect_enqueued(
        self, queue: QueueName, name: str, item: NewItem, report: Enqueued
    ) -> None:
        """Compare one report with what the model has."""
        model = self.model
        same = [w.seq for w in model.workflows.values()
                if w.chosen_id is not None and w.chosen_id == item.chosen_id
                and w.state != "gone" and not w.forgotten]  # fmt: skip
        holder = model.holders().get((queue, item.deduplication_id or ""))
        duplicate = same[0] if same else holder
        assert report.created == (duplicate is None)
        if duplicate is not None:
            assert report.seq == duplicate
            return
        rank = -(item.priority or 0)
        w = Workflow(
            report.seq, queue, name, rank, rank, item.partition_key, item.deduplication_id,
            item.chosen_id, line=report.seq,
        )  # fmt: skip
        model.workflows[w.seq] = w
        if item.delay_seconds is not None:
            w.state, w.due = "parked", model.now + timedelta(seconds=item.delay_seconds)
        else:
            model.partitions.wake(w.key, model.now)

    def resume_one(self, w: Workflow) -> None:
        """Resume; one that was not cancelled or given up is left as it is."""
        before = w.visible_status
        ((answer,),) = self.run(self.execute("SELECT towpath.resume(%(seq)s)", seq=w.seq))
        if before not in ("CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"):
            assert answer == before
            return
        assert answer is None
        ((line,),) = self.run(self.execute("SELECT last_value FROM towpath.workflow_seq"))
        self.model.resume(w, line)

    def forget_one(self, w: Workflow) -> None:
        """Delete; code that runs keeps its place."""
        w.forgotten, w.resumed_line = True, None
        if w.state != "running":
            w.state = "gone"
        ((gone,),) = self.run(self.execute("SELECT towpath.forget(%(seq)s)", seq=w.seq))
        assert gone

    def expect_claimed(
        self, worker: WorkerId, request: claims.ClaimRequest, result: claims.TurnResult
    ) -> None:
        """The claim took exactly what the model says."""
        queue, model = request.queue, self.model
        taken = result.claimed[queue]
        expected = model.expected(worker, queue, request.limit)
        assert [c.seq for c in taken] == expected
        model.place(worker, queue, expected)
        assert [c.attempt for c in taken] == [model.workflows[s].attempt for s in expected]
        self.past += [(c.seq, c.attempt, queue) for c in taken]

    def expect_shared(
        self,
        queue: QueueName,
        pair: list[WorkerId],
        limits: tuple[int, int],
        results: list[claims.TurnResult],
    ) -> None:
        """Two claims without a gate: neither takes too much, both together leave nothing out."""
        model = self.model
        rooms = [model.room(w, queue, n) for w, n in zip(pair, limits, strict=True)]
        known = sum(w.name in NAMES for w in model.in_state("ready", queue))
        begun = 0
        for worker, room, result in zip(pair, rooms, results, strict=True):
            taken = result.claimed[queue]
            assert [c.place for c in taken] == sorted(c.place for c in taken)
            assert len(taken) <= room
            model.place(worker, queue, [c.seq for c in taken])
            self.past += [(c.seq, c.attempt, queue) for c in taken]
            begun += len(taken)
        assert begun >= min(max(rooms), known)

    # -- workers

    def register(self) -> None:
        """A worker comes."""
        who = workers.WorkerIdentity(
            name="w", pool=None, pod_uid=None, node=None, version="", library="0", code_hash="",
            slots=9, queues=list(QUEUES), names=[WorkflowName(n) for n in NAMES],
            max_recoveries=[MAX_RECOVERIES for _ in NAMES],
        )  # fmt: skip
        worker = self.run(workers.register(self.session, SCHEMA, who, lease=HOUR))
        self.model.workers[worker] = Living()

    def request(self, queue: QueueName, limit: int, *, ripen: bool = False) -> claims.ClaimRequest:
        """Return the claim of a worker that knows the settings of this moment."""
        (stored,) = self.run(queues.settings_of(self.session, SCHEMA, [queue]))
        way = claims.way_of(stored.settings)
        return claims.ClaimRequest(
            queue=queue, limit=limit, revision=stored.revision, way=way, ripen=ripen
        )

    # -- what must hold after each step

    @invariant()
    def everything_stands_where_the_model_has_it(self) -> None:
        """Status, place in line, attempt and recoveries of each workflow; each place; each holder."""
        rows = self.run(self.execute("SELECT seq, towpath.status_of(seq) FROM towpath.workflow"))
        there = [w for w in self.model.workflows.values() if w.state != "gone" and not w.forgotten]
        assert dict(rows) == {w.seq: w.visible_status for w in there}
        rows = self.run(self.execute(
            "SELECT seq, rank, line, attempt, recoveries, key FROM towpath.ready ORDER BY seq"))  # fmt: skip
        assert rows == [
            (w.seq, w.rank, w.line, w.attempt, w.recoveries, w.key)
            for w in sorted(self.model.in_state("ready"), key=lambda w: w.seq)
        ]
        rows = self.run(self.execute(
            "SELECT seq, worker, attempt, fenced, key FROM towpath.running ORDER BY seq"))  # fmt: skip
        assert rows == [
            (w.seq, w.worker, w.attempt, w.fenced, w.key)
            for w in sorted(self.model.in_state("running"), key=lambda w: w.seq)
        ]
        rows = self.run(self.execute("SELECT queue, id, seq FROM towpath.deduplication"))
        assert {(q, i): s for q, i, s in rows} == self.model.holders()

    @invariant()
    def no_start_is_forgotten(self) -> None:
        """Whatever was cancelled, resumed, recovered, deleted or declared since."""
        counted = "SELECT queue, key, max(n), max(at) FROM towpath.start GROUP BY queue, key"
        rows = self.run(self.execute(counted))
        starts = {k: s.dates for k, s in self.model.starts.items() if s.dates}
        assert {(q, k): (n, at) for q, k, n, at in rows} == {
            key: (len(dates), dates[-1]) for key, dates in starts.items()
        }
