-- Durable waits: written when they begin, so that a recovery waits for the remainder, and gone with the
-- record of the step that they are.

-- name: begin_waits
-- Group commit: waits of many workflows at once. One that a former attempt began keeps its time. A stale
-- attempt's is not written and not returned.
WITH given AS (
    SELECT * FROM unnest(
        %(seqs)s::bigint[], %(attempts)s::integer[], %(positions)s::text[], %(verbs)s::text[], %(kinds)s::text[],
        %(targets)s::bigint[], %(topics)s::text[], %(seconds)s::float8[]
    ) AS g (seq, attempt, position, verb, kind, target, topic, seconds)
), held AS MATERIALIZED (
    -- FOR SHARE: one that has just been put to sleep is seen as such
    SELECT r.seq, r.attempt, r.queue, r.version FROM {schema}.running r
    WHERE r.seq = ANY (%(seqs)s::bigint[]) AND r.worker <> 0 AND NOT r.fenced
    ORDER BY r.seq
    FOR SHARE
)
INSERT INTO {schema}.wait (seq, position, verb, kind, target, topic, due, queue, name, version)
SELECT g.seq, g.position, g.verb, g.kind, g.target, g.topic,
    {schema}.clock() + make_interval(secs => g.seconds), h.queue, w.name, coalesce(h.version, w.version)
FROM given g
JOIN held h ON h.seq = g.seq AND h.attempt = g.attempt
JOIN {schema}.workflow w ON w.seq = g.seq
ORDER BY g.seq, g.position
ON CONFLICT (seq, position) DO UPDATE SET asleep = false, version = excluded.version
RETURNING seq, position, verb, extract(epoch FROM due - {schema}.clock())::float8

-- name: settle_waits
SELECT s.of_seq, s.of_position, s.state, s.output, s.seconds
FROM {schema}.settle(
    %(seqs)s::bigint[], %(attempts)s::integer[], %(positions)s::text[], %(verbs)s::text[], %(kinds)s::text[],
    %(targets)s::bigint[], %(topics)s::text[]) AS s

-- name: drop_waits
-- Waits that are recorded as steps, or whose workflow goes on, or has ended, without them. A stale attempt's
-- wait is its successor's by now, and stays.
DELETE FROM {schema}.wait WHERE ctid = ANY (ARRAY(
    SELECT w.ctid
    FROM unnest(%(seqs)s::bigint[], %(attempts)s::integer[], %(positions)s::text[]) AS g (seq, attempt, position)
    CROSS JOIN LATERAL (
        SELECT w.ctid, w.seq, w.position FROM {schema}.wait w
        WHERE w.seq = g.seq AND w.position = g.position LIMIT 1) AS w
    WHERE g.seq = 0
       OR EXISTS (SELECT FROM {schema}.running r WHERE r.seq = g.seq AND r.attempt = g.attempt)
       OR EXISTS (SELECT FROM {schema}.result r WHERE r.seq = g.seq)
    ORDER BY w.seq, w.position))

-- name: call_me
-- A process outside of workflows wants to be told of something, for a while.
INSERT INTO {schema}.wait (seq, position, verb, kind, target, topic, due, queue, name, version)
SELECT 0, g.token, '', g.kind, g.target, g.topic, {schema}.clock() + make_interval(secs => %(seconds)s::float8), '', '', ''
FROM unnest(%(tokens)s::text[], %(kinds)s::text[], %(targets)s::bigint[], %(topics)s::text[])
    AS g (token, kind, target, topic)
ON CONFLICT (seq, position) DO UPDATE SET due = excluded.due

-- name: call_nobody
-- What processes wanted that have ended without a word.
DELETE FROM {schema}.wait w WHERE w.seq = 0 AND w.due < (SELECT {schema}.clock())

