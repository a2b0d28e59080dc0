"""The rows of towpath's own tables, written and read by SQL where the public surface would be slow."""

from __future__ import annotations

from psycopg import sql

from bench.adapter import Connection, Fill

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'towpath'"
EMPTIED = {
    "workflow", "ready", "parked", "running", "result", "step", "deduplication", "start", "ticket",
    "wake", "alarm", "worker", "sleeper",
}  # fmt: skip
"""Those that hold work, and what dead workers have left behind."""
INTERNAL = "_towpath"
"""The one queue that the schema itself brings."""

WATCH = """
CREATE TABLE IF NOT EXISTS public.claim (at timestamptz NOT NULL);
TRUNCATE public.claim;
CREATE OR REPLACE FUNCTION public.note_claim() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.claim VALUES (clock_timestamp()); RETURN NEW; END';
CREATE TRIGGER note_claim BEFORE INSERT ON towpath.running
    FOR EACH ROW EXECUTE FUNCTION public.note_claim();
"""
CLAIMS = "SELECT extract(epoch FROM at)::float8 FROM public.claim"

QUEUE = """
WITH made AS (
    INSERT INTO towpath.queue (name) VALUES ('q') ON CONFLICT (name) DO NOTHING RETURNING name
)
INSERT INTO towpath.gate (queue) SELECT name FROM made
"""
WORKFLOWS = """
WITH written AS (
    INSERT INTO towpath.workflow (secret, queue, name, version, key, codec, input, created_at)
    SELECT n, 'q', 'noop', %(version)s,
        CASE WHEN %(partitions)s > 0 THEN 'p' || n %% greatest(%(partitions)s, 1) END,
        'json', '{"args":[' || n || '],"kwargs":{}}', towpath.clock()
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
    RETURNING seq, queue, name, version, key
)
"""
WAITING = """
INSERT INTO towpath.ready (seq, rank, line, queue, name, version, key)
SELECT seq, 0, seq, queue, name, version, key FROM written
"""
FINISHED = """
INSERT INTO towpath.result (seq, status, attempt, completed_at, output)
SELECT seq, 'SUCCESS', 1, towpath.clock(), 'null' FROM written
"""
UNSEEN = """
INSERT INTO towpath.wake (rank, turn, queue, key)
SELECT 0, towpath.clock(), 'q', 'p' || n FROM generate_series(0, %s::bigint) n
"""
SEEN = """
INSERT INTO towpath.ticket (rank, turn, queue, name, version, key)
SELECT 0, towpath.clock(), 'q', 'noop', '', 'p' || n FROM generate_series(0, %s::bigint) n
"""


def empty(connection: Connection) -> None:
    """Empty every table, and forget every queue with its options."""
    connection.execute("DROP TRIGGER IF EXISTS note_claim ON towpath.running")
    names = {name for (name,) in connection.execute(TABLES)} & EMPTIED
    tables = sql.SQL(", ").join(sql.Identifier("towpath", name) for name in sorted(names))
    connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(tables))
    connection.execute("DELETE FROM towpath.queue WHERE name <> %s", [INTERNAL])


def fill(connection: Connection, fill: Fill) -> None:
    """Add workflows, and with partitions what an enqueue or the claims since leave behind."""
    values = {
        "version": "another" if fill.other_version else "",
        "partitions": fill.partitions,
        "first": fill.first,
        "last": fill.first + fill.count - 1,
    }
    with connection.transaction():
        connection.execute(QUEUE)
        end = FINISHED if fill.finished else WAITING
        connection.execute((WORKFLOWS + end).encode(), values)
        if fill.partitions:
            after = UNSEEN if fill.unseen else SEEN
            connection.execute(after.encode(), [fill.partitions - 1])
