-- Leases run on real time (clock_timestamp), never on the test kit's clock.

-- name: register_worker
INSERT INTO {schema}.worker (
    name, pool, pod_uid, node, version, library, code_hash, queues, names, max_recoveries, slots,
    node_started_at, started_at, lease_until)
VALUES (
    %(name)s, %(pool)s, %(pod_uid)s, %(node)s, %(version)s, %(library)s, %(code_hash)s,
    %(queues)s::text[], %(names)s::text[], %(max_recoveries)s::integer[], %(slots)s::integer,
    %(node_time)s::timestamptz, clock_timestamp(), clock_timestamp() + make_interval(secs => %(lease_seconds)s::float8))
RETURNING id

-- name: poll
-- Renews the lease and looks at every queue of the worker at once, at those of its attempts that were
-- cancelled, and for workers whose lease ran out. alive = 0: this one's was ended.
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
    EXISTS (SELECT FROM {schema}.running r WHERE r.worker = %(worker)s::bigint AND r.fenced),
    (SELECT v.name FROM {schema}.version v WHERE v.current),
    (SELECT extract(epoch FROM d.due - {schema}.clock())::float8 FROM {schema}.deadline d ORDER BY d.due LIMIT 1),
    q.name, q.revision,
    CASE
        WHEN q.paused THEN false
        WHEN q.partitioning_enabled THEN
            EXISTS (SELECT FROM {schema}.wake k WHERE k.queue = q.name)
            OR EXISTS (SELECT FROM {schema}.ticket t WHERE t.queue = q.name)
        ELSE EXISTS (
            SELECT FROM unnest(%(names)s::text[]) AS known (name)
            CROSS JOIN unnest(%(versions)s::text[]) AS v (version)
            CROSS JOIN LATERAL (
                SELECT FROM {schema}.ready r
                WHERE r.queue = q.name AND r.name = known.name AND r.version = v.version AND r.key IS NULL
                LIMIT 1) AS head)
    END,
    CASE
        WHEN q.partitioning_enabled
        THEN EXISTS (SELECT FROM {schema}.ready r WHERE r.queue = q.name AND r.key IS NULL)
        ELSE EXISTS (SELECT FROM {schema}.ready r WHERE r.queue = q.name AND r.key IS NOT NULL)
    END,
    extract(epoch FROM least(
        (SELECT p.due FROM {schema}.parked p WHERE p.queue = q.name ORDER BY p.due LIMIT 1),
        (SELECT s.due FROM {schema}.wait s WHERE s.queue = q.name AND s.asleep AND s.due IS NOT NULL ORDER BY s.due LIMIT 1),
        CASE WHEN q.partitioning_enabled
            THEN (SELECT l.due FROM {schema}.alarm l WHERE l.queue = q.name ORDER BY l.due LIMIT 1) END
    ) - {schema}.clock())::float8,
    EXISTS (SELECT FROM {schema}.awake a WHERE a.queue = q.name AND a.name = ANY (%(names)s::text[]))
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

-- name: end_pod_leases
-- Marks the workers of some pods that began before a moment, by their node's clock; null: all of a pod.
-- Where one holds its row, a turn is under way that its lost connection has left behind: it is waited
-- for, and what it claims is given back by what follows.
UPDATE {schema}.worker SET ended_at = clock_timestamp()
WHERE id IN (
    SELECT w.id FROM {schema}.worker w
    JOIN unnest(%(pod_uids)s::text[], %(began_before)s::timestamptz[]) AS p (uid, began_before)
        ON w.pod_uid = p.uid AND (p.began_before IS NULL OR w.node_started_at < p.began_before)
    ORDER BY w.id
    FOR UPDATE OF w)
RETURNING id, name

-- name: end_own_lease
-- A worker that stops: its row goes by the same way as a dead one's.
UPDATE {schema}.worker SET ended_at = clock_timestamp() WHERE id = %(worker)s::bigint RETURNING id, name

