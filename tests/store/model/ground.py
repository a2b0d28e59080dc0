"""What random walks over the store stand on: a database, its clock, and what must hold after each step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeVar

from hypothesis.stateful import RuleBasedStateMachine, invariant

from tests.store.holding import SCHEMA
from tests.store.model.model import MAX_RECOVERIES, Claiming, Living, Model
from tests.store.model.workflows import Workflow
from towpath.domain.ids import QueueName, Seq, WorkerId, WorkflowName
from towpath.domain.queue import UNLIMITED, QueueSettings
from towpath.store import claims, queues, workers
from towpath.store.connect import Endpoint, open_async
from towpath.store.session import AsyncSession

T = TypeVar("T")

FREE, GATED, PARTED, SWITCHED = (QueueName(q) for q in ("free", "gated", "parted", "switched"))
QUEUES = (FREE, GATED, PARTED, SWITCHED)
NAMES = (WorkflowName("send"), WorkflowName("other"))  # what workers know; "strange" waits for ever
HOUR = timedelta(hours=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
TABLES = (
    "workflow", "ready", "running", "result", "step", "worker", "gate", "queue", "parked",
    "deduplication", "start", "ticket", "wake", "alarm",
)  # fmt: skip
CLEAR = "; ".join(f"DELETE FROM towpath.{t}" for t in TABLES).encode()  # noqa: S608 - ours
CLOCK = b"""
CREATE TABLE IF NOT EXISTS towpath.test_clock (now timestamptz NOT NULL);
CREATE OR REPLACE FUNCTION towpath.clock() RETURNS timestamptz LANGUAGE sql VOLATILE
AS 'SELECT now FROM towpath.test_clock';
INSERT INTO towpath.test_clock VALUES (now());
"""
LOOK = b"""
SELECT ARRAY(SELECT (seq, towpath.status_of(seq))::text FROM towpath.workflow ORDER BY seq),
    ARRAY(SELECT (seq, rank, key)::text FROM towpath.parked ORDER BY seq),
    ARRAY(SELECT (seq, rank, line, attempt, recoveries, version, key, deduplication_id)::text
        FROM towpath.ready ORDER BY seq),
    ARRAY(SELECT (seq, worker, rank, line, attempt, recoveries, fenced, resumed_line, key)::text
        FROM towpath.running ORDER BY seq),
    ARRAY(SELECT (queue, id, seq)::text FROM towpath.deduplication ORDER BY queue, id),
    ARRAY(SELECT (queue, key, n, extract(epoch FROM at)::numeric(20, 6))::text
        FROM towpath.start ORDER BY queue, key, n),
    ARRAY(SELECT key FROM towpath.ticket t
        WHERE NOT EXISTS (SELECT FROM towpath.ready r WHERE r.queue = t.queue AND r.key = t.key)
          AND NOT EXISTS (SELECT FROM towpath.wake w WHERE w.queue = t.queue AND w.key = t.key))
