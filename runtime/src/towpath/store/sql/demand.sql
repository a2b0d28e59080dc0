-- name: queue_demand
-- What waits and runs in many queues; the counts of what waits are flat in the backlog. Delayed workflows
-- that are due count as waiting, and those that sleep and whose wait is over; one that sleeps runs nowhere.
SELECT q.name,
    {schema}.waiting(q.name) + woken.count + (SELECT count(*) FROM (
        SELECT FROM {schema}.parked p WHERE p.queue = q.name AND p.due <= (SELECT {schema}.clock()) LIMIT 10001) AS due),
    woken.count,
    (SELECT count(*) FROM {schema}.running p WHERE p.queue = q.name AND p.worker > 0),
    CASE WHEN q.release_while_waiting OR q.concurrency_global IS NULL THEN 0 ELSE (
        SELECT greatest(count(*) - woken.count, 0) FROM (
            SELECT FROM {schema}.running p WHERE p.queue = q.name AND p.worker = 0
            LIMIT q.concurrency_global) AS asleep) END,
    (SELECT count(*) FROM {schema}.worker k
     WHERE q.name = ANY (k.queues) AND NOT k.draining AND k.lease_until > clock_timestamp()),
    (SELECT extract(epoch FROM {schema}.clock() - w.created_at)::float8
     FROM {schema}.workflow w WHERE w.seq = {schema}.oldest_waiting(q.name)),
    q.paused
FROM {schema}.queue q CROSS JOIN LATERAL (
    SELECT count(DISTINCT over.seq) AS count FROM (
        (SELECT a.seq FROM {schema}.awake a JOIN {schema}.running r ON r.seq = a.seq
         WHERE a.queue = q.name AND r.worker = 0 LIMIT 10001)
        UNION ALL
        (SELECT s.seq FROM {schema}.wait s
         WHERE s.queue = q.name AND s.asleep AND s.due <= (SELECT {schema}.clock())
         ORDER BY s.due LIMIT 10001)) AS over) AS woken
WHERE q.name = ANY (%(queues)s::text[])