-- name: give_back
-- What the ended workers ran goes back to its old place in the line, or is given up.
WITH fallen AS MATERIALIZED (
    SELECT r.seq, r.attempt, r.fenced, r.queue, r.key, r.deduplication_id, r.started_at, CASE
            -- a step recorded by the fallen attempt is progress: the count begins anew
            WHEN EXISTS (SELECT FROM {schema}.step s WHERE s.seq = r.seq AND s.attempt = r.attempt) THEN 0
            WHEN w.draining THEN r.recoveries
            ELSE r.recoveries + 1
        END AS recoveries,
        w.max_recoveries[array_position(w.names, f.name)] AS max_recoveries
    FROM {schema}.worker w
    JOIN {schema}.running r ON r.queue = ANY (w.queues) AND r.worker = w.id
    LEFT JOIN {schema}.workflow f ON f.seq = r.seq
    WHERE w.ended_at IS NOT NULL
    ORDER BY r.seq
    FOR UPDATE OF r
), given_up AS (
    DELETE FROM {schema}.running r USING fallen f
    WHERE r.seq = f.seq AND NOT f.fenced AND f.recoveries > f.max_recoveries
    RETURNING r.seq, r.attempt, r.queue, r.key, r.deduplication_id, r.started_at, r.version,
        format('%%s of its workers ended in a row without a new step; max_recovery_attempts is %%s',
            f.recoveries, f.max_recoveries) AS reason
), freed AS (
    DELETE FROM {schema}.deduplication WHERE ctid = ANY (ARRAY(
        SELECT d.ctid FROM given_up g CROSS JOIN LATERAL (
            SELECT d.ctid FROM {schema}.deduplication d
            WHERE d.queue = g.queue AND d.id = g.deduplication_id AND d.seq = g.seq LIMIT 1) AS d
        WHERE g.deduplication_id IS NOT NULL))
), woken AS (
    INSERT INTO {schema}.wake (turn, queue, key)
    SELECT g.started_at, g.queue, g.key FROM given_up g WHERE g.key IS NOT NULL
), ended AS (
    INSERT INTO {schema}.result (seq, status, attempt, completed_at, version, output)
    SELECT g.seq, 'MAX_RECOVERY_ATTEMPTS_EXCEEDED', g.attempt, {schema}.clock(), coalesce(g.version, ''),
        to_json(g.reason)::text
    FROM given_up g
    RETURNING seq
), unwaited AS (
    DELETE FROM {schema}.wait w USING given_up g WHERE w.seq = g.seq
), called AS (
    SELECT pg_notify({channel}, g.queue) FROM (SELECT DISTINCT queue FROM given_up) g
    UNION ALL
    SELECT {schema}.tell('end', array_agg(g.seq), '') FROM given_up g HAVING count(*) > 0
)
SELECT
    coalesce({schema}.line_up(
        array_agg(f.seq ORDER BY f.seq), array_agg(f.attempt ORDER BY f.seq), array_agg(f.recoveries ORDER BY f.seq)
    ), 0),
    (SELECT count(*) FROM ended), (SELECT count(*) FROM called)
FROM fallen f
WHERE f.fenced OR f.max_recoveries IS NULL OR f.recoveries <= f.max_recoveries

-- name: forget_sleepers
DELETE FROM {schema}.sleeper s USING {schema}.worker w WHERE w.ended_at IS NOT NULL AND s.listener = w.id

-- name: remove_workers
DELETE FROM {schema}.worker WHERE ended_at IS NOT NULL

-- name: live_libraries
SELECT w.pool, w.library, count(*) FROM {schema}.worker w
WHERE w.lease_until > clock_timestamp()
GROUP BY w.pool, w.library
ORDER BY w.pool, w.library

-- name: list_workers
SELECT w.id, w.name, w.pool, w.version, w.library, w.queues, w.names, w.slots, w.started_at,
    w.lease_until, w.draining, extract(epoch FROM w.lease_until - clock_timestamp())::float8,
    loaded.running, loaded.running - loaded.waiting
FROM {schema}.worker w CROSS JOIN LATERAL (
    SELECT count(*) AS running, count(*) FILTER (
        WHERE EXISTS (SELECT FROM {schema}.wait s WHERE s.seq = r.seq)) AS waiting
    FROM {schema}.running r WHERE r.queue = ANY (w.queues) AND r.worker = w.id) AS loaded
ORDER BY w.id