"""

WAITING = b"""
SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted
"""


class Ground(RuleBasedStateMachine):
    """What a walk stands on. Walks share a database and its connections; each begins by clearing it."""

    runner: ClassVar[asyncio.Runner]
    sessions: ClassVar[Sequence[AsyncSession]]

    def __init__(self) -> None:
        super().__init__()
        self.position = 0
        self.past: list[tuple[Seq, int, QueueName]] = []
        self.run(self.session.connection.execute(CLEAR))
        ranked = QueueSettings(priority_enabled=True)
        parted = replace(ranked, partition_queue=True)
        self.model = Model(
            START, {FREE: UNLIMITED, GATED: ranked, PARTED: parted, SWITCHED: UNLIMITED}
        )
        self.advance(timedelta(0))
        for queue, declared in self.model.settings.items():
            self.run(queues.declare(self.session, SCHEMA, queue, declared))
        self.register()
        self.register()

    @classmethod
    def stand_on(cls, url: str) -> None:
        """Connect to a database that has the schema, and take over its clock."""

        async def connect() -> AsyncSession:
            return AsyncSession(await open_async(Endpoint.at(url)))

        cls.runner = asyncio.Runner()
        cls.sessions = [cls.run(connect()) for _ in range(3)]
        cls.run(cls.sessions[0].connection.execute(CLOCK))

    @classmethod
    def leave(cls) -> None:
        """Close the connections."""
        for session in cls.sessions:
            cls.run(session.connection.close())
        cls.runner.close()

    @classmethod
    def run(cls, awaitable: Awaitable[T]) -> T:
        """Await something."""

        async def wait() -> T:
            return await awaitable

        return cls.runner.run(wait())

    def execute(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Run a statement of the test's own."""
        return self.run(self.session.run((statement.encode(), parameters)))[0]

    @property
    def session(self) -> AsyncSession:
        """The session of all but races."""
        return self.sessions[0]

    # -- choices: numbers, since how many there are to choose from may differ after a race

    def worker(self, pick: int) -> WorkerId:
        """Choose a worker that has a row, seldom one that is dead or drains."""
        living = sorted(self.model.workers)
        return living[pick % len(living)] if pick % 5 == 4 else self.alive(pick)

    def alive(self, pick: int) -> WorkerId:
        """Choose a worker that may claim; there are always two."""
        alive = [
            w for w, living in sorted(self.model.workers.items())
            if not living.expired and not living.draining
        ]  # fmt: skip
        return alive[pick % len(alive)]

    def attempts(self, picks: Sequence[int], queue: QueueName) -> list[tuple[Seq, int]]:
        """Choose attempts of a queue, current and stale; the newest are the first."""
        past = [a[:2] for a in self.past[::-1] if a[2] == queue]
        return list({past[pick % len(past)]: None for pick in picks}) if past else []

    def workflow(self, pick: int) -> Workflow | None:
        """Choose a workflow that is there; the newest are the first."""
        there = [w for w in self.model.workflows.values() if w.there]
        return there[::-1][pick % len(there)] if there else None

    # -- time and workers

    def advance(self, length: timedelta) -> None:
        """Set the database's clock."""
        self.model.now += length
        self.execute("UPDATE towpath.test_clock SET now = %(now)s", now=self.model.now)

    def register(self) -> None:
        """A worker comes."""
        who = workers.WorkerIdentity(
            name="w", pool=None, pod_uid=None, node=None, version="", library="0", code_hash="",
            slots=9, queues=list(QUEUES), names=NAMES, max_recoveries=[MAX_RECOVERIES] * len(NAMES),
        )  # fmt: skip
        worker = self.run(workers.register(self.session, SCHEMA, who, lease=HOUR))
        self.model.workers[worker] = Living()

    def request(self, asked: Claiming, *, ripen: bool = False) -> claims.ClaimRequest:
        """Return the claim of a worker that knows the settings of this moment."""
        (stored,) = self.run(queues.settings_of(self.session, SCHEMA, [asked.queue]))
        assert stored.settings == self.model.settings[asked.queue]
        return claims.ClaimRequest(
            queue=asked.queue,
            limit=asked.limit,
            revision=stored.revision,
            way=claims.way_of(stored.settings),
            passed={WorkflowName(name): place for name, place in asked.passed},
            ripen=ripen,
        )

    async def at_once(
        self, queue: QueueName, turns: Sequence[claims.Turn]
    ) -> list[claims.TurnResult]:
        """Take two turns at the same moment: both wait for the settings of their queue first."""
        gun = self.sessions[2]
        await gun.run((b"BEGIN", {}))
        await gun.run((SCHEMA["hold_settings"], {"queue": queue}))
        pairs = zip(self.sessions, turns, strict=False)
        running = [asyncio.ensure_future(claims.take_turn(s, SCHEMA, t)) for s, t in pairs]
        while (await gun.run((WAITING, {})))[0][0][0] < len(turns):
            continue
        await gun.run((b"COMMIT", {}))
        return await asyncio.gather(*running)

    # -- what a claim came back with

    def expect_claimed(self, asked: Claiming, taken: Sequence[claims.Claimed]) -> None:
        """The claim took exactly what the model says, in its order, within every limit."""
        model = self.model
        expected = model.expected(asked)
        assert [c.seq for c in taken] == expected
        model.place(asked, expected)
        assert [c.attempt for c in taken] == [model.workflows[s].attempt for s in expected]
        self.note(asked, taken)

    def note(self, asked: Claiming, taken: Sequence[claims.Claimed]) -> None:
        """Remember attempts; what a claim fills, it fills within the limits in force."""
        self.past += [(c.seq, c.attempt, asked.queue) for c in taken]
        if not taken:
            return
        settings = self.model.settings[asked.queue]
        counted = "SELECT count(*), count(*) FILTER (WHERE worker = %(worker)s) FROM towpath.running WHERE queue = %(queue)s"
        ((places, own),) = self.execute(counted, worker=asked.worker, queue=asked.queue)
        assert settings.concurrency is None or places <= settings.concurrency
        assert settings.worker_concurrency is None or own <= settings.worker_concurrency
        if settings.partition_queue:
            for key in {self.model.workflows[c.seq].key for c in taken}:
                assert self.model.places(asked.queue, key) <= (settings.partition_concurrency or 1)

    # -- what must hold after each step

    @invariant()
    def everything_stands_where_the_model_has_it(self) -> None:
        """Status, place in line, attempt and recoveries; each place; each holder; every start."""
        ((statuses, parked, ready, running, held, starts, stale),) = self.run(
            self.session.run((LOOK, {}))
        )[0]
        flows = sorted(self.model.workflows.values(), key=lambda w: w.seq)
        same("status", statuses, [_row(w.seq, w.visible_status) for w in flows if w.there])
        delayed = [w for w in flows if w.state == "parked"]
        same("parked", parked, [_row(w.seq, w.rank, w.key) for w in delayed])
        same("ready", ready, [
            _row(w.seq, *w.place, w.attempt, w.recoveries, w.version, w.key, w.deduplication_id)
            for w in flows if w.state == "ready"
        ])  # fmt: skip
        same("running", running, [
            _row(w.seq, w.worker, *w.place, w.attempt, w.recoveries, w.fenced, w.resumed_line, w.key)
            for w in flows if w.state == "running"
        ])  # fmt: skip
        same("held", held, [_row(*of, seq) for of, seq in sorted(self.model.holders().items())])
        same("start", starts, [
            _row(*of, n, f"{at.timestamp():.6f}")
            for of, kept in sorted(self.model.starts.items()) for n, at in kept.rows
        ])  # fmt: skip
        same("tickets of keys where nothing waits", stale, [])


def same(what: str, found: list[str], expected: list[str]) -> None:
    """Tell what differs, where something does."""
    only_found = [row for row in found if row not in expected]
    only_expected = [row for row in expected if row not in found]
    assert found == expected, f"{what}: found {only_found}, expected {only_expected}"


def _row(*values: Any) -> str:
    """Write a row as Postgres writes it as text."""
    texts = []
    for value in values:
        if value is None:
            texts.append("")
        elif isinstance(value, bool):
            texts.append("t" if value else "f")
        else:
            text = str(value)
            texts.append(f'"{text}"' if not text or "(" in text else text)
    return f"({','.join(texts)})"
