-- name: queue_demand
-- What waits and runs in many queues; `waiting` and `oldest_waiting` are flat in the backlog. Delayed
-- workflows that are due count as waiting, and those whose wait is over; one that sleeps runs nowhere.
SELECT q.name,
    {schema}.waiting(q.name) + (SELECT count(*) FROM (
        SELECT FROM {schema}.parked p WHERE p.queue = q.name AND p.due <= (SELECT {schema}.clock()) LIMIT 10001) AS due)
    + (SELECT count(*) FROM (SELECT FROM {schema}.awake a WHERE a.queue = q.name LIMIT 10001) AS awake)
    + (SELECT count(*) FROM (
        SELECT FROM {schema}.wait s WHERE s.queue = q.name AND s.asleep AND s.due <= (SELECT {schema}.clock())
        LIMIT 10001) AS rousable),
    (SELECT count(*) FROM {schema}.running p WHERE p.queue = q.name AND p.worker > 0),
    (SELECT count(*) FROM {schema}.worker k
     WHERE q.name = ANY (k.queues) AND NOT k.draining AND k.lease_until > clock_timestamp()),
    (SELECT extract(epoch FROM {schema}.clock() - w.created_at)::float8
     FROM {schema}.workflow w WHERE w.seq = {schema}.oldest_waiting(q.name)),
    q.paused
FROM {schema}.queue q
WHERE q.name = ANY (%(queues)s::text[])
