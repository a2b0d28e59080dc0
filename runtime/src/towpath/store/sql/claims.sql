-- The order of locks in a turn: the worker's row, the shared locks of settings, running rows by seq,
-- gates by queue, ready rows by SKIP LOCKED. All of a turn is one flush, so that a frozen client holds
-- no lock.

-- name: hold_worker
-- Whoever ends this worker's lease waits for the turn, or the turn for the end of the lease; whoever
-- changes the settings of a queue that the turn claims from waits for the turn, or the turn for that.
SELECT w.id, (
    SELECT count(pg_advisory_xact_lock_shared(1953462128, hashtext({channel} || q.name)))
    FROM unnest(%(queues)s::text[]) AS q (name))
FROM {schema}.worker w WHERE w.id = %(worker)s::bigint FOR KEY SHARE

-- name: lock_worker
-- Waits for the turn that the worker's lost connection may have left behind; none begins before the end.
SELECT w.id FROM {schema}.worker w WHERE w.id = %(worker)s::bigint FOR UPDATE

-- name: complete
-- Ends attempts that still hold their place; a stale one changes nothing and is not returned. A fenced
-- one gives its place back and writes nothing: its workflow was cancelled, and joins the line if it
-- was resumed since.
WITH outcome AS (
    SELECT * FROM unnest(
        %(seqs)s::bigint[], %(attempts)s::integer[], %(statuses)s::text[], %(outputs)s::text[]
    ) AS o (seq, attempt, status, output)
), ended AS (
    DELETE FROM {schema}.running r USING outcome o
    WHERE r.seq = o.seq AND r.attempt = o.attempt
    RETURNING r.seq, r.attempt, r.fenced, r.resumed_line, r.rank, r.started_at, r.queue, r.key,
        r.deduplication_id, r.version, o.status, o.output
), freed AS (
    -- each is found by its key, and rows are never updated: a plain join may begin at the whole table
    DELETE FROM {schema}.deduplication WHERE ctid = ANY (ARRAY(
        SELECT d.ctid FROM ended e CROSS JOIN LATERAL (
            SELECT d.ctid FROM {schema}.deduplication d
            WHERE d.queue = e.queue AND d.id = e.deduplication_id AND d.seq = e.seq LIMIT 1) AS d
        WHERE e.deduplication_id IS NOT NULL AND NOT e.fenced))
), resumed AS (
    INSERT INTO {schema}.ready (seq, rank, line, attempt, queue, name, version, key)
    SELECT e.seq, {schema}.fresh_rank(e.rank), e.resumed_line, e.attempt, e.queue, w.name,
        coalesce(e.version, w.version), e.key
    FROM ended e JOIN {schema}.workflow w ON w.seq = e.seq
    WHERE e.resumed_line IS NOT NULL
), woken AS (
    INSERT INTO {schema}.wake (turn, queue, key)
    SELECT e.started_at, e.queue, e.key FROM ended e WHERE e.key IS NOT NULL
)
INSERT INTO {schema}.result (seq, status, attempt, completed_at, output, version)
SELECT e.seq, e.status, e.attempt, {schema}.clock(), e.output, coalesce(e.version, '') FROM ended e WHERE NOT e.fenced
RETURNING seq, attempt

-- name: ripen
-- Delayed workflows that are due join the line at their seq. The clock is volatile: an index is searched by
-- it only where it is read once, by a query of its own.
WITH due AS (
    DELETE FROM {schema}.parked WHERE ctid = ANY (ARRAY(
        SELECT p.ctid FROM {schema}.parked p
        WHERE p.queue = %(queue)s AND p.due <= (SELECT {schema}.clock())
        ORDER BY p.due LIMIT 1000 FOR UPDATE SKIP LOCKED))
    RETURNING seq, rank, queue, key, deduplication_id
), lined_up AS (
    INSERT INTO {schema}.ready (seq, rank, line, queue, name, version, key, deduplication_id)
    SELECT d.seq, d.rank, d.seq, d.queue, w.name, w.version, d.key, d.deduplication_id
    FROM due d JOIN {schema}.workflow w ON w.seq = d.seq
), woken AS (
    INSERT INTO {schema}.wake (rank, turn, queue, key)
    SELECT d.rank, {schema}.clock(), d.queue, d.key FROM due d WHERE d.key IS NOT NULL
)
SELECT count(*) FROM due

-- name: lock_gate
SELECT g.queue FROM {schema}.gate g WHERE g.queue = %(queue)s FOR UPDATE

