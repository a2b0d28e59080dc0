"""raw under limits: the fewest statements that keep a concurrency, a limiter and partitions.

A gate row is locked first and counted in the next statement: a count in the statement that locks
would use the snapshot from before the lock, and overshoot.
"""

from __future__ import annotations

import queue
import time
from concurrent.futures import ThreadPoolExecutor

from bench.adapter import Connection, Job

SCHEMA = """
ALTER TABLE job ADD COLUMN IF NOT EXISTS part integer;
CREATE INDEX IF NOT EXISTS job_part ON job (part, id) WHERE state = 0 AND part IS NOT NULL;
CREATE TABLE IF NOT EXISTS gate (running integer NOT NULL) WITH (fillfactor = 20);
CREATE TABLE IF NOT EXISTS start (id bigint PRIMARY KEY, at timestamptz NOT NULL);
CREATE INDEX IF NOT EXISTS start_at ON start (at);
CREATE TABLE IF NOT EXISTS part (key integer PRIMARY KEY, busy boolean NOT NULL DEFAULT false)
    WITH (fillfactor = 50);
CREATE INDEX IF NOT EXISTS part_free ON part (key) WHERE NOT busy;
"""
COMPLETE = "UPDATE job SET state = 2, result = 'null'::jsonb WHERE id = ANY(%s)"
LOCK = "SELECT running FROM gate FOR UPDATE"
CLAIM_PLACES = """
WITH chosen AS (
    SELECT id FROM job WHERE state = 0 ORDER BY id
    LIMIT (SELECT %(limit)s + %(done)s - running FROM gate) FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE job SET state = 1, started_at = now() FROM chosen WHERE job.id = chosen.id
    RETURNING job.id, job.arg
), counted AS (
    UPDATE gate SET running = running - %(done)s + (SELECT count(*) FROM claimed)
)
SELECT id, arg FROM claimed
"""
CLAIM_STARTS = """
WITH recent AS (
    SELECT count(*) AS n, min(at) AS oldest FROM start
    WHERE at > clock_timestamp() - make_interval(secs => %(period)s)
), chosen AS (
    SELECT id FROM job WHERE state = 0 ORDER BY id
    LIMIT (SELECT greatest(0, %(limit)s - n) FROM recent) FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE job SET state = 1, started_at = clock_timestamp() FROM chosen WHERE job.id = chosen.id
    RETURNING job.id, job.arg
), counted AS (
    INSERT INTO start (id, at) SELECT id, clock_timestamp() FROM claimed
)
SELECT id, arg, NULL FROM claimed
UNION ALL
SELECT NULL, NULL, extract(epoch FROM
    oldest + make_interval(secs => %(period)s) - clock_timestamp())::float8 FROM recent
"""
CLAIM_HEADS = """
WITH free AS (
    SELECT key FROM part WHERE NOT busy ORDER BY key LIMIT %s FOR UPDATE SKIP LOCKED
), head AS (
    SELECT free.key, first.id FROM free CROSS JOIN LATERAL (
        SELECT id FROM job WHERE part = free.key AND state = 0 ORDER BY id LIMIT 1) AS first
), marked AS (
    UPDATE part SET busy = true FROM head WHERE part.key = head.key
)
UPDATE job SET state = 1, started_at = now() FROM head WHERE job.id = head.id
RETURNING job.id, job.arg, job.part
"""
FREE_PARTS = """
UPDATE part SET busy = false WHERE key = ANY(%s)
    AND EXISTS (SELECT FROM job WHERE part = key AND state = 0)
"""


def work_concurrency(job: Job, connection: Connection) -> None:
    """Run at most `limit` at once in all processes: one thread claims, a pool runs."""
    limit = job.settings["limit"]
    pool = ThreadPoolExecutor(limit)
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()

    def run(identity: int, number: int) -> None:
        place = job.recorder.start(number)
        time.sleep(job.sleep)
        job.recorder.end(place)
        ended.put(identity)

    job.ready()
    while True:
        done = _take(ended)
        with connection.pipeline(), connection.transaction():
            if done:
                connection.execute(COMPLETE, [done])
            connection.execute(LOCK)
            claim = connection.execute(CLAIM_PLACES, {"limit": limit, "done": len(done)})
            rows = claim.fetchall()
        for identity, number in rows:
            pool.submit(run, identity, number)


def _take(ended: queue.SimpleQueue[int]) -> list[int]:
    """Return what has ended, after a wait of at most 2 ms for the first."""
    done = []
    try:
        done.append(ended.get(timeout=0.002))
        while True:
            done.append(ended.get_nowait())
    except queue.Empty:
        return done


def work_limiter(job: Job, connection: Connection) -> None:
    """Start at most `limit` in any `period`, by a log of the starts."""
    bounds = {"limit": job.settings["limit"], "period": job.settings["period"]}
    job.ready()
    while True:
        with connection.pipeline(), connection.transaction():
            connection.execute(LOCK)
            rows = connection.execute(CLAIM_STARTS, bounds).fetchall()
        done = []
        for identity, number, _ in rows[:-1]:
            job.recorder.end(job.recorder.start(number))
            done.append(identity)
        if done:
            connection.execute(COMPLETE, [done])
        else:
            time.sleep(min(max(rows[-1][2] or 0.02, 0.002), 0.2))


def work_partitions(job: Job, connection: Connection) -> None:
    """Start the head of each partition in which nothing runs."""
    batch = job.settings["batch"]
    job.ready()
    while True:
        rows = connection.execute(CLAIM_HEADS, [batch]).fetchall()
        for _, number, _ in rows:
            job.recorder.end(job.recorder.start(number))
        if not rows:
            time.sleep(0.01)
            continue
        with connection.pipeline(), connection.transaction():
            connection.execute(COMPLETE, [[identity for identity, _, _ in rows]])
            connection.execute(FREE_PARTS, [[part for _, _, part in rows]])
