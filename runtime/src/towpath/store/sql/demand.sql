-- name: queue_demand
-- What waits and runs in many queues. The count stops at 10,001, and the oldest is looked for at the
-- head of each name's line (of the first 100 names), so that the backlog's size costs nothing.
SELECT q.name,
    (SELECT count(*) FROM (
        SELECT FROM {schema}.ready r WHERE r.queue = q.name LIMIT 10001) AS counted),
    (SELECT count(*) FROM {schema}.running p WHERE p.queue = q.name),
    (SELECT count(*) FROM {schema}.worker k
     WHERE q.name = ANY (k.queues) AND NOT k.draining AND k.lease_until > clock_timestamp()),
    (WITH RECURSIVE head AS (
        (SELECT r.name, r.version, r.seq FROM {schema}.ready r
         WHERE r.queue = q.name
         ORDER BY r.name, r.version, r.rank, r.line LIMIT 1)
        UNION ALL
        SELECT following.name, following.version, following.seq
        FROM head CROSS JOIN LATERAL (
            SELECT r.name, r.version, r.seq FROM {schema}.ready r
            WHERE r.queue = q.name AND (r.name, r.version) > (head.name, head.version)
            ORDER BY r.name, r.version, r.rank, r.line LIMIT 1) AS following
     )
     SELECT extract(epoch FROM {schema}.clock() - min(w.created_at))::float8
     FROM (SELECT h.seq FROM head h LIMIT 100) AS first
     CROSS JOIN LATERAL (SELECT w.created_at FROM {schema}.workflow w WHERE w.seq = first.seq) AS w)
FROM {schema}.queue q
WHERE q.name = ANY (%(queues)s::text[])