-- name: claim
-- Takes the head of a queue's line, inside its limits. Where the queue has a limit that workers share,
-- lock_gate went before it in the same transaction: this statement's snapshot sees every place taken.
-- A name is looked through from the place that the worker passed last (docs/decisions/0011). Rows are
-- locked only as many as are taken: how many of each name is counted first.
WITH held AS (
    SELECT q.limiter_limit IS NOT NULL AS limited, q.name, CASE
        WHEN q.concurrency_global IS NULL AND q.concurrency_per_worker IS NULL AND q.limiter_limit IS NULL
        THEN %(limit)s::bigint
        ELSE {schema}.room(q, w.id, %(limit)s::bigint) END AS places
    FROM {schema}.queue q, {schema}.worker w
    WHERE q.name = %(queue)s AND q.revision = %(revision)s::bigint
      AND NOT q.paused AND NOT q.partitioning_enabled
      AND w.id = %(worker)s::bigint AND NOT w.draining AND w.lease_until > clock_timestamp()
), share AS (
    SELECT head.name, head.version, count(*) AS places
    FROM (
        SELECT known.name, v.version, r.rank, r.line
        FROM unnest(%(names)s::text[], %(from_ranks)s::bigint[], %(from_lines)s::bigint[])
            AS known (name, rank, line)
        CROSS JOIN unnest(%(versions)s::text[]) AS v (version)
        CROSS JOIN LATERAL (
            SELECT r.rank, r.line FROM {schema}.ready r
            WHERE r.queue = %(queue)s AND r.name = known.name AND r.version = v.version AND r.key IS NULL
              AND (r.rank, r.line) > (known.rank, known.line)
            ORDER BY r.rank, r.line
            LIMIT (SELECT places FROM held)
        ) AS r
        WHERE EXISTS (SELECT FROM held)
        ORDER BY r.rank, r.line
        LIMIT (SELECT places FROM held)
    ) AS head
    GROUP BY head.name, head.version
), first AS MATERIALIZED (
    SELECT r.place
    FROM share s
    JOIN unnest(%(names)s::text[], %(from_ranks)s::bigint[], %(from_lines)s::bigint[])
        AS known (name, rank, line) ON known.name = s.name
    CROSS JOIN LATERAL (
        SELECT r.ctid AS place FROM {schema}.ready r
        WHERE r.queue = %(queue)s AND r.name = s.name AND r.version = s.version AND r.key IS NULL
          AND (r.rank, r.line) > (known.rank, known.line)
        ORDER BY r.rank, r.line
        LIMIT s.places
        FOR UPDATE SKIP LOCKED
    ) AS r
), missing AS MATERIALIZED (
    SELECT (SELECT sum(s.places) FROM share s)::bigint - (SELECT count(*) FROM first) AS places
), further AS MATERIALIZED (
    -- what a name's line could not give, since others hold it locked, goes to the other lines
    SELECT r.place
    FROM missing m
    CROSS JOIN unnest(%(names)s::text[], %(from_ranks)s::bigint[], %(from_lines)s::bigint[])
        AS known (name, rank, line)
    CROSS JOIN unnest(%(versions)s::text[]) AS v (version)
    CROSS JOIN LATERAL (
        SELECT r.ctid AS place, r.rank, r.line FROM {schema}.ready r
        WHERE r.queue = %(queue)s AND r.name = known.name AND r.version = v.version AND r.key IS NULL
          AND (r.rank, r.line) > (known.rank, known.line)
          AND r.ctid <> ALL (ARRAY(SELECT f.place FROM first f))
        ORDER BY r.rank, r.line
        LIMIT m.places
        FOR UPDATE SKIP LOCKED
    ) AS r
    WHERE m.places > 0
    ORDER BY r.rank, r.line
    LIMIT (SELECT places FROM missing)
), taken AS (
    DELETE FROM {schema}.ready WHERE ctid = ANY (ARRAY(
        SELECT f.place FROM first f UNION ALL SELECT f.place FROM further f))
    RETURNING seq, rank, line, attempt, recoveries, queue, deduplication_id, version
), placed AS (
    INSERT INTO {schema}.running (
        seq, worker, rank, line, started_at, attempt, recoveries, queue, deduplication_id, version)
    SELECT t.seq, %(worker)s::bigint, t.rank, t.line, {schema}.clock(), t.attempt + 1, t.recoveries, t.queue,
        t.deduplication_id, nullif(CASE WHEN t.version = '' THEN %(stamp)s ELSE t.version END, '')
    FROM taken t
), spent AS (
    INSERT INTO {schema}.start (n, at, queue, key)
    SELECT coalesce(last.n, 0) + t.count,
        greatest({schema}.clock() + make_interval(secs => %(margin)s::float8), last.at), h.name, ''
    FROM held h
    CROSS JOIN (SELECT count(*) AS count FROM taken) AS t
    LEFT JOIN LATERAL (
        SELECT s.n, s.at FROM {schema}.start s
        WHERE s.queue = h.name AND s.key = '' ORDER BY s.n DESC LIMIT 1) AS last ON true
    WHERE h.limited AND t.count > 0
), job AS MATERIALIZED (
    SELECT t.seq, t.attempt + 1 AS attempt, w.id, w.secret, w.queue, w.name, w.codec, w.input, t.rank, t.line,
        w.timeout
    FROM taken t JOIN {schema}.workflow w ON w.seq = t.seq
), timed AS (
    INSERT INTO {schema}.deadline (seq, due)
    SELECT j.seq, {schema}.clock() + j.timeout FROM job j WHERE j.timeout IS NOT NULL AND j.attempt = 1
    ON CONFLICT DO NOTHING
)
SELECT j.seq, j.attempt, j.id, j.secret, j.queue, j.name, j.codec, j.input, j.rank, j.line
FROM job j
ORDER BY j.rank, j.line

