-- A queue is deleted with its workflows, a batch at a time, while its row records who asked for it.

-- name: close_for_good
-- Nothing is taken any more, and with pauses nothing begins; hold_settings went before it.
UPDATE {schema}.queue q
SET closed = true, paused = q.paused OR %(pauses)s::boolean, revision = q.revision + 1, updated_at = {schema}.clock()
WHERE q.name = %(queue)s AND q.owner_uid = %(owner_uid)s AND NOT (q.closed AND (q.paused OR NOT %(pauses)s::boolean))
RETURNING pg_notify({channel}, q.name || ',settings')

-- name: open_kept
-- The queue stays after all, and takes new workflows as before; hold_settings went before it.
UPDATE {schema}.queue q SET closed = false, revision = q.revision + 1, updated_at = {schema}.clock()
WHERE q.name = %(queue)s AND q.owner_uid = %(owner_uid)s AND q.closed
RETURNING pg_notify({channel}, q.name || ',settings')

-- name: queue_is_idle
-- Whether no workflow of the queue waits, is delayed or has begun and not ended.
SELECT NOT EXISTS (SELECT FROM {schema}.ready r WHERE r.queue = %(queue)s)
    AND NOT EXISTS (SELECT FROM {schema}.parked p WHERE p.queue = %(queue)s)
    AND NOT EXISTS (SELECT FROM {schema}.running r WHERE r.queue = %(queue)s AND NOT r.fenced)

-- name: queue_workflows_beyond
-- Of the next so many workflows of all queues, those of this one: the last that was looked at, who has ended,
-- who has not, and how many a live worker has in memory. There is no index of ended workflows by queue, so
-- the table is walked through once.
SELECT max(s.seq),
    coalesce(array_agg(s.seq ORDER BY s.seq) FILTER (WHERE s.ended), '{{}}'),
    coalesce(array_agg(s.seq ORDER BY s.seq) FILTER (WHERE s.mine AND NOT s.ended AND NOT s.in_memory), '{{}}'),
    coalesce(array_agg(s.seq ORDER BY s.seq) FILTER (WHERE s.in_memory), '{{}}')
FROM (
    SELECT t.seq, t.mine,
        t.mine AND EXISTS (SELECT FROM {schema}.result e WHERE e.seq = t.seq) AS ended,
        t.mine AND EXISTS (
            SELECT FROM {schema}.running r JOIN {schema}.worker k ON k.id = r.worker
            WHERE r.seq = t.seq AND NOT r.fenced AND k.lease_until > clock_timestamp()) AS in_memory
    FROM (
        SELECT w.seq, w.queue = %(queue)s AS mine FROM {schema}.workflow w
        WHERE w.seq > %(beyond)s::bigint ORDER BY w.seq LIMIT %(window)s::integer
    ) AS t
) AS s

-- name: queue_workflows_left
-- Behind the end of the table: those that were in a worker's memory when they were passed, and who by an index
-- still waits, is delayed or has begun.
SELECT
    coalesce(array_agg(s.seq ORDER BY s.seq) FILTER (WHERE s.ended), '{{}}'),
    coalesce(array_agg(s.seq ORDER BY s.seq) FILTER (WHERE NOT s.ended AND NOT s.in_memory), '{{}}'),
    coalesce(array_agg(s.seq ORDER BY s.seq) FILTER (WHERE s.in_memory), '{{}}')
FROM (
    SELECT t.seq,
        EXISTS (SELECT FROM {schema}.result e WHERE e.seq = t.seq) AS ended,
        EXISTS (
            SELECT FROM {schema}.running r JOIN {schema}.worker k ON k.id = r.worker
            WHERE r.seq = t.seq AND NOT r.fenced AND k.lease_until > clock_timestamp()) AS in_memory
    FROM (
        SELECT unnest(%(left)s::bigint[]) AS seq
        UNION
        (SELECT r.seq FROM {schema}.ready r WHERE r.queue = %(queue)s LIMIT 2000)
        UNION
        (SELECT p.seq FROM {schema}.parked p WHERE p.queue = %(queue)s LIMIT 2000)
        UNION
        (SELECT r.seq FROM {schema}.running r WHERE r.queue = %(queue)s AND NOT r.fenced LIMIT 2000)
    ) AS t JOIN {schema}.workflow w ON w.seq = t.seq
) AS s

-- name: hold_ended
-- Keeps a resume, a retry and a delete off until the transaction ends; who was faster is passed over.
SELECT w.seq FROM {schema}.workflow w
WHERE w.seq = ANY (%(seqs)s::bigint[])
ORDER BY w.seq FOR UPDATE OF w SKIP LOCKED

-- name: erase_ended
-- Those of some that have ended, with all that they recorded; hold_ended went before it.
WITH locked AS MATERIALIZED (
    SELECT w.seq FROM {schema}.workflow w
    WHERE w.seq = ANY (%(seqs)s::bigint[]) AND w.queue = %(queue)s
      AND EXISTS (SELECT FROM {schema}.queue q WHERE q.name = w.queue AND q.owner_uid = %(owner_uid)s)
    ORDER BY w.seq FOR UPDATE OF w SKIP LOCKED
), ended AS MATERIALIZED (
    SELECT coalesce(array_agg(e.seq), '{{}}') AS seqs FROM {schema}.result e JOIN locked l ON l.seq = e.seq
)
SELECT cardinality(d.seqs), {schema}.erase(d.seqs) FROM ended d

