-- name: release_manifest
-- The row and its limits stay; code or another Queue may declare it from now on.
UPDATE {schema}.queue q
SET owner_cluster = NULL, owner_namespace = NULL, owner_name = NULL, owner_uid = NULL,
    updated_at = {schema}.clock()
WHERE q.name = %(queue)s AND q.owner_uid = %(owner_uid)s
RETURNING q.name

-- name: manifest_row
SELECT q.name, {schema}.settings(q), q.paused, q.closed,
    q.owner_cluster, q.owner_namespace, q.owner_name, q.owner_uid
FROM {schema}.queue q
WHERE q.name = %(queue)s

-- name: manifest_rows
-- The schema's version, and the rows that this cluster's objects own or ask for, in one look; one row
-- with nulls where there are none.
SELECT v.version, v.serves_from, q.name, {schema}.settings(q), q.paused, q.closed,
    q.owner_cluster, q.owner_namespace, q.owner_name, q.owner_uid
FROM {schema}.schema_version v
LEFT JOIN {schema}.queue q
    ON q.owner_cluster = %(cluster)s OR q.name = ANY (%(queues)s::text[])
