-- name: results
-- Which of these workflows have ended, and how.
SELECT r.seq, r.status, r.output FROM {schema}.result r WHERE r.seq = ANY (%(seqs)s::bigint[])

-- name: locate_generated
SELECT w.seq, w.secret, w.id, w.codec FROM {schema}.workflow w
WHERE w.seq = %(seq)s::bigint AND w.secret = %(secret)s::bigint AND w.id IS NULL

-- name: locate_chosen
SELECT w.seq, w.secret, w.id, w.codec FROM {schema}.workflow w WHERE w.id = %(id)s

-- name: workflow_status
SELECT w.seq, w.id, w.secret, w.queue, w.name, w.codec, w.input, w.created_at,
    CASE
        WHEN r.seq IS NOT NULL THEN r.status
        WHEN d.seq IS NOT NULL THEN 'DELAYED'
        WHEN p.seq IS NOT NULL AND NOT p.fenced THEN 'PENDING'
        ELSE 'ENQUEUED'
    END,
    r.output, r.completed_at, p.started_at, coalesce(r.attempt, p.attempt, y.attempt, 0), k.name, w.parent,
    coalesce(nullif(-{schema}.fresh_rank(coalesce(y.rank, d.rank, p.rank)), 0), w.priority),
    w.key, w.deduplication_id, d.due, w.version
FROM {schema}.workflow w
LEFT JOIN {schema}.result r ON r.seq = w.seq
LEFT JOIN {schema}.running p ON p.seq = w.seq
LEFT JOIN {schema}.ready y ON y.seq = w.seq
LEFT JOIN {schema}.parked d ON d.seq = w.seq
LEFT JOIN {schema}.worker k ON k.id = p.worker
WHERE w.seq = %(seq)s::bigint

-- name: list_workflows
-- Newest first, keyset paging by seq.
SELECT w.seq, w.id, w.secret, w.queue, w.name, w.codec, w.input, w.created_at,
    CASE
        WHEN r.seq IS NOT NULL THEN r.status
        WHEN d.seq IS NOT NULL THEN 'DELAYED'
        WHEN p.seq IS NOT NULL AND NOT p.fenced THEN 'PENDING'
        ELSE 'ENQUEUED'
    END,
    r.output, r.completed_at, p.started_at, coalesce(r.attempt, p.attempt, y.attempt, 0), k.name, w.parent,
    coalesce(nullif(-{schema}.fresh_rank(coalesce(y.rank, d.rank, p.rank)), 0), w.priority),
    w.key, w.deduplication_id, d.due, w.version
FROM {schema}.workflow w
LEFT JOIN {schema}.result r ON r.seq = w.seq
LEFT JOIN {schema}.running p ON p.seq = w.seq
LEFT JOIN {schema}.ready y ON y.seq = w.seq
LEFT JOIN {schema}.parked d ON d.seq = w.seq
LEFT JOIN {schema}.worker k ON k.id = p.worker
WHERE w.seq < %(before)s::bigint
  AND (%(queue)s::text IS NULL OR w.queue = %(queue)s)
  AND (%(name)s::text IS NULL OR w.name = %(name)s)
  AND (%(status)s::text IS NULL OR %(status)s = CASE
        WHEN r.seq IS NOT NULL THEN r.status
        WHEN d.seq IS NOT NULL THEN 'DELAYED'
        WHEN p.seq IS NOT NULL AND NOT p.fenced THEN 'PENDING'
        ELSE 'ENQUEUED' END)
ORDER BY w.seq DESC
LIMIT %(limit)s::integer

-- name: cancel
SELECT c.target, c.was FROM {schema}.cancel(%(seqs)s::bigint[]) AS c

-- name: resume
SELECT {schema}.resume(%(seq)s::bigint)

-- name: forget
SELECT {schema}.forget(%(seq)s::bigint)

-- name: set_priority
-- The queue's own settings are checked in the same snapshot.
SELECT q.priority_enabled, w.queue, CASE
    WHEN q.priority_enabled THEN {schema}.set_priority(w.seq, -%(priority)s::bigint) END
FROM {schema}.workflow w JOIN {schema}.queue q ON q.name = w.queue
WHERE w.seq = %(seq)s::bigint

-- name: set_delay
-- Null where the workflow was DELAYED and has its new time; else its status.
WITH moved AS (
    UPDATE {schema}.parked p
    SET due = coalesce(%(due)s::timestamptz, {schema}.clock() + make_interval(secs => %(delay)s::float8))
    WHERE p.seq = %(seq)s::bigint
    RETURNING p.queue
), called AS (
    SELECT count(pg_notify({channel}, m.queue || ',due')) AS queues FROM moved m
)
SELECT CASE WHEN c.queues = 0 THEN {schema}.status_of(%(seq)s::bigint) END FROM called c
