-- name: declare_manifest
-- Writes what a Queue object declares, unless the row meanwhile records an owner that was not observed;
-- the gate is locked in the statement before, so that no claim mixes old and new limits. The revision
-- rises, and workers are told, only where a limit changed.
UPDATE {schema}.queue q
SET concurrency_global = %(concurrency)s::integer,
    concurrency_per_worker = %(worker_concurrency)s::integer,
    owner_cluster = %(owner_cluster)s::text,
    owner_namespace = %(owner_namespace)s::text,
    owner_name = %(owner_name)s::text,
    owner_uid = %(owner_uid)s::text,
    revision = q.revision + s.limits_differ::integer,
    updated_at = {schema}.clock()
FROM (
    SELECT p.name, (p.concurrency_global, p.concurrency_per_worker)
        IS DISTINCT FROM (%(concurrency)s::integer, %(worker_concurrency)s::integer) AS limits_differ
    FROM {schema}.queue p
    WHERE p.name = %(queue)s
) AS s
WHERE q.name = s.name
  AND (q.owner_uid IS NULL OR q.owner_uid = %(owner_uid)s::text OR q.owner_uid = %(replaces)s::text)
  AND (s.limits_differ OR (q.owner_cluster, q.owner_namespace, q.owner_name, q.owner_uid)
      IS DISTINCT FROM (%(owner_cluster)s::text, %(owner_namespace)s::text, %(owner_name)s::text, %(owner_uid)s::text))
RETURNING CASE WHEN s.limits_differ THEN pg_notify({channel}, q.name) END

-- name: release_manifest
-- The row and its limits stay; code or another Queue may declare it from now on.
UPDATE {schema}.queue q
SET owner_cluster = NULL, owner_namespace = NULL, owner_name = NULL, owner_uid = NULL,
    updated_at = {schema}.clock()
WHERE q.name = %(queue)s AND q.owner_uid = %(owner_uid)s
RETURNING q.name

-- name: manifest_row
SELECT q.name, q.concurrency_global, q.concurrency_per_worker,
    q.owner_cluster, q.owner_namespace, q.owner_name, q.owner_uid
FROM {schema}.queue q
WHERE q.name = %(queue)s

-- name: manifest_rows
-- The schema's version, and the rows that this cluster's objects own or ask for, in one look; one row
-- with nulls where there are none.
SELECT v.version, v.serves_from, q.name, q.concurrency_global, q.concurrency_per_worker,
    q.owner_cluster, q.owner_namespace, q.owner_name, q.owner_uid
FROM {schema}.schema_version v
LEFT JOIN {schema}.queue q
    ON q.owner_cluster = %(cluster)s OR q.name = ANY (%(queues)s::text[])