-- name: outlook
-- When a queue may have something to start without anybody calling, in seconds from now.
SELECT extract(epoch FROM least(
    (SELECT p.due FROM {schema}.parked p WHERE p.queue = q.name ORDER BY p.due LIMIT 1),
    (SELECT s.due FROM {schema}.wait s WHERE s.queue = q.name AND s.asleep AND s.due IS NOT NULL ORDER BY s.due LIMIT 1),
    CASE WHEN q.partitioning_enabled
        THEN (SELECT a.due FROM {schema}.alarm a WHERE a.queue = q.name ORDER BY a.due LIMIT 1) END,
    CASE WHEN l.opens_at > m.now THEN l.opens_at END
    ) - m.now)::float8,
    EXISTS (SELECT FROM {schema}.wake w WHERE w.queue = q.name)
FROM {schema}.queue q
CROSS JOIN LATERAL (SELECT {schema}.clock() AS now) AS m
CROSS JOIN LATERAL (
    SELECT CASE WHEN q.limiter_limit IS NOT NULL
        THEN {schema}.opens_at(q.name, '', q.limiter_limit, q.limiter_period) END AS opens_at) AS l
WHERE q.name = %(queue)s

-- name: trim_starts
-- Starts that no window of the limiter reaches any more; the newest of them stays, to count from.
DELETE FROM {schema}.start WHERE ctid = ANY (ARRAY(
    SELECT s.ctid FROM {schema}.queue q JOIN {schema}.start s ON s.queue = q.name AND s.key = ''
    WHERE q.name = %(queue)s AND s.n < (
        SELECT b.n FROM {schema}.start b
        WHERE b.queue = q.name AND b.key = '' AND b.at <= (SELECT {schema}.clock()) - q.limiter_period
        ORDER BY b.at DESC, b.n DESC LIMIT 1)
    ORDER BY s.n LIMIT 10000))

-- name: hand_back
-- Attempts that this worker gives up of its own will: back to their old place in the line, no recovery.
SELECT {schema}.line_up(%(seqs)s::bigint[], %(attempts)s::integer[], NULL)

-- name: find_unknown
-- After a lost connection: what a claim took whose answer never came. lock_worker went before it: a turn
-- that the server still works on has ended, and is seen here.
SELECT r.seq, r.attempt, w.id, w.secret, r.queue, w.name, w.codec, w.input, r.rank, r.line
FROM {schema}.running r JOIN {schema}.workflow w ON w.seq = r.seq
WHERE r.worker = %(worker)s::bigint
  AND NOT EXISTS (
    SELECT FROM unnest(%(seqs)s::bigint[], %(attempts)s::integer[]) AS known (seq, attempt)
    WHERE known.seq = r.seq AND known.attempt = r.attempt)
ORDER BY r.rank, r.line

-- name: fenced_places
-- Attempts of this worker whose workflows were cancelled: their code is to be told.
SELECT r.seq, r.attempt FROM {schema}.running r WHERE r.worker = %(worker)s::bigint AND r.fenced

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