-- name: put_to_sleep
-- Waiting workflows that leave their worker's memory: their places stay, nobody runs them. It is no part
-- of a turn: a turn may hold a wait that this waits for.
WITH given AS (
    SELECT * FROM unnest(%(seqs)s::bigint[], %(attempts)s::integer[]) AS g (seq, attempt)
), held AS MATERIALIZED (
    SELECT r.seq FROM {schema}.running r JOIN given g ON g.seq = r.seq AND g.attempt = r.attempt
    WHERE NOT r.fenced
    ORDER BY r.seq
    FOR NO KEY UPDATE OF r
), placed AS (
    UPDATE {schema}.running r SET worker = 0, recoveries = {schema}.recoveries_after(r) FROM held h WHERE r.seq = h.seq
)
UPDATE {schema}.wait w SET asleep = true FROM held h WHERE w.seq = h.seq
RETURNING w.seq

-- name: look_once_more
-- What came while they were put to sleep; put_to_sleep went before it in the same transaction. Who told
-- before a wait was written, and has committed since, is not seen by this: it is called again after a while.
WITH woken AS (
    INSERT INTO {schema}.awake (seq, queue, name, version)
    SELECT DISTINCT w.seq, w.queue, w.name, w.version FROM {schema}.wait w
    WHERE w.seq = ANY (%(seqs)s::bigint[]) AND w.asleep AND (
        w.due <= (SELECT {schema}.clock())
        OR w.seq = ANY (%(restless)s::bigint[])
        -- one of its waits has ended meanwhile: its row is gone
        OR EXISTS (
            SELECT FROM unnest(%(waiting)s::bigint[], %(positions)s::text[]) AS e (seq, position)
            WHERE e.seq = w.seq
              AND NOT EXISTS (SELECT FROM {schema}.wait x WHERE x.seq = e.seq AND x.position = e.position))
        OR (w.kind = 'message' AND EXISTS (
            SELECT FROM {schema}.message m WHERE m.seq = w.seq AND m.topic = w.topic))
        OR (w.kind = 'event' AND EXISTS (
            SELECT FROM {schema}.event e WHERE e.seq = w.target AND e.key = w.topic))
        OR (w.kind = 'end' AND EXISTS (SELECT FROM {schema}.result r WHERE r.seq = w.target)))
    RETURNING queue
)
SELECT pg_notify({channel}, q.queue || ',awake') FROM (SELECT DISTINCT w.queue FROM woken w) AS q

-- name: moment
-- Every transaction that the statements before this did not see has a number below this one, or begins later.
SELECT pg_snapshot_xmax(pg_current_snapshot())::text

-- name: moment_over
-- Whether all of those have ended.
SELECT pg_snapshot_xmin(pg_current_snapshot()) >= %(moment)s::xid8

-- name: release_places
-- Queues that give their places back while their workflows wait: somebody may start there now.
SELECT pg_notify({channel}, q.name) FROM {schema}.queue q
WHERE q.name = ANY (%(queues)s::text[]) AND q.release_while_waiting

-- name: rouse
-- Sleeping workflows whose time has come; they are asleep no more, so that this is done once. The clock is volatile: it is read once, by a query of its own.
WITH due AS (
    UPDATE {schema}.wait SET asleep = false
    WHERE ctid = ANY (ARRAY(
        SELECT w.ctid FROM {schema}.wait w
        WHERE w.queue = %(queue)s AND w.asleep AND w.due <= (SELECT {schema}.clock())
        ORDER BY w.due LIMIT 1000 FOR UPDATE SKIP LOCKED))
    RETURNING seq, queue, name, version
), woken AS (
    INSERT INTO {schema}.awake (seq, queue, name, version)
    SELECT DISTINCT d.seq, d.queue, d.name, d.version FROM due d
)
SELECT count(*) FROM due

