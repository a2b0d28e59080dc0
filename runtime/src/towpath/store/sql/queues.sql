-- name: hold_settings
-- Whoever changes a queue's settings waits for the turns that claim from it, and new ones wait for the
-- change: no claim is made under settings that have gone.
SELECT pg_advisory_xact_lock(1953462128, hashtext({channel} || %(queue)s))

-- name: declare_queue
-- Writes the settings that code (no owner) or a Queue object declares, unless the row records another
-- owner than may be replaced; hold_settings went before it. The revision rises, and workers are told,
-- only where something in force changed. Null paused or closed: as they are.
WITH old AS (
    SELECT p.name, {schema}.settings(p) <> %(settings)s::jsonb
        OR coalesce(%(paused)s::boolean, p.paused) <> p.paused
        OR coalesce(%(closed)s::boolean, p.closed) <> p.closed AS changes
    FROM {schema}.queue p
    WHERE p.name = %(queue)s
), woken AS (
    -- partitions that the limits before held back are looked at again
    INSERT INTO {schema}.wake (rank, turn, queue, key)
    SELECT 0, min(k.turn), o.name, k.key
    FROM old o CROSS JOIN LATERAL (
        SELECT r.key, r.started_at AS turn FROM {schema}.running r
        WHERE r.queue = o.name AND r.key IS NOT NULL
        UNION ALL
        SELECT a.key, a.turn FROM {schema}.alarm a WHERE a.queue = o.name) AS k
    WHERE o.changes
    GROUP BY o.name, k.key
)
UPDATE {schema}.queue q
SET concurrency_global = s.concurrency,
    concurrency_per_worker = s.worker_concurrency,
    concurrency_per_partition = s.partition_concurrency,
    limiter_limit = s."limit",
    limiter_period = make_interval(secs => s.period),
    partition_limiter_limit = s.partition_limit,
    partition_limiter_period = make_interval(secs => s.partition_period),
    priority_enabled = s.priority_enabled,
    partitioning_enabled = s.partition_queue,
    release_while_waiting = s.release_while_waiting,
    polling_interval = make_interval(secs => s.polling_interval),
    retention_succeeded = make_interval(secs => s.retention_succeeded),
    retention_failed = make_interval(secs => s.retention_failed),
    paused = coalesce(%(paused)s::boolean, q.paused),
    closed = coalesce(%(closed)s::boolean, q.closed),
    owner_cluster = %(owner_cluster)s::text,
    owner_namespace = %(owner_namespace)s::text,
    owner_name = %(owner_name)s::text,
    owner_uid = %(owner_uid)s::text,
    revision = q.revision + old.changes::integer,
    updated_at = {schema}.clock()
FROM old, jsonb_to_record(%(settings)s::jsonb) AS s (
    concurrency integer, worker_concurrency integer, partition_concurrency integer,
    "limit" integer, period float8, partition_limit integer, partition_period float8,
    priority_enabled boolean, partition_queue boolean, release_while_waiting boolean, polling_interval float8,
    retention_succeeded float8, retention_failed float8)
WHERE q.name = old.name
  AND (q.owner_uid IS NULL OR q.owner_uid = %(owner_uid)s::text OR q.owner_uid = %(replaces)s::text)
  AND (old.changes OR (q.owner_cluster, q.owner_namespace, q.owner_name, q.owner_uid)
      IS DISTINCT FROM (%(owner_cluster)s::text, %(owner_namespace)s::text, %(owner_name)s::text, %(owner_uid)s::text))
RETURNING CASE WHEN old.changes THEN pg_notify({channel}, q.name || ',settings') END

-- name: set_paused
-- Nothing starts while a queue is paused; hold_settings went before it.
UPDATE {schema}.queue q SET paused = %(paused)s::boolean, revision = q.revision + 1, updated_at = {schema}.clock()
WHERE q.name = %(queue)s AND q.paused <> %(paused)s::boolean
RETURNING pg_notify({channel}, q.name || ',settings')

-- name: set_closed
-- A closed queue takes nothing new; what waits goes on.
UPDATE {schema}.queue q SET closed = %(closed)s::boolean, revision = q.revision + 1, updated_at = {schema}.clock()
WHERE q.name = %(queue)s AND q.closed <> %(closed)s::boolean
RETURNING pg_notify({channel}, q.name || ',settings')

-- name: queue_settings
SELECT q.name, q.revision, {schema}.settings(q), q.paused, q.closed, q.owner_namespace, q.owner_name
FROM {schema}.queue q
WHERE q.name = ANY (%(queues)s::text[])

-- name: list_queues
-- Counts stop at 10,001, so that the statement stays flat in the backlog.
SELECT q.name, {schema}.settings(q), q.paused, q.closed, q.owner_namespace, q.owner_name,
    {schema}.waiting(q.name),
    (SELECT count(*) FROM (
        SELECT FROM {schema}.parked p WHERE p.queue = q.name LIMIT 10001) AS counted),
    (SELECT count(*) FROM {schema}.running p WHERE p.queue = q.name AND p.worker > 0),
    (SELECT count(*) FROM (
        SELECT FROM {schema}.running p WHERE p.queue = q.name AND p.worker = 0
        LIMIT greatest(10001, q.concurrency_global)) AS counted),
    (SELECT count(*) FROM {schema}.worker k
     WHERE q.name = ANY (k.queues) AND NOT k.draining AND k.lease_until > clock_timestamp()),
    (SELECT w.created_at FROM {schema}.workflow w WHERE w.seq = {schema}.oldest_waiting(q.name))
FROM {schema}.queue q
WHERE q.name <> '_towpath' AND (%(queue)s::text IS NULL OR q.name = %(queue)s)
ORDER BY q.name
