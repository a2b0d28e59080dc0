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
-- The schema's version, a digest of who may do what in it, its default retention, and the rows that this
-- cluster's objects own or ask for, in one look; one row with nulls where there are none.
SELECT v.version, v.serves_from, (
    SELECT md5(concat(
        (SELECT n.nspacl FROM pg_namespace n WHERE n.oid = t.relnamespace),
        (SELECT string_agg(concat(c.relname, c.relacl), ' ' ORDER BY c.relname)
            FROM pg_class c WHERE c.relnamespace = t.relnamespace AND c.relkind IN ('r', 'S')),
        (SELECT string_agg(concat(a.attname, a.attacl), ' ' ORDER BY a.attrelid, a.attnum)
            FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
            WHERE c.relnamespace = t.relnamespace AND a.attacl IS NOT NULL),
        (SELECT string_agg(concat(p.proname, p.proacl), ' ' ORDER BY p.proname, p.oid)
            FROM pg_proc p WHERE p.pronamespace = t.relnamespace AND p.proacl IS NOT NULL)))
    FROM pg_class t WHERE t.oid = v.tableoid),
    k.succeeded, k.failed, q.name, {schema}.settings(q), q.paused, q.closed,
    q.owner_cluster, q.owner_namespace, q.owner_name, q.owner_uid
FROM {schema}.schema_version v CROSS JOIN {schema}.retention k
LEFT JOIN {schema}.queue q
    ON q.owner_cluster = %(cluster)s OR q.name = ANY (%(queues)s::text[])
