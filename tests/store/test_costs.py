"""What a turn and an enqueue touch does not grow with what waits, has ended, or was ever started.

Pages are counted, not time: those of every table and index, also where functions read them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from tests.store.acts import MAIL, NAMES, come, on, options_of, put, rows, turn_of
from tests.store.holding import SCHEMA, opened
from towpath.domain.ids import WorkerId
from towpath.domain.queue import UNLIMITED, Limiter, QueueSettings
from towpath.domain.status import WorkflowStatus
from towpath.store import claims, workers
from towpath.store.session import AsyncSession

FEW, MANY, AT_ONCE = 1_000, 100_000, 10
DAY = timedelta(days=1)
GATED = QueueSettings(concurrency=1000, limiter=Limiter(1_000_000, DAY), priority_enabled=True)
KEYED = replace(GATED, partition_queue=True, partition_limiter=Limiter(1_000, DAY))
TOUCHED = """
SELECT sum(heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read)::integer,
    array_agg(s.relname::text || ' ' || seq_scan ORDER BY s.relname) FILTER (
        WHERE seq_scan > 0 AND s.relname NOT IN ('worker', 'queue', 'gate', 'sleeper', 'retention'))
FROM pg_statio_user_tables JOIN pg_stat_user_tables s USING (relid) WHERE s.schemaname = 'towpath'
"""
WORKFLOWS = """
WITH written AS (
    INSERT INTO towpath.workflow (secret, queue, name, codec, input, created_at, version, key)
    SELECT n, 'mail', 'send', 'json', '{}', now(), %(version)s, %(key)s || n %% %(keys)s
    FROM generate_series(1, %(n)s) AS n
    RETURNING seq, key)
"""
READY = (
    WORKFLOWS
    + """
INSERT INTO towpath.ready (seq, rank, line, queue, name, version, key)
SELECT seq, 0, seq, 'mail', 'send', %(version)s, key FROM written
"""
)
FILLS = {
    "waiting": READY,
    "finished": WORKFLOWS  # noqa: S608 - ours
    + """
INSERT INTO towpath.result SELECT seq, 'SUCCESS', 1, now(), 'null' FROM written
""",
    "other versions": READY,
    "delayed": WORKFLOWS  # noqa: S608 - ours
    + """
INSERT INTO towpath.parked SELECT seq, 0, now() + interval '1 h', 'mail', key FROM written
""",
    "starts": """