-- name: forget_unbegun
-- Those of some that have never begun, all at once: they have recorded nothing, and hold nothing but a
-- deduplication id. Who waits for their end is told, and finds them gone.
WITH lined_up AS (
    DELETE FROM {schema}.ready WHERE ctid = ANY (ARRAY(
        SELECT r.ctid FROM {schema}.ready r
        WHERE r.seq = ANY (%(seqs)s::bigint[]) AND r.queue = %(queue)s AND r.attempt = 0
          AND EXISTS (SELECT FROM {schema}.queue q WHERE q.name = r.queue AND q.owner_uid = %(owner_uid)s)
        FOR UPDATE OF r SKIP LOCKED))
    RETURNING seq, queue, deduplication_id
), delayed AS (
    DELETE FROM {schema}.parked WHERE ctid = ANY (ARRAY(
        SELECT p.ctid FROM {schema}.parked p
        WHERE p.seq = ANY (%(seqs)s::bigint[]) AND p.queue = %(queue)s
          AND EXISTS (SELECT FROM {schema}.queue q WHERE q.name = p.queue AND q.owner_uid = %(owner_uid)s)
        FOR UPDATE OF p SKIP LOCKED))
    RETURNING seq, queue, deduplication_id
), unbegun AS MATERIALIZED (
    SELECT * FROM lined_up UNION ALL SELECT * FROM delayed
), freed AS (
    DELETE FROM {schema}.deduplication d USING unbegun u
    WHERE d.queue = u.queue AND d.id = u.deduplication_id AND d.seq = u.seq
), gone AS MATERIALIZED (
    SELECT coalesce(array_agg(u.seq ORDER BY u.seq), '{{}}') AS seqs FROM unbegun u
)
SELECT cardinality(g.seqs), {schema}.erase(g.seqs), {schema}.tell('end', g.seqs, '') FROM gone g

-- name: forget_unended
-- Of some that have not ended the first are cancelled and deleted, as by a delete of each.
SELECT count(*) FILTER (WHERE {schema}.forget(t.seq))
FROM (
    SELECT w.seq FROM {schema}.workflow w
    WHERE w.seq = ANY (%(seqs)s::bigint[]) AND w.queue = %(queue)s
      AND EXISTS (SELECT FROM {schema}.queue q WHERE q.name = w.queue AND q.owner_uid = %(owner_uid)s)
    ORDER BY w.seq LIMIT %(batch)s::integer
) AS t

-- name: delete_queue
-- The row of a closed queue goes, with all that is kept by its name, when no workflow is left and nobody can
-- add one: who had begun to enqueue before it was closed has ended by now, or takes longer than a minute.
-- hold_settings went before it.
WITH gone AS (
    DELETE FROM {schema}.queue q
    WHERE q.name = %(queue)s AND q.owner_uid = %(owner_uid)s AND q.closed
      AND NOT EXISTS (
          SELECT FROM {schema}.ready r JOIN {schema}.workflow w ON w.seq = r.seq WHERE r.queue = q.name)
      AND NOT EXISTS (
          SELECT FROM {schema}.parked p JOIN {schema}.workflow w ON w.seq = p.seq WHERE p.queue = q.name)
      AND NOT EXISTS (SELECT FROM {schema}.running r WHERE r.queue = q.name AND NOT r.fenced)
      AND NOT EXISTS (SELECT FROM {schema}.workflow w WHERE w.seq > %(beyond)s::bigint AND w.queue = q.name)
      AND (age(q.xmin) > age(pg_snapshot_xmin(pg_current_snapshot())::xid)
          OR q.updated_at < {schema}.clock() - interval '1 minute')
    RETURNING q.name
), unlined AS (
    DELETE FROM {schema}.ready r USING gone g WHERE r.queue = g.name
), code AS (
    -- cancelled code that still runs has no place to give back any more
    DELETE FROM {schema}.running r USING gone g WHERE r.queue = g.name
), starts AS (
    DELETE FROM {schema}.start s USING gone g WHERE s.queue = g.name
), tickets AS (
    DELETE FROM {schema}.ticket t USING gone g WHERE t.queue = g.name
), alarms AS (
    DELETE FROM {schema}.alarm a USING gone g WHERE a.queue = g.name
), wakes AS (
    DELETE FROM {schema}.wake w USING gone g WHERE w.queue = g.name
), woken AS (
    DELETE FROM {schema}.awake a USING gone g WHERE a.queue = g.name
), sleepers AS (
    DELETE FROM {schema}.sleeper s USING gone g WHERE s.queue = g.name
), bounces AS (
    DELETE FROM {schema}.debounce b USING gone g WHERE b.queue = g.name
), held AS (
    DELETE FROM {schema}.deduplication d USING gone g WHERE d.queue = g.name
)
SELECT pg_notify({channel}, g.name || ',settings') FROM gone g
