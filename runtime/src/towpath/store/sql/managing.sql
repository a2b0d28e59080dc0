-- Verbs on workflows that are there; each is one statement, and so one transaction.

-- name: failed_workflows
-- Those that ended with ERROR, named or let through by a filter, oldest first: what they and their steps
-- failed with, and when each step began and ended.
SELECT r.seq, r.attempt, r.output, (
    SELECT coalesce(json_agg(json_build_array(s.position, s.failure,
        extract(epoch FROM s.started_at)::float8, extract(epoch FROM s.completed_at)::float8)), '[]')
    FROM {schema}.step s WHERE s.seq = r.seq)
FROM unnest(coalesce(%(seqs)s::bigint[], {schema}.find_workflows(%(filter)s::jsonb, %(limit)s::integer))) AS f (seq)
JOIN {schema}.result r ON r.seq = f.seq AND r.status = 'ERROR'
ORDER BY r.seq

-- name: retry
SELECT r.target, r.status FROM {schema}.retry(
    %(seqs)s::bigint[], %(attempts)s::integer[], %(failed_seqs)s::bigint[], %(positions)s::text[]) AS r

-- name: recorded_positions
SELECT s.position, s.name FROM {schema}.step s WHERE s.seq = %(seq)s::bigint

-- name: fork
SELECT f.item, f.outcome, f.found, f.workflow_id, f.detail FROM {schema}.fork(
    %(seq)s::bigint, %(from_number)s::integer, %(queue)s::text, %(version)s::text, %(id)s::text,
    %(secret)s::bigint) AS f

-- name: workflow_steps
SELECT s.position, s.name, s.attempt, s.output, s.failure,
    (SELECT {schema}.id_of(w) FROM {schema}.workflow w WHERE w.seq = s.child), s.started_at, s.completed_at
FROM {schema}.step s
WHERE s.seq = %(seq)s::bigint

-- name: cancel_with_children
SELECT c.seq, c.was FROM {schema}.cancel_with_children(%(seq)s::bigint) AS c

-- name: delete_kept_long_enough
SELECT d.looked_at, d.deleted FROM {schema}.delete_kept_long_enough(%(limit)s::integer) AS d

-- name: set_default_retention
UPDATE {schema}.retention SET succeeded = %(succeeded)s::interval, failed = %(failed)s::interval

-- name: default_retention
SELECT r.succeeded, r.failed FROM {schema}.retention r

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