INSERT INTO towpath.start (n, at, queue, key)
SELECT l.n + m.n, l.at + m.n * interval '1 us', 'mail', l.key
FROM (
    SELECT k.key, coalesce(max(s.n), 0) AS n, coalesce(max(s.at), now() - interval '1 h') AS at
    FROM (VALUES (''), ('a')) AS k (key) LEFT JOIN towpath.start s ON s.key = k.key GROUP BY k.key
) AS l, generate_series(1, %(n)s) AS m (n)
""",
    "one long key": READY,
    "keys": READY,
}


@dataclass(frozen=True)
class Growth:
    """What there is more and more of, in a queue of which settings."""

    what: str
    settings: QueueSettings
    version: str = ""
    keys: int = 1

    @property
    def id(self) -> str:
        """The name of its test."""
        way = "keyed" if self.settings.partition_queue else claims.way_of(self.settings).value
        return f"{self.what}, {way}"

    async def fill(self, session: AsyncSession, already: int, wanted: int) -> None:
        """Make so many of them."""
        parameters = {
            "version": self.version,
            "key": ("a" if self.keys == 1 else "k") if self.settings.partition_queue else None,
            "keys": self.keys,
            "n": wanted - already,
        }
        if not already:
            await rows(session, FILLS["finished"], **parameters)
        await rows(session, FILLS[self.what], **parameters)
        if self.what == "keys":
            await rows(session, TICKETS)
        await session.run((b"ANALYZE", {}))


TICKETS = """
INSERT INTO towpath.ticket (rank, turn, queue, name, version, key)
SELECT DISTINCT 0, now(), 'mail', 'send', '', key FROM towpath.ready WHERE key LIKE 'k%%'
ON CONFLICT DO NOTHING
"""
GROWTHS = [
    *(
        Growth(what, settings, version="old" if what == "other versions" else "")
        for what in ("waiting", "finished", "other versions", "delayed", "starts")
        for settings in (UNLIMITED, GATED, KEYED)
        if what not in ("waiting", "other versions") or settings != KEYED
        if what != "starts" or settings != UNLIMITED
    ),
    Growth("one long key", KEYED),
    Growth("keys", KEYED, keys=MANY),
]


async def touched(url: str, session: AsyncSession, verb: Callable[[], Awaitable[Any]]) -> int:
    """Return how many pages a verb touches; no table is read from end to end."""
    async with opened(url) as watch:
        before, scans = await _touched(watch, session)
        await verb()
        after, scans_after = await _touched(watch, session)
    assert scans == scans_after
    return after - before


async def _touched(watch: AsyncSession, session: AsyncSession) -> tuple[int, list[str]]:
    await session.run((b"SELECT pg_stat_force_next_flush()", {}))
    ((pages, scans),) = await rows(watch, TOUCHED)
    return pages, scans


async def turns(url: str, session: AsyncSession, who: WorkerId, versions: tuple[str, ...]) -> int:
    """Return what a full turn touches: outcomes, delays, the fold, a claim and the outlook."""
    found: list[int] = []
    ended: tuple[claims.Outcome, ...] = ()
    for _ in range(5):
        turn = replace(
            await turn_of(session, who, AT_ONCE, versions=versions),
            outcomes=ended, outlook=[MAIL], trim=[MAIL],
        )  # fmt: skip
        taken: list[claims.Claimed] = []

        async def take(turn: claims.Turn = turn, taken: list[claims.Claimed] = taken) -> None:
            taken += (await claims.take_turn(session, SCHEMA, turn)).claimed[MAIL]

        found.append(await touched(url, session, take))
        assert len(taken) == AT_ONCE
        status = WorkflowStatus.SUCCESS
        ended = tuple(claims.Outcome(c.seq, c.attempt, MAIL, status, "null") for c in taken)
    await claims.take_turn(session, SCHEMA, claims.Turn(worker=who, names=NAMES, outcomes=ended))
    return sorted(found)[len(found) // 2]


async def enqueues(url: str, session: AsyncSession, settings: QueueSettings) -> int:
    """Return what an enqueue of several with ids touches."""
    option = options_of(settings)
    found: list[int] = []
    for n in range(5):
        items = [
            {**option, "chosen_id": f"{n}-{m}", "deduplication_id": f"{n}-{m}"} for m in range(9)
        ]
        found.append(await touched(url, session, partial(put, session, *items)))
        await rows(session, "SELECT towpath.forget(seq) FROM towpath.workflow WHERE id IS NOT NULL")
    return sorted(found)[len(found) // 2]


@pytest.mark.parametrize("growth", GROWTHS, ids=lambda growth: growth.id)
def test_cost_does_not_grow(database_url: str, growth: Growth) -> None:
    """A turn, a poll and an enqueue touch less than 1.3 times the pages at a hundred times as many."""

    async def body(session: AsyncSession) -> None:
        who = await come(session)
        keyed = growth.settings.partition_queue
        work = [{"partition_key": f"w{n % 50}"} if keyed else {} for n in range(200)]
        found: list[dict[str, int]] = []
        for already, wanted in ((0, FEW), (FEW, MANY)):
            await growth.fill(session, already, wanted)
            await put(session, *work)
            found.append(
                {
                    "turn": await turns(database_url, session, who, ("",)),
                    "enqueue": await enqueues(database_url, session, growth.settings),
                    "poll": await touched(database_url, session, lambda: poll(session, who)),
                }
            )
        few, many = found
        assert all(many[verb] < few[verb] * 1.3 for verb in few), found

    on(database_url, growth.settings, body)


async def poll(session: AsyncSession, who: WorkerId) -> None:
    """Look at the queue."""
    await workers.poll(
        session, SCHEMA, worker=who, queues=[MAIL], names=NAMES, versions=[""], lease=DAY
    )
