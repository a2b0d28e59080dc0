-- Where everything stands: whether somebody outside waits, whether something is about to go on by itself,
-- what this process's worker has in its memory, and when the next thing becomes due.
WITH served AS MATERIALIZED (
    SELECT q.name, q.paused, q.partitioning_enabled AS partitioned, q.limiter_limit, q.limiter_period,
        {schema}.room(q, %(worker)s::bigint, 1) > 0 AS has_room,
        {schema}.room_to_go_on(q, %(worker)s::bigint, 1) > 0 AS lets_go_on
    FROM {schema}.queue q WHERE q.name = ANY (%(queues)s::text[])
), lined_up AS MATERIALIZED (
    SELECT s.*, EXISTS (
            SELECT FROM {schema}.ready r
            WHERE r.queue = s.name AND r.name = ANY (%(names)s::text[]) AND r.version = ANY (%(versions)s::text[])
              AND (r.key IS NOT NULL) = s.partitioned) AS has_line,
        s.partitioned AND (
            EXISTS (SELECT FROM {schema}.wake w WHERE w.queue = s.name)
            OR EXISTS (
                SELECT FROM {schema}.ticket t
                WHERE t.queue = s.name AND t.name = ANY (%(names)s::text[])
                  AND t.version = ANY (%(versions)s::text[]))) AS has_ticket
    FROM served s WHERE NOT s.paused
), due AS (
    SELECT w.due FROM {schema}.wait w WHERE w.seq <> 0 AND w.queue = ANY (%(queues)s::text[])
    UNION ALL
    SELECT p.due FROM {schema}.parked p JOIN lined_up s ON s.name = p.queue
    UNION ALL
    SELECT d.due FROM {schema}.deadline d
    UNION ALL
    SELECT a.due FROM {schema}.alarm a JOIN lined_up s ON s.name = a.queue AND s.partitioned
), moment AS MATERIALIZED (
    SELECT {schema}.clock() AS now
)
SELECT m.now,
    EXISTS (SELECT FROM {schema}.wait w WHERE w.seq = 0),
    EXISTS (SELECT FROM due d WHERE d.due <= m.now)
        OR EXISTS (SELECT FROM {schema}.running r WHERE r.worker NOT IN (0, %(worker)s::bigint))
        OR EXISTS (
            SELECT FROM {schema}.wait w WHERE w.seq <> 0 AND w.queue = ANY (%(queues)s::text[]) AND (
                (w.kind = 'message' AND EXISTS (
                    SELECT FROM {schema}.message e WHERE e.seq = w.seq AND e.topic = w.topic))
                OR (w.kind = 'event' AND EXISTS (
                    SELECT FROM {schema}.event e WHERE e.seq = w.target AND e.key = w.topic))
                OR (w.kind = 'end' AND EXISTS (SELECT FROM {schema}.result r WHERE r.seq = w.target))))
        OR EXISTS (
            SELECT FROM served s JOIN {schema}.awake a ON a.queue = s.name AND a.name = ANY (%(names)s::text[])
            WHERE s.lets_go_on)
        OR EXISTS (
            SELECT FROM lined_up s
            WHERE s.has_room AND CASE WHEN s.partitioned THEN s.has_ticket ELSE s.has_line END),
    ARRAY(
        SELECT r.seq || ':' || r.attempt || ':' || coalesce(w.position, '')
        FROM {schema}.running r LEFT JOIN {schema}.wait w ON w.seq = r.seq
        WHERE r.worker = %(worker)s::bigint),
    least(
        (SELECT min(d.due) FROM due d WHERE d.due > m.now),
        (SELECT min(o.opens_at) FROM lined_up s CROSS JOIN LATERAL (
            SELECT {schema}.opens_at(s.name, '', s.limiter_limit, s.limiter_period) AS opens_at) AS o
         WHERE s.limiter_limit IS NOT NULL AND s.has_line AND o.opens_at > m.now))
FROM moment m