-- name: claim_awake
-- Takes workflows whose wait is over, before all others: they have their place, and going on is no start.
-- A row of awake whose workflow is in some worker's memory has nothing to say: that worker is told. One that
-- was written before some version began the workflow is that version's.
WITH held AS (
    SELECT {schema}.room_to_go_on(q, w.id, %(limit)s::bigint) AS places
    FROM {schema}.queue q, {schema}.worker w
    WHERE q.name = %(queue)s AND q.revision = %(revision)s::bigint
      AND w.id = %(worker)s::bigint AND NOT w.draining AND w.lease_until > clock_timestamp()
), line AS MATERIALIZED (
    SELECT a.place, a.seq, v.version
    FROM unnest(%(names)s::text[]) AS known (name)
    CROSS JOIN unnest(%(versions)s::text[]) AS v (version)
    CROSS JOIN LATERAL (
        SELECT a.ctid AS place, a.seq, a.n FROM {schema}.awake a
        WHERE a.queue = %(queue)s AND a.name = known.name AND a.version = v.version
        ORDER BY a.n
        LIMIT (SELECT places FROM held)
        FOR UPDATE SKIP LOCKED
    ) AS a
    WHERE EXISTS (SELECT FROM held)
    ORDER BY a.n
    LIMIT (SELECT places FROM held)
), mine AS MATERIALIZED (
    SELECT r.seq, r.worker = 0 AND NOT r.fenced AND coalesce(r.version = l.version, true) AS asleep,
        CASE WHEN r.worker = 0 AND r.version <> l.version THEN r.version END AS elsewhere
    FROM line l JOIN {schema}.running r ON r.seq = l.seq
    FOR NO KEY UPDATE OF r SKIP LOCKED
), passed_on AS (
    INSERT INTO {schema}.awake (seq, queue, name, version)
    SELECT m.seq, %(queue)s, w.name, m.elsewhere FROM mine m JOIN {schema}.workflow w ON w.seq = m.seq
    WHERE m.elsewhere IS NOT NULL
    RETURNING pg_notify({channel}, queue || ',awake')
), told AS (
    DELETE FROM {schema}.awake WHERE ctid = ANY (ARRAY(
        SELECT l.place FROM line l
        WHERE EXISTS (SELECT FROM mine m WHERE m.seq = l.seq)
           OR NOT EXISTS (SELECT FROM {schema}.running r WHERE r.seq = l.seq)))
), placed AS (
    UPDATE {schema}.running r
    SET worker = %(worker)s::bigint, attempt = r.attempt + 1, version = coalesce(r.version, nullif(%(stamp)s, ''))
    WHERE r.seq = ANY (ARRAY(SELECT m.seq FROM mine m WHERE m.asleep))
    RETURNING r.seq, r.attempt, r.queue, r.rank, r.line
), loaded AS (
    -- one that is locked is just roused by another's turn, which may wait for the gate that is held here
    UPDATE {schema}.wait SET asleep = false WHERE ctid = ANY (ARRAY(
        SELECT w.ctid FROM {schema}.wait w
        WHERE w.seq = ANY (ARRAY(SELECT m.seq FROM mine m WHERE m.asleep))
        FOR NO KEY UPDATE SKIP LOCKED))
)
SELECT p.seq, p.attempt, w.id, w.secret, p.queue, w.name, w.codec, w.input, p.rank, p.line
FROM placed p JOIN {schema}.workflow w ON w.seq = p.seq
ORDER BY p.seq

-- name: first_awake
-- After claim_awake: the first that it has left, since there was no room for it, or others hold it; null for none.
SELECT min(a.n)
FROM unnest(%(names)s::text[]) AS known (name)
CROSS JOIN unnest(%(versions)s::text[]) AS v (version)
CROSS JOIN LATERAL (
    SELECT a.n FROM {schema}.awake a
    WHERE a.queue = %(queue)s AND a.name = known.name AND a.version = v.version
    ORDER BY a.n LIMIT 1) AS a

-- name: tell_ends
-- Those who wait for the ends of workflows, and do not run here.
SELECT {schema}.tell('end', array_agg(t.seq), '')
FROM unnest(%(seqs)s::bigint[]) AS t (seq)
WHERE EXISTS (SELECT FROM {schema}.wait w WHERE w.target = t.seq AND w.target <> 0 AND w.kind = 'end')
HAVING count(*) > 0

-- name: expire
SELECT e.looked_at, e.cancelled FROM {schema}.expire(%(limit)s::integer) AS e
