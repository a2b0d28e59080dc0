-- The attempt's place goes to a worker of its own, whose lease has run out: so whoever ends dead leases, this
-- process or another, recovers it as any dead worker's.
WITH place AS MATERIALIZED (
    SELECT r.seq, r.queue, r.worker FROM {schema}.running r
    WHERE r.seq = %(seq)s::bigint AND r.attempt = %(attempt)s::integer
    FOR NO KEY UPDATE
), dead AS (
    INSERT INTO {schema}.worker (name, library, queues, names, max_recoveries, slots, started_at, lease_until)
    SELECT 'crashed by a test', w.library, ARRAY[p.queue], w.names, w.max_recoveries, 1, w.started_at,
        clock_timestamp() - interval '1 second'
    FROM place p JOIN {schema}.worker w ON w.id = p.worker
    RETURNING id
)
UPDATE {schema}.running r SET worker = d.id FROM place p, dead d WHERE r.seq = p.seq
RETURNING d.id
