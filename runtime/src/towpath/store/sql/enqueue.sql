-- name: enqueue
-- One workflow into a queue that exists; no row back: there is none. The NOTIFY stands in a RETURNING
-- that nobody reads, since every column that comes back costs its part of an enqueue.
WITH written AS (
    INSERT INTO {schema}.workflow (secret, queue, name, codec, input, created_at)
    SELECT %(secret)s::bigint, q.name, %(name)s, %(codec)s, %(input)s, {schema}.clock()
    FROM {schema}.queue q
    WHERE q.name = %(queue)s
    RETURNING seq, queue, name, version
), lined_up AS (
    INSERT INTO {schema}.ready (queue, name, version, rank, line, seq)
    SELECT w.queue, w.name, w.version, 0, w.seq, w.seq FROM written w
    RETURNING CASE
        WHEN EXISTS (SELECT FROM {schema}.sleeper s WHERE s.queue = ready.queue)
        THEN pg_notify({channel}, ready.queue) END
)
SELECT w.seq FROM written w

-- name: enqueue_chosen
-- The same with an id that the caller chose; no row back also where the id is taken.
WITH written AS (
    INSERT INTO {schema}.workflow (id, secret, queue, name, codec, input, created_at)
    SELECT %(id)s::text, %(secret)s::bigint, q.name, %(name)s, %(codec)s, %(input)s, {schema}.clock()
    FROM {schema}.queue q
    WHERE q.name = %(queue)s
    ON CONFLICT (id) WHERE id IS NOT NULL DO NOTHING
    RETURNING seq, queue, name, version
), lined_up AS (
    INSERT INTO {schema}.ready (queue, name, version, rank, line, seq)
    SELECT w.queue, w.name, w.version, 0, w.seq, w.seq FROM written w
    RETURNING CASE
        WHEN EXISTS (SELECT FROM {schema}.sleeper s WHERE s.queue = ready.queue)
        THEN pg_notify({channel}, ready.queue) END
)
SELECT w.seq FROM written w

-- name: enqueue_child
-- The same from within a workflow: the child and the parent's step record are one transaction. No
-- row back: the parent's attempt is stale, or its step is recorded (the answer was lost), or as above.
WITH parent AS (
    SELECT r.seq, r.attempt FROM {schema}.running r
    WHERE r.seq = %(parent)s::bigint AND r.attempt = %(attempt)s::integer
      AND NOT EXISTS (
        SELECT FROM {schema}.step s WHERE s.seq = %(parent)s::bigint AND s.position = %(position)s)
    FOR KEY SHARE
), written AS (
    INSERT INTO {schema}.workflow (id, secret, queue, name, codec, input, parent, created_at)
    SELECT %(id)s::text, %(secret)s::bigint, q.name, %(name)s, %(codec)s, %(input)s, p.seq,
        {schema}.clock()
    FROM {schema}.queue q, parent p
    WHERE q.name = %(queue)s
    ON CONFLICT (id) WHERE id IS NOT NULL DO NOTHING
    RETURNING seq, queue, name, version
), lined_up AS (
    INSERT INTO {schema}.ready (queue, name, version, rank, line, seq)
    SELECT w.queue, w.name, w.version, 0, w.seq, w.seq FROM written w
), recorded AS (
    INSERT INTO {schema}.step (seq, position, attempt, name, output, child, started_at, completed_at)
    SELECT p.seq, %(position)s, p.attempt, %(name)s,
        to_json(coalesce(%(id)s::text, concat('wf-', w.seq, '-', lpad(to_hex(%(secret)s::bigint), 16, '0'))))::text,
        w.seq, {schema}.clock(), {schema}.clock()
    FROM written w, parent p
)
SELECT w.seq, CASE
    WHEN EXISTS (SELECT FROM {schema}.sleeper s WHERE s.queue = w.queue)
    THEN pg_notify({channel}, w.queue)::text END
FROM written w

-- name: find_chosen_id
SELECT w.seq, w.secret, w.queue, w.name FROM {schema}.workflow w WHERE w.id = %(id)s

-- name: ensure_queue
INSERT INTO {schema}.queue (name) VALUES (%(queue)s) ON CONFLICT (name) DO NOTHING

-- name: ensure_gate
INSERT INTO {schema}.gate (queue)
SELECT q.name FROM {schema}.queue q WHERE q.name = %(queue)s
ON CONFLICT (queue) DO NOTHING

-- name: queue_names
SELECT q.name FROM {schema}.queue q WHERE q.name <> '_towpath' ORDER BY q.name
