"""Durable steps by hand: a row for each, with a commit of its own or one for a hundred workflows' next."""

from __future__ import annotations

from bench.adapter import Connection, Job

SCHEMA = """
CREATE TABLE IF NOT EXISTS step (
    job bigint NOT NULL, position integer NOT NULL, output jsonb, PRIMARY KEY (job, position)
)
"""
STEP = "INSERT INTO step VALUES (%s, %s, %s::jsonb)"
WAVE = "INSERT INTO step SELECT i, %s, to_jsonb(i) FROM unnest(%s::bigint[]) AS i"
BATCH = 100


def work_steps(job: Job, connection: Connection, claim: str, complete: str) -> None:
    """Claim a hundred, take their steps, complete them."""
    listener = connection  # nothing else is under way when it has nothing to do
    listener.execute("LISTEN job")
    job.ready()
    while True:
        rows = connection.execute(claim.encode(), [BATCH]).fetchall()
        places = [job.recorder.start(number) for _, number in rows]
        ids = [identity for identity, _ in rows]
        for position in range(1, job.steps + 1):
            if job.settings["waves"]:
                connection.execute(WAVE, [position, ids])
                continue
            for identity in ids:
                connection.execute(STEP, [identity, position, "1"])
        connection.execute(complete.encode(), [ids])
        for place in places:
            job.recorder.end(place)
        if not rows:
            list(listener.notifies(timeout=0.05, stop_after=1))
