-- name: declare_queue
-- Code declares its settings, unless a manifest owns the row; the gate is locked in the statement before.
UPDATE {schema}.queue q
SET concurrency_global = %(concurrency)s::integer,
    concurrency_per_worker = %(worker_concurrency)s::integer,
    revision = q.revision + 1,
    updated_at = {schema}.clock()
WHERE q.name = %(queue)s AND q.owner_uid IS NULL
  AND (q.concurrency_global, q.concurrency_per_worker)
      IS DISTINCT FROM (%(concurrency)s::integer, %(worker_concurrency)s::integer)
RETURNING pg_notify({channel}, q.name)

-- name: queue_settings
SELECT q.name, q.revision, q.concurrency_global, q.concurrency_per_worker, q.owner_namespace, q.owner_name
FROM {schema}.queue q
WHERE q.name = ANY (%(queues)s::text[])

-- name: list_queues
-- Counts stop at 10,001, so that the statement stays flat in the backlog.
SELECT q.name, q.concurrency_global, q.concurrency_per_worker, q.owner_namespace, q.owner_name,
    (SELECT count(*) FROM (
        SELECT FROM {schema}.ready r WHERE r.queue = q.name LIMIT 10001) AS counted),
    (SELECT count(*) FROM {schema}.running p WHERE p.queue = q.name),
    (SELECT count(*) FROM {schema}.worker k
     WHERE q.name = ANY (k.queues) AND NOT k.draining AND k.lease_until > clock_timestamp()),
    (SELECT min(w.created_at)
     FROM (SELECT DISTINCT n.name FROM {schema}.worker k, unnest(k.names) AS n (name)
           WHERE q.name = ANY (k.queues)) AS known
     CROSS JOIN LATERAL (
        SELECT r.seq FROM {schema}.ready r
        WHERE r.queue = q.name AND r.name = known.name AND r.version = ''
        ORDER BY r.rank, r.line LIMIT 1) AS head
     JOIN {schema}.workflow w ON w.seq = head.seq)
FROM {schema}.queue q
WHERE q.name <> '_towpath' AND (%(queue)s::text IS NULL OR q.name = %(queue)s)
ORDER BY q.name

-- name: serving_workers
-- Live workers of a queue, and how many of them know a workflow's name.
SELECT count(*), count(*) FILTER (WHERE %(name)s = ANY (k.names))
FROM {schema}.worker k
WHERE %(queue)s = ANY (k.queues) AND NOT k.draining AND k.lease_until > clock_timestamp()
