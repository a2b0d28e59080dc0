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
    coalesce(r.status, CASE WHEN p.seq IS NULL THEN 'ENQUEUED' ELSE 'PENDING' END),
    r.output, r.completed_at, p.started_at, coalesce(r.attempt, p.attempt, 0), k.name, w.parent
FROM {schema}.workflow w
LEFT JOIN {schema}.result r ON r.seq = w.seq
LEFT JOIN {schema}.running p ON p.seq = w.seq
LEFT JOIN {schema}.worker k ON k.id = p.worker
WHERE w.seq = %(seq)s::bigint

-- name: list_workflows
-- Newest first, keyset paging by seq.
SELECT w.seq, w.id, w.secret, w.queue, w.name, w.codec, w.input, w.created_at,
    coalesce(r.status, CASE WHEN p.seq IS NULL THEN 'ENQUEUED' ELSE 'PENDING' END),
    r.output, r.completed_at, p.started_at, coalesce(r.attempt, p.attempt, 0), k.name, w.parent
FROM {schema}.workflow w
LEFT JOIN {schema}.result r ON r.seq = w.seq
LEFT JOIN {schema}.running p ON p.seq = w.seq
LEFT JOIN {schema}.worker k ON k.id = p.worker
WHERE w.seq < %(before)s::bigint
  AND (%(queue)s::text IS NULL OR w.queue = %(queue)s)
  AND (%(name)s::text IS NULL OR w.name = %(name)s)
  AND (%(status)s::text IS NULL
       OR coalesce(r.status, CASE WHEN p.seq IS NULL THEN 'ENQUEUED' ELSE 'PENDING' END) = %(status)s)
ORDER BY w.seq DESC
LIMIT %(limit)s::integer
