-- Claims from partitioned queues (docs/decisions/0010); the order of locks is that of claims.sql.

-- name: fold
-- Looks anew at partitions in which something changed: which may start a workflow, what their heads are,
-- and when those that their limiter holds back are to be looked at again. lock_gate went before it.
WITH moment AS MATERIALIZED (
    SELECT {schema}.clock() AS now
), woken AS (
    DELETE FROM {schema}.wake WHERE ctid = ANY (ARRAY(
        SELECT w.ctid FROM {schema}.wake w WHERE w.queue = %(queue)s
        ORDER BY w.rank, w.n LIMIT %(most)s::bigint))
    RETURNING key, turn
), rung AS (
    DELETE FROM {schema}.alarm WHERE ctid = ANY (ARRAY(
        SELECT a.ctid FROM {schema}.alarm a
        WHERE a.queue = %(queue)s AND a.due <= (SELECT now FROM moment)
        ORDER BY a.due LIMIT %(most)s::bigint))
    RETURNING key, turn
), changed AS (
    SELECT k.key, min(k.turn) AS turn
    FROM (SELECT key, turn FROM woken UNION ALL SELECT key, turn FROM rung) AS k
    GROUP BY k.key
), state AS MATERIALIZED (
    SELECT q.name AS queue, c.key, c.turn, head.name, head.version, head.rank,
        coalesce(q.concurrency_per_partition, 1) > (
            SELECT count(*) FROM {schema}.running r WHERE r.queue = %(queue)s AND r.key = c.key) AS has_place,
        CASE WHEN q.partition_limiter_limit IS NOT NULL THEN {schema}.opens_at(
            q.name, c.key, q.partition_limiter_limit, q.partition_limiter_period) END AS opens_at,
        m.now
    FROM changed c CROSS JOIN moment m
    JOIN {schema}.queue q ON q.name = %(queue)s
    LEFT JOIN LATERAL (
        SELECT r.name, r.version, r.rank FROM {schema}.ready r
        WHERE r.queue = %(queue)s AND r.key = c.key ORDER BY r.rank, r.line LIMIT 1) AS head ON true
), shut AS (
    -- by place, each found by its key: a plan made on few tickets would look at all of them for each key
    DELETE FROM {schema}.ticket WHERE ctid = ANY (ARRAY(
        SELECT t.ctid FROM state s CROSS JOIN LATERAL (
            SELECT t.ctid FROM {schema}.ticket t WHERE t.queue = %(queue)s AND t.key = s.key LIMIT 1) AS t
        WHERE s.name IS NULL OR NOT s.has_place OR s.opens_at > s.now))
), opened AS (
    INSERT INTO {schema}.ticket AS t (rank, turn, queue, name, version, key)
    SELECT s.rank, s.turn, s.queue, s.name, s.version, s.key
    FROM state s
    WHERE s.name IS NOT NULL AND s.has_place AND (s.opens_at IS NULL OR s.opens_at <= s.now)
    ON CONFLICT (queue, key) DO UPDATE
    SET rank = excluded.rank, name = excluded.name, version = excluded.version
    WHERE (t.rank, t.name, t.version) <> (excluded.rank, excluded.name, excluded.version)
), delayed AS (
    INSERT INTO {schema}.alarm (queue, due, turn, key)
    SELECT s.queue, s.opens_at, s.turn, s.key FROM state s
    WHERE s.name IS NOT NULL AND s.has_place AND s.opens_at > s.now
    ON CONFLICT DO NOTHING
)
SELECT (SELECT count(*) FROM woken), (SELECT count(*) FROM rung)

