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
), places AS MATERIALIZED (
    -- what workers run, and what sleeps: there may be a hundred thousand of those, and they are not all counted
    SELECT loaded.running, loaded.fenced, asleep.sleeping,
        loaded.running + CASE WHEN q.release_while_waiting THEN 0 ELSE asleep.sleeping END AS taken
    FROM asked q CROSS JOIN LATERAL (
        SELECT count(*) AS running, count(*) FILTER (WHERE r.fenced) AS fenced
        FROM {schema}.running r WHERE r.queue = q.name AND r.worker > 0) AS loaded
    CROSS JOIN LATERAL (
        SELECT count(*) AS sleeping FROM (
            SELECT FROM {schema}.running r WHERE r.queue = q.name AND r.worker = 0
            LIMIT greatest(10001, q.concurrency_global)) AS counted) AS asleep
), holder AS MATERIALIZED (
    -- who has the places of a queue that has no more, and of the heads' partitions
    SELECT r.seq, NULL AS key
    FROM asked q CROSS JOIN places p CROSS JOIN LATERAL (
        SELECT r.seq FROM {schema}.running r WHERE r.queue = q.name AND NOT r.fenced LIMIT 1000) AS r
    WHERE p.taken >= q.concurrency_global AND NOT q.release_while_waiting
    UNION ALL
    SELECT r.seq, h.key
    FROM asked q CROSS JOIN (SELECT DISTINCT h.key FROM head h WHERE h.key IS NOT NULL) AS h CROSS JOIN LATERAL (
        SELECT r.seq FROM {schema}.running r WHERE r.queue = q.name AND r.key = h.key AND NOT r.fenced
        LIMIT 100) AS r
), knot AS MATERIALIZED (
    -- those of them that wait for others of the queue (of the partition), and for nothing else
    SELECT h.seq, h.key, w.target, w.due
    FROM asked q CROSS JOIN moment m CROSS JOIN holder h CROSS JOIN LATERAL (
        SELECT min(w.target) AS target, min(w.due) AS due, bool_and(coalesce(
            w.kind IN ('end', 'event') AND v.queue = q.name AND (h.key IS NULL OR v.key = h.key)
            AND (w.due IS NULL OR w.due > m.now)
            AND NOT EXISTS (SELECT FROM {schema}.result e WHERE e.seq = w.target)
            AND NOT (w.kind = 'event' AND EXISTS (
                SELECT FROM {schema}.event e WHERE e.seq = w.target AND e.key = w.topic)), false)) AS tied
        FROM {schema}.wait w LEFT JOIN {schema}.workflow v ON v.seq = w.target
        WHERE w.seq = h.seq) AS w
    WHERE w.tied
)
SELECT q.name, q.settings, q.paused, q.closed, {schema}.waiting(q.name),
    (SELECT count(*) FROM (SELECT FROM {schema}.parked p WHERE p.queue = q.name LIMIT 10001) AS counted),
    (SELECT extract(epoch FROM p.due - m.now)::float8
     FROM {schema}.parked p WHERE p.queue = q.name ORDER BY p.due LIMIT 1),
    places.running, places.fenced, places.sleeping,
    CASE WHEN places.running <= 1000 THEN (
        SELECT count(*) FROM {schema}.running r
        WHERE r.queue = q.name AND r.worker > 0 AND NOT r.fenced
          AND EXISTS (SELECT FROM {schema}.wait w WHERE w.seq = r.seq))
    ELSE 0 END,
    (SELECT count(DISTINCT over.seq) FROM (
        (SELECT a.seq FROM {schema}.awake a JOIN {schema}.running r ON r.seq = a.seq
         WHERE a.queue = q.name AND r.worker = 0 LIMIT 10001)
        UNION ALL
        (SELECT w.seq FROM {schema}.wait w
         WHERE w.queue = q.name AND w.asleep AND w.due <= m.now ORDER BY w.due LIMIT 10001)) AS over),
    (SELECT count(*) FROM knot k WHERE k.key IS NULL),
    (SELECT extract(epoch FROM min(k.due) - m.now)::float8 FROM knot k WHERE k.key IS NULL),
    (SELECT coalesce(jsonb_agg(jsonb_build_array({schema}.id_of(a), {schema}.id_of(b)) ORDER BY a.seq), '[]')
     FROM (SELECT k.seq, k.target FROM knot k WHERE k.key IS NULL ORDER BY k.seq LIMIT 3) AS k
     JOIN {schema}.workflow a ON a.seq = k.seq JOIN {schema}.workflow b ON b.seq = k.target),
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
        'slots_taken', (
            SELECT count(*) FROM {schema}.running r
            WHERE r.queue = ANY (k.queues) AND r.worker = k.id
              AND NOT EXISTS (SELECT FROM {schema}.wait w WHERE w.seq = r.seq)),
        'names', ARRAY(
            SELECT unnest(k.names) INTERSECT (SELECT h.name FROM head h UNION SELECT (t.row).name FROM target t))
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
        'key_waiting', (
            SELECT count(*) FROM {schema}.running r
            WHERE r.queue = q.name AND r.key = h.key AND NOT r.fenced
              AND EXISTS (SELECT FROM {schema}.wait w WHERE w.seq = r.seq)),
        'key_tied', (SELECT count(*) FROM knot k WHERE k.key = h.key),
        'key_tokens', CASE WHEN h.key IS NOT NULL AND q.partition_limiter_limit IS NOT NULL THEN
            {schema}.tokens(q.name, h.key, q.partition_limiter_limit, q.partition_limiter_period) END,
        'key_opens_seconds', CASE WHEN h.key IS NOT NULL AND q.partition_limiter_limit IS NOT NULL
            THEN extract(epoch FROM {schema}.opens_at(
                q.name, h.key, q.partition_limiter_limit, q.partition_limiter_period) - m.now)::float8 END
     ) ORDER BY h.rank, h.line), '[]')
     FROM head h JOIN {schema}.workflow w ON w.seq = h.seq),
    (SELECT jsonb_build_object(
        'workflow_id', {schema}.id_of(t.row), 'name', (t.row).name,
        'version', coalesce(r.version, (t.row).version),
        'status', {schema}.status_of(t.seq), 'ready', t.ready, 'key', t.key,
        'due_seconds', extract(epoch FROM d.due - m.now)::float8, 'due', d.due,
        'attempt', coalesce(r.attempt, 0), 'fenced', coalesce(r.fenced, false),
        'started_seconds', extract(epoch FROM m.now - r.started_at)::float8,
        'worker', k.name, 'worker_draining', coalesce(k.draining, false),
        'worker_lease_seconds', extract(epoch FROM k.lease_until - clock_timestamp())::float8,
        'asleep', coalesce(r.worker = 0, false),
        'waits', (
            SELECT coalesce(jsonb_agg(jsonb_build_object(
                'kind', v.kind, 'topic', v.topic, 'due', v.due,
                'of', (SELECT {schema}.id_of(o) FROM {schema}.workflow o WHERE o.seq = v.target),
                'due_seconds', extract(epoch FROM v.due - m.now)::float8,
                'over', coalesce(v.due <= m.now, false) OR CASE v.kind
                    WHEN 'message' THEN EXISTS (
                        SELECT FROM {schema}.message e WHERE e.seq = t.seq AND e.topic = v.topic)
                    WHEN 'event' THEN EXISTS (
                        SELECT FROM {schema}.event e WHERE e.seq = v.target AND e.key = v.topic)
                    WHEN 'end' THEN EXISTS (SELECT FROM {schema}.result e WHERE e.seq = v.target)
                    ELSE false END) ORDER BY v.position), '[]')
            FROM (
                SELECT * FROM {schema}.wait w WHERE w.seq = t.seq ORDER BY w.position LIMIT 4) AS v),
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
