-- Leases run on real time (clock_timestamp), never on the test kit's clock.

-- name: register_worker
INSERT INTO {schema}.worker (
    name, pool, pod_uid, node, version, library, code_hash, queues, names, max_recoveries, slots,
    started_at, lease_until)
VALUES (
    %(name)s, %(pool)s, %(pod_uid)s, %(node)s, %(version)s, %(library)s, %(code_hash)s,
    %(queues)s::text[], %(names)s::text[], %(max_recoveries)s::integer[], %(slots)s::integer,
    clock_timestamp(), clock_timestamp() + make_interval(secs => %(lease_seconds)s::float8))
RETURNING id

-- name: poll
-- Renews the lease and looks at every queue of the worker at once, and for workers whose lease ran out.
-- alive = 0: this one's was ended.
WITH renewed AS (
    UPDATE {schema}.worker w
    SET lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s::float8)
    WHERE w.id = %(worker)s::bigint
    RETURNING w.id
), alive AS (
    SELECT count(*) AS workers FROM renewed
)
SELECT a.workers,
    EXISTS (
        SELECT FROM {schema}.worker d
        WHERE d.lease_until < clock_timestamp() AND d.id <> %(worker)s::bigint),
    q.name, q.revision, q.concurrency_global, q.concurrency_per_worker,
    EXISTS (
        SELECT FROM unnest(%(names)s::text[]) AS known (name)
        CROSS JOIN LATERAL (
            SELECT FROM {schema}.ready r
            WHERE r.queue = q.name AND r.name = known.name AND r.version = '' LIMIT 1) AS head)
FROM alive a LEFT JOIN {schema}.queue q ON q.name = ANY (%(queues)s::text[])

-- name: update_worker
UPDATE {schema}.worker
SET queues = %(queues)s::text[], names = %(names)s::text[], max_recoveries = %(max_recoveries)s::integer[]
WHERE id = %(worker)s::bigint

-- name: begin_draining
UPDATE {schema}.worker SET draining = true WHERE id = %(worker)s::bigint

-- name: end_leases
-- Marks the workers whose lease has run out; the marks are this transaction's alone, since the rows go
-- with it. A worker that claims at this moment holds its row, and is passed over.
UPDATE {schema}.worker SET ended_at = clock_timestamp()
WHERE id IN (
    SELECT w.id FROM {schema}.worker w
    WHERE w.lease_until < clock_timestamp() AND w.id <> %(me)s::bigint
    ORDER BY w.id
    FOR UPDATE SKIP LOCKED)
RETURNING id, name

-- name: end_own_lease
-- A worker that stops: its row goes by the same way as a dead one's.
UPDATE {schema}.worker SET ended_at = clock_timestamp() WHERE id = %(worker)s::bigint RETURNING id, name

-- name: give_back
-- What the ended workers ran goes back to its old place in the line, or is given up.
WITH fallen AS MATERIALIZED (
    SELECT r.seq, w.draining, w.names, w.max_recoveries
    FROM {schema}.worker w
    JOIN {schema}.running r ON r.queue = ANY (w.queues) AND r.worker = w.id
    WHERE w.ended_at IS NOT NULL
    ORDER BY r.seq
    FOR UPDATE OF r
), back AS (
    DELETE FROM {schema}.running r USING fallen f WHERE r.seq = f.seq
    RETURNING r.seq, r.attempt, r.recoveries, r.rank, r.line, f.draining, f.names, f.max_recoveries
), judged AS (
    SELECT b.seq, b.attempt, b.rank, b.line, w.queue, w.name, w.version,
        CASE
            WHEN b.draining THEN b.recoveries
            -- a step recorded by the fallen attempt is progress: the count begins anew
            WHEN EXISTS (SELECT FROM {schema}.step s WHERE s.seq = b.seq AND s.attempt = b.attempt) THEN 0
            ELSE b.recoveries + 1
        END AS recoveries,
        b.max_recoveries[array_position(b.names, w.name)] AS max_recoveries
    FROM back b JOIN {schema}.workflow w ON w.seq = b.seq
), lined_up AS (
    INSERT INTO {schema}.ready (queue, name, version, rank, line, seq, attempt, recoveries)
    SELECT j.queue, j.name, j.version, j.rank, j.line, j.seq, j.attempt, j.recoveries
    FROM judged j
    WHERE j.max_recoveries IS NULL OR j.recoveries <= j.max_recoveries
    RETURNING queue
), given_up AS (
    INSERT INTO {schema}.result (seq, status, attempt, completed_at)
    SELECT j.seq, 'MAX_RECOVERY_ATTEMPTS_EXCEEDED', j.attempt, {schema}.clock()
    FROM judged j
    WHERE j.recoveries > j.max_recoveries
    RETURNING seq
), called AS (
    SELECT pg_notify({channel}, j.queue) FROM (SELECT DISTINCT queue FROM judged) j
)
SELECT (SELECT count(*) FROM lined_up), (SELECT count(*) FROM given_up), (SELECT count(*) FROM called)

-- name: forget_sleepers
DELETE FROM {schema}.sleeper s USING {schema}.worker w WHERE w.ended_at IS NOT NULL AND s.listener = w.id

-- name: remove_workers
DELETE FROM {schema}.worker WHERE ended_at IS NOT NULL

-- name: list_workers
SELECT w.id, w.name, w.pool, w.version, w.library, w.queues, w.names, w.slots, w.started_at,
    w.lease_until, w.draining, (
        SELECT count(*) FROM {schema}.running r WHERE r.queue = ANY (w.queues) AND r.worker = w.id)
FROM {schema}.worker w
ORDER BY w.id