-- name: claim_partitioned
-- Takes the heads of partitions, inside every limit; lock_gate and fold went before it. The most urgent
-- head goes first, then the key served longest ago; a key's second head comes after the first heads of
-- the others. A head that is locked, or that no worker here knows, closes its key.
WITH held AS (
    SELECT q.name, q.limiter_limit IS NOT NULL AS limited, q.partition_limiter_limit,
        q.partition_limiter_period, coalesce(q.concurrency_per_partition, 1) AS per_partition,
        {schema}.room(q, w.id, %(limit)s::bigint) AS places
    FROM {schema}.queue q, {schema}.worker w
    WHERE q.name = %(queue)s AND q.revision = %(revision)s::bigint
      AND NOT q.paused AND q.partitioning_enabled
      AND w.id = %(worker)s::bigint AND NOT w.draining AND w.lease_until > clock_timestamp()
), candidate AS (
    SELECT t.key, t.rank, t.turn, t.place, t.head_rank, t.known
    FROM unnest(%(names)s::text[]) AS known (name)
    CROSS JOIN unnest(%(versions)s::text[]) AS v (version)
    CROSS JOIN LATERAL (
        SELECT t.key, t.rank, t.turn, first.place, first.head_rank, first.known FROM {schema}.ticket t
        CROSS JOIN LATERAL (
            SELECT r.ctid AS place, r.rank AS head_rank,
                r.name = ANY (%(names)s::text[]) AND r.version = ANY (%(versions)s::text[]) AS known
            FROM {schema}.ready r
            WHERE r.queue = %(queue)s AND r.key = t.key
            ORDER BY r.rank, r.line LIMIT 1
        ) AS first
        -- here, and not further on: however many heads are locked, as many keys as there is room for are found
        CROSS JOIN LATERAL (
            SELECT FROM {schema}.ready r WHERE r.ctid = first.place FOR UPDATE SKIP LOCKED
        ) AS own
        WHERE t.queue = %(queue)s AND t.name = known.name AND t.version = v.version
        ORDER BY t.rank, t.turn, t.key
        LIMIT (SELECT places + 16 FROM held WHERE places > 0)
    ) AS t
    WHERE EXISTS (SELECT FROM held WHERE places > 0)
    ORDER BY t.rank, t.turn, t.key
    LIMIT (SELECT places + 16 FROM held)
), room AS MATERIALIZED (
    SELECT c.*, least(
        h.places,
        h.per_partition - (
            SELECT count(*) FROM {schema}.running r WHERE r.queue = %(queue)s AND r.key = c.key),
        CASE WHEN h.partition_limiter_limit IS NOT NULL THEN {schema}.tokens(
            h.name, c.key, h.partition_limiter_limit, h.partition_limiter_period) END) AS places
    FROM candidate c CROSS JOIN held h
), doubted AS (
    -- a limit was lowered, or the clock set back, since the key was looked at: so it is out of the way
    INSERT INTO {schema}.wake (rank, turn, queue, key)
    SELECT c.rank, c.turn, %(queue)s, c.key FROM room c WHERE c.places <= 0
), head AS (
    SELECT n.key, n.turn, n.place, n.rank, n.nth
    FROM (
        SELECT c.key, c.turn, c.place, c.head_rank AS rank, 1 AS nth FROM room c WHERE c.places > 0 AND c.known
        UNION ALL
        SELECT c.key, c.turn, r.place, r.rank, r.nth
        FROM room c
        CROSS JOIN LATERAL (
            SELECT r.ctid AS place, r.rank, 1 + row_number() OVER line AS nth,
                bool_and(r.name = ANY (%(names)s::text[]) AND r.version = ANY (%(versions)s::text[])) OVER line AS known
            FROM (
                SELECT r.ctid, r.rank, r.line, r.name, r.version FROM {schema}.ready r
                WHERE r.queue = %(queue)s AND r.key = c.key
                ORDER BY r.rank, r.line
                LIMIT c.places - 1 OFFSET 1
            ) AS r
            WINDOW line AS (ORDER BY r.rank, r.line)
        ) AS r
        WHERE c.places > 1 AND c.known AND r.known
    ) AS n
    ORDER BY n.rank, n.nth, n.turn, n.key
    LIMIT (SELECT places + 16 FROM held)
), locked AS MATERIALIZED (
    SELECT r.ctid AS place, h.key, h.nth, h.rank, h.turn
    FROM head h JOIN {schema}.ready r ON r.ctid = h.place
    WHERE h.nth > 1
    FOR UPDATE OF r SKIP LOCKED
), own AS (
    SELECT h.place, h.key, h.nth, h.rank, h.turn FROM head h WHERE h.nth = 1
    UNION ALL
    SELECT l.place, l.key, l.nth, l.rank, l.turn FROM locked l
), taken AS (
    DELETE FROM {schema}.ready WHERE ctid = ANY (ARRAY(
        SELECT u.place
        FROM (SELECT o.*, row_number() OVER (PARTITION BY o.key ORDER BY o.nth) AS unbroken FROM own o) AS u
        WHERE u.nth = u.unbroken
        ORDER BY u.rank, u.nth, u.turn, u.key
        LIMIT (SELECT places FROM held)))
    RETURNING seq, rank, line, attempt, recoveries, queue, key, deduplication_id, version
), placed AS (
    INSERT INTO {schema}.running (
        seq, worker, rank, line, started_at, attempt, recoveries, queue, key, deduplication_id, version)
    SELECT t.seq, %(worker)s::bigint, t.rank, t.line, {schema}.clock(), t.attempt + 1, t.recoveries, t.queue,
        t.key, t.deduplication_id, nullif(CASE WHEN t.version = '' THEN %(stamp)s ELSE t.version END, '')
    FROM taken t
), served AS (
    SELECT t.key, count(*) AS count, min(t.rank) AS rank FROM taken t GROUP BY t.key
), closed AS (
    DELETE FROM {schema}.ticket WHERE ctid = ANY (ARRAY(
        SELECT t.ctid FROM served s CROSS JOIN LATERAL (
            SELECT t.ctid FROM {schema}.ticket t WHERE t.queue = %(queue)s AND t.key = s.key LIMIT 1) AS t))
), again AS (
    -- a key that may hold more places is looked at again; one place is looked at when it is free
    INSERT INTO {schema}.wake (rank, turn, queue, key)
    SELECT s.rank, {schema}.clock(), h.name, s.key FROM served s CROSS JOIN held h WHERE h.per_partition > 1
), spent AS (
    INSERT INTO {schema}.start (n, at, queue, key)
    SELECT coalesce(last.n, 0) + s.count,
        greatest({schema}.clock() + make_interval(secs => %(margin)s::float8), last.at), h.name, s.key
    FROM held h
    CROSS JOIN (
        SELECT '' AS key, count(*) AS count FROM taken HAVING count(*) > 0
        UNION ALL
        SELECT key, count FROM served) AS s
    LEFT JOIN LATERAL (
        SELECT b.n, b.at FROM {schema}.start b
        WHERE b.queue = h.name AND b.key = s.key ORDER BY b.n DESC LIMIT 1) AS last ON true
    WHERE CASE WHEN s.key = '' THEN h.limited ELSE h.partition_limiter_limit IS NOT NULL END
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

-- name: gather
-- After partitioning was switched on or off: what was enqueued before counts as one partition, or joins
-- the one line, so that nothing is left behind. An empty key would be that of the queue's own limiter.
WITH stray AS (
    SELECT r.ctid, r.key FROM {schema}.queue q JOIN {schema}.ready r ON r.queue = q.name AND r.key IS NULL
    WHERE q.name = %(queue)s AND q.partitioning_enabled
    LIMIT 1000 FOR UPDATE OF r SKIP LOCKED
), keyed AS (
    SELECT r.ctid, r.key FROM {schema}.queue q JOIN {schema}.ready r ON r.queue = q.name AND r.key IS NOT NULL
    WHERE q.name = %(queue)s AND NOT q.partitioning_enabled
    LIMIT 1000 FOR UPDATE OF r SKIP LOCKED
), moved AS (
    UPDATE {schema}.ready SET key = CASE WHEN key IS NULL THEN '(none)' END
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM stray UNION ALL SELECT ctid FROM keyed))
    RETURNING seq
), woken AS (
    -- also a key that has lost its line: its ticket goes if ever there are partitions again
    INSERT INTO {schema}.wake (rank, turn, queue, key)
    SELECT 0, {schema}.clock(), %(queue)s, k.key
    FROM (SELECT DISTINCT '(none)' AS key FROM stray UNION ALL SELECT DISTINCT key FROM keyed) AS k
)
SELECT count(*) FROM moved
