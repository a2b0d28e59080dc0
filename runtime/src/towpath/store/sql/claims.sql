-- The order of locks in a turn: the worker's row, running rows by seq, gates by queue, ready rows by
-- SKIP LOCKED. All of a turn is one flush, so that a frozen client holds no lock.

-- name: hold_worker
-- Whoever ends this worker's lease waits for the turn, or the turn for the end of the lease.
SELECT w.id FROM {schema}.worker w WHERE w.id = %(worker)s::bigint FOR KEY SHARE

-- name: lock_worker
-- Waits for the turn that the worker's lost connection may have left behind; none begins before the end.
SELECT w.id FROM {schema}.worker w WHERE w.id = %(worker)s::bigint FOR UPDATE

-- name: complete
-- Ends attempts that still hold their place; a stale one changes nothing and is not returned.
WITH outcome AS (
    SELECT * FROM unnest(
        %(seqs)s::bigint[], %(attempts)s::integer[], %(statuses)s::text[], %(outputs)s::text[]
    ) AS o (seq, attempt, status, output)
), ended AS (
    DELETE FROM {schema}.running r USING outcome o
    WHERE r.seq = o.seq AND r.attempt = o.attempt
    RETURNING r.seq, r.attempt, o.status, o.output
)
INSERT INTO {schema}.result (seq, status, attempt, completed_at, output)
SELECT e.seq, e.status, e.attempt, {schema}.clock(), e.output FROM ended e
RETURNING seq, attempt

-- name: lock_gate
SELECT g.queue FROM {schema}.gate g WHERE g.queue = %(queue)s FOR UPDATE

-- name: claim
-- Takes the head of a queue's line, inside its limits. Where the queue has a limit that workers share,
-- lock_gate went before it in the same transaction: this statement's snapshot sees every place taken.
WITH holder AS (
    SELECT w.id FROM {schema}.worker w
    WHERE w.id = %(worker)s::bigint AND NOT w.draining AND w.lease_until > clock_timestamp()
), room AS (
    SELECT least(
        %(limit)s::bigint,
        CASE WHEN q.concurrency_global IS NOT NULL THEN q.concurrency_global - (
            SELECT count(*) FROM {schema}.running r WHERE r.queue = q.name) END,
        CASE WHEN q.concurrency_per_worker IS NOT NULL THEN q.concurrency_per_worker - (
            SELECT count(*) FROM {schema}.running r WHERE r.queue = q.name AND r.worker = h.id) END
    ) AS places
    FROM {schema}.queue q, holder h
    WHERE q.name = %(queue)s AND q.revision = %(revision)s::bigint
), taken AS (
    DELETE FROM {schema}.ready WHERE ctid = ANY (ARRAY(
        SELECT head.ctid
        FROM unnest(%(names)s::text[]) AS known (name)
        CROSS JOIN LATERAL (
            SELECT r.ctid, r.rank, r.line
            FROM {schema}.ready r
            WHERE r.queue = %(queue)s AND r.name = known.name AND r.version = ''
            ORDER BY r.rank, r.line
            LIMIT greatest((SELECT places FROM room), 0)
            FOR UPDATE SKIP LOCKED
        ) AS head
        ORDER BY head.rank, head.line
        LIMIT greatest((SELECT places FROM room), 0)
    ))
    RETURNING seq, queue, rank, line, attempt, recoveries
), placed AS (
    INSERT INTO {schema}.running (seq, queue, worker, attempt, recoveries, rank, line, started_at)
    SELECT t.seq, t.queue, %(worker)s::bigint, t.attempt + 1, t.recoveries, t.rank, t.line, {schema}.clock()
    FROM taken t
)
SELECT t.seq, t.attempt + 1, w.id, w.secret, w.queue, w.name, w.codec, w.input
FROM taken t JOIN {schema}.workflow w ON w.seq = t.seq
ORDER BY t.rank, t.line

-- name: hand_back
-- Attempts that this worker gives up of its own will: back to their old place in the line, no recovery.
WITH given AS (
    SELECT * FROM unnest(%(seqs)s::bigint[], %(attempts)s::integer[]) AS g (seq, attempt)
), back AS (
    DELETE FROM {schema}.running r USING given g
    WHERE r.seq = g.seq AND r.attempt = g.attempt
    RETURNING r.seq, r.attempt, r.recoveries, r.rank, r.line
), lined_up AS (
    INSERT INTO {schema}.ready (queue, name, version, rank, line, seq, attempt, recoveries)
    SELECT w.queue, w.name, w.version, b.rank, b.line, b.seq, b.attempt, b.recoveries
    FROM back b JOIN {schema}.workflow w ON w.seq = b.seq
    RETURNING queue
)
SELECT pg_notify({channel}, l.queue) FROM (SELECT DISTINCT queue FROM lined_up) l

-- name: hand_back_unknown
-- After a lost connection: what a claim took whose answer never came; the rest is what this worker runs.
-- lock_worker went before it: a turn that the server still works on has ended, and is seen here.
WITH lost AS MATERIALIZED (
    SELECT r.seq FROM {schema}.running r
    WHERE r.queue = ANY (%(queues)s::text[]) AND r.worker = %(worker)s::bigint
      AND NOT EXISTS (
        SELECT FROM unnest(%(seqs)s::bigint[], %(attempts)s::integer[]) AS known (seq, attempt)
        WHERE known.seq = r.seq AND known.attempt = r.attempt)
    ORDER BY r.seq
    FOR UPDATE
), back AS (
    DELETE FROM {schema}.running r USING lost l WHERE r.seq = l.seq
    RETURNING r.seq, r.attempt, r.recoveries, r.rank, r.line
), lined_up AS (
    INSERT INTO {schema}.ready (queue, name, version, rank, line, seq, attempt, recoveries)
    SELECT w.queue, w.name, w.version, b.rank, b.line, b.seq, b.attempt, b.recoveries
    FROM back b JOIN {schema}.workflow w ON w.seq = b.seq
    RETURNING queue
)
SELECT pg_notify({channel}, l.queue) FROM (SELECT DISTINCT queue FROM lined_up) l

-- name: announce
-- Places came free and this worker does not take them: tell those who sleep.
SELECT pg_notify({channel}, q.name)
FROM unnest(%(queues)s::text[]) AS q (name)
WHERE EXISTS (SELECT FROM {schema}.sleeper s WHERE s.queue = q.name)

-- name: fall_asleep
INSERT INTO {schema}.sleeper (queue, listener)
SELECT q.name, %(worker)s::bigint FROM unnest(%(queues)s::text[]) AS q (name)
ON CONFLICT DO NOTHING

-- name: wake_up
DELETE FROM {schema}.sleeper s USING unnest(%(queues)s::text[]) AS q (name)
WHERE s.queue = q.name AND s.listener = %(worker)s::bigint
