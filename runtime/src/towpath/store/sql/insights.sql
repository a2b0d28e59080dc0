-- name: observe
-- What holds back a queue, or one workflow (seq), at one moment. Flat in the backlog: counts stop at
-- 10,001, and of the lines and partitions that wait the heads of the first 100 are looked at. What is
-- ordered for no reader is to be read by an index. Durations are seconds from now; leases run on real time.
WITH RECURSIVE moment AS MATERIALIZED (
    SELECT {schema}.clock() AS now
), target AS (
    SELECT w AS row, w.seq, w.queue, y.rank, y.line, y.key, y.seq IS NOT NULL AS ready
    FROM {schema}.workflow w LEFT JOIN {schema}.ready y ON y.seq = w.seq
    WHERE w.seq = %(seq)s::bigint
), asked AS MATERIALIZED (
    SELECT q.*, {schema}.settings(q) AS settings FROM {schema}.queue q
    WHERE q.name = coalesce((SELECT t.queue FROM target t), %(queue)s::text)
), serving AS MATERIALIZED (
    SELECT k.* FROM asked q JOIN {schema}.worker k ON q.name = ANY (k.queues)
), line AS (
    SELECT first.*
    FROM asked q CROSS JOIN LATERAL (
        SELECT r.seq, r.name, r.version, r.rank, r.line, r.key FROM {schema}.ready r
        WHERE r.queue = q.name AND r.key IS NULL
        ORDER BY r.name, r.version, r.rank, r.line LIMIT 1) AS first
    WHERE NOT q.partitioning_enabled AND %(seq)s::bigint IS NULL
    UNION ALL
    SELECT following.*
    FROM line l CROSS JOIN asked q CROSS JOIN LATERAL (
        SELECT r.seq, r.name, r.version, r.rank, r.line, r.key FROM {schema}.ready r
        WHERE r.queue = q.name AND r.key IS NULL AND (r.name, r.version) > (l.name, l.version)
        ORDER BY r.name, r.version, r.rank, r.line LIMIT 1) AS following
), partition AS (
    SELECT first.*
    FROM asked q CROSS JOIN LATERAL (
        SELECT r.seq, r.name, r.version, r.rank, r.line, r.key FROM {schema}.ready r
        WHERE r.queue = q.name AND r.key IS NOT NULL
        ORDER BY r.key, r.rank, r.line LIMIT 1) AS first
    WHERE q.partitioning_enabled AND %(seq)s::bigint IS NULL
    UNION ALL
    SELECT following.*
    FROM partition p CROSS JOIN asked q CROSS JOIN LATERAL (
        SELECT r.seq, r.name, r.version, r.rank, r.line, r.key FROM {schema}.ready r
        WHERE r.queue = q.name AND r.key > p.key
        ORDER BY r.key, r.rank, r.line LIMIT 1) AS following
), head AS MATERIALIZED (
    SELECT * FROM (SELECT * FROM line LIMIT 100) AS plain
    UNION ALL
    SELECT * FROM (SELECT * FROM partition LIMIT 100) AS keyed
    UNION ALL
    -- of one workflow: itself, and in a partition what stands first in its key
    SELECT first.* FROM target t CROSS JOIN LATERAL (
        SELECT r.seq, r.name, r.version, r.rank, r.line, r.key FROM {schema}.ready r
        WHERE r.queue = t.queue AND r.key = t.key ORDER BY r.rank, r.line LIMIT 1) AS first
    UNION ALL
    SELECT r.seq, r.name, r.version, r.rank, r.line, r.key
    FROM target t JOIN {schema}.ready r ON r.seq = t.seq WHERE t.key IS NULL
), known AS (
    SELECT DISTINCT n.name FROM serving k CROSS JOIN unnest(k.names) AS n (name)
    WHERE NOT k.draining AND k.lease_until > clock_timestamp()
), version AS (
    SELECT '' AS version
    UNION
    SELECT k.version FROM serving k WHERE NOT k.draining AND k.lease_until > clock_timestamp()
), places AS (
    SELECT count(*) AS running, count(*) FILTER (WHERE r.fenced) AS fenced
    FROM asked q JOIN {schema}.running r ON r.queue = q.name
    WHERE r.worker <> 0 OR NOT q.release_while_waiting
)
SELECT q.name, q.settings, q.paused, q.closed, {schema}.waiting(q.name),
    (SELECT count(*) FROM (SELECT FROM {schema}.parked p WHERE p.queue = q.name LIMIT 10001) AS counted),
    (SELECT extract(epoch FROM p.due - m.now)::float8
     FROM {schema}.parked p WHERE p.queue = q.name ORDER BY p.due LIMIT 1),
    places.running, places.fenced,
    -- running workflows that others of the queue, among a thousand that wait, were started by
    CASE WHEN places.running >= q.concurrency_global THEN (
        SELECT count(DISTINCT p.seq)
        FROM (
            (SELECT r.seq FROM {schema}.ready r WHERE r.queue = q.name AND r.key IS NULL
             ORDER BY r.name, r.version, r.rank, r.line LIMIT 1000)
            UNION ALL
            (SELECT r.seq FROM {schema}.ready r WHERE r.queue = q.name AND r.key IS NOT NULL
             ORDER BY r.key, r.rank, r.line LIMIT 1000)) AS looked_at
        JOIN {schema}.workflow w ON w.seq = looked_at.seq
        JOIN {schema}.running p ON p.seq = w.parent AND p.queue = q.name AND NOT p.fenced)
    ELSE 0 END,
    CASE WHEN q.limiter_limit IS NOT NULL
        THEN {schema}.tokens(q.name, '', q.limiter_limit, q.limiter_period) END,
    CASE WHEN q.limiter_limit IS NOT NULL THEN extract(epoch FROM
        {schema}.opens_at(q.name, '', q.limiter_limit, q.limiter_period) - m.now)::float8 END,
    EXISTS (SELECT FROM {schema}.ticket t WHERE t.queue = q.name),
    (SELECT coalesce(jsonb_agg(jsonb_build_object(
        'name', k.name, 'version', k.version, 'slots', k.slots, 'draining', k.draining,
        'lease_seconds', extract(epoch FROM k.lease_until - clock_timestamp())::float8,
        'running_here', (
            SELECT count(*) FROM {schema}.running r WHERE r.queue = q.name AND r.worker = k.id),
        'running', (
            SELECT count(*) FROM {schema}.running r WHERE r.queue = ANY (k.queues) AND r.worker = k.id),
        'names', ARRAY(SELECT unnest(k.names) INTERSECT SELECT h.name FROM head h)
     ) ORDER BY k.id), '[]') FROM serving k),
    (SELECT coalesce(jsonb_agg(jsonb_build_object(
        'workflow_id', {schema}.id_of(w), 'name', h.name, 'version', h.version, 'key', h.key,
        'key_running', (
            SELECT count(*) FROM {schema}.running r WHERE r.queue = q.name AND r.key = h.key),
        'key_fenced', (
            SELECT count(*) FROM {schema}.running r
            WHERE r.queue = q.name AND r.key = h.key AND r.fenced),
        'key_holders', ARRAY(
            SELECT {schema}.id_of(v) FROM {schema}.running r JOIN {schema}.workflow v ON v.seq = r.seq
            WHERE r.queue = q.name AND r.key = h.key ORDER BY r.started_at, r.seq LIMIT 3),
        'key_tokens', CASE WHEN h.key IS NOT NULL AND q.partition_limiter_limit IS NOT NULL THEN
            {schema}.tokens(q.name, h.key, q.partition_limiter_limit, q.partition_limiter_period) END,
        'key_opens_seconds', CASE WHEN h.key IS NOT NULL AND q.partition_limiter_limit IS NOT NULL
            THEN extract(epoch FROM {schema}.opens_at(
                q.name, h.key, q.partition_limiter_limit, q.partition_limiter_period) - m.now)::float8 END
     ) ORDER BY h.rank, h.line), '[]')
     FROM head h JOIN {schema}.workflow w ON w.seq = h.seq),
    (SELECT jsonb_build_object(
        'workflow_id', {schema}.id_of(t.row), 'name', (t.row).name, 'version', (t.row).version,
        'status', {schema}.status_of(t.seq), 'ready', t.ready, 'key', t.key,
        'due_seconds', extract(epoch FROM d.due - m.now)::float8, 'due', d.due,
        'attempt', coalesce(r.attempt, 0), 'fenced', coalesce(r.fenced, false),
        'started_seconds', extract(epoch FROM m.now - r.started_at)::float8,
        'worker', k.name, 'worker_draining', coalesce(k.draining, false),
        'worker_lease_seconds', extract(epoch FROM k.lease_until - clock_timestamp())::float8,
        'asleep', coalesce(r.worker = 0, false),
        'waits', (
            SELECT coalesce(jsonb_agg(jsonb_build_object(
                'kind', v.kind, 'topic', v.topic,
                'of', (SELECT {schema}.id_of(o) FROM {schema}.workflow o WHERE o.seq = v.target),
                'due_seconds', extract(epoch FROM v.due - m.now)::float8) ORDER BY v.position), '[]')
            FROM (
                SELECT * FROM {schema}.wait w WHERE w.seq = t.seq ORDER BY w.position LIMIT 3) AS v),
        'before', CASE
            WHEN NOT t.ready THEN 0
            WHEN t.key IS NOT NULL THEN (
                SELECT count(*) FROM (
                    SELECT FROM {schema}.ready b
                    WHERE b.queue = t.queue AND b.key = t.key AND (b.rank, b.line) < (t.rank, t.line)
                    ORDER BY b.rank DESC, b.line DESC LIMIT 10001) AS counted)
            ELSE (
                SELECT count(*) FROM (
                    SELECT FROM known CROSS JOIN version v CROSS JOIN LATERAL (
                        SELECT FROM {schema}.ready b
                        WHERE b.queue = t.queue AND b.name = known.name AND b.version = v.version
                          AND b.key IS NULL AND (b.rank, b.line) < (t.rank, t.line)
                        ORDER BY b.rank DESC, b.line DESC LIMIT 10001) AS ahead
                    LIMIT 10001) AS counted)
            END)
     FROM target t
     LEFT JOIN {schema}.parked d ON d.seq = t.seq
     LEFT JOIN {schema}.running r ON r.seq = t.seq
     LEFT JOIN {schema}.worker k ON k.id = r.worker)
FROM asked q CROSS JOIN moment m CROSS JOIN places
