-- name: enqueue
-- One workflow without options into a queue that takes it; no row back: `enqueue_items` says why. The
-- NOTIFY stands in a RETURNING that nobody reads, since every column that comes back costs its part of
-- an enqueue.
WITH written AS (
    INSERT INTO {schema}.workflow (secret, queue, name, codec, input, created_at)
    SELECT %(secret)s::bigint, q.name, %(name)s, %(codec)s, %(input)s, {schema}.clock()
    FROM {schema}.queue q
    WHERE q.name = %(queue)s AND NOT q.closed AND NOT q.partitioning_enabled
    RETURNING seq, queue, name, version
), lined_up AS (
    INSERT INTO {schema}.ready (seq, rank, line, queue, name, version)
    SELECT w.seq, 0, w.seq, w.queue, w.name, w.version FROM written w
    RETURNING CASE
        WHEN EXISTS (SELECT FROM {schema}.sleeper s WHERE s.queue = ready.queue)
        THEN pg_notify({channel}, ready.queue) END
)
SELECT w.seq FROM written w

-- name: enqueue_items
-- Workflows of one name with whatever options, all or none.
SELECT e.item, e.outcome, e.found, e.workflow_id, e.detail
FROM {schema}.enqueue_items(
    %(queue)s, %(name)s, %(codec)s, %(version)s, %(inputs)s::text[], %(secrets)s::bigint[], %(ids)s::text[],
    %(priorities)s::bigint[], %(keys)s::text[], %(deduplication_ids)s::text[], %(delays)s::float8[],
    %(dues)s::timestamptz[], %(refuse_duplicates)s::boolean[],
    %(parent)s::bigint, %(attempt)s::integer, %(position)s::text, %(many)s::boolean, %(notify)s::boolean) AS e

-- name: enqueue_timed
-- The same with deadlines: of their own, or of their parent.
SELECT e.item, e.outcome, e.found, e.workflow_id, e.detail
FROM {schema}.enqueue_timed(
    %(queue)s, %(name)s, %(codec)s, %(version)s, %(inputs)s::text[], %(secrets)s::bigint[], %(ids)s::text[],
    %(priorities)s::bigint[], %(keys)s::text[], %(deduplication_ids)s::text[], %(delays)s::float8[],
    %(dues)s::timestamptz[], %(refuse_duplicates)s::boolean[],
    %(parent)s::bigint, %(attempt)s::integer, %(position)s::text, %(many)s::boolean, %(notify)s::boolean,
    %(timeouts)s::float8[]) AS e

-- name: ensure_queue
INSERT INTO {schema}.queue (name) VALUES (%(queue)s) ON CONFLICT (name) DO NOTHING

-- name: ensure_gate
INSERT INTO {schema}.gate (queue)
SELECT q.name FROM {schema}.queue q WHERE q.name = %(queue)s
ON CONFLICT (queue) DO NOTHING

-- name: nearest_queues
SELECT {schema}.nearest_queues(%(queue)s)
