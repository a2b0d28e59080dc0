-- Application versions: who begins what carries none, and what each still has to do.

-- name: promote_version
SELECT {schema}.promote(%(name)s)

-- name: list_versions
-- Every version that somebody has promoted, that a live worker runs, or that a workflow which has not
-- ended carries; the empty one stands for what carries none. It reads all that waits and runs.
WITH worker AS (
    SELECT w.version, array_agg(w.name ORDER BY w.id) AS names FROM {schema}.worker w
    WHERE w.lease_until > clock_timestamp()
    GROUP BY w.version
), waiting AS (
    SELECT r.version, count(*) AS count FROM {schema}.ready r GROUP BY r.version
), held AS (
    SELECT coalesce(r.version, w.version) AS version, count(*) AS count
    FROM {schema}.running r JOIN {schema}.workflow w ON w.seq = r.seq
    WHERE NOT r.fenced
    GROUP BY 1
), delayed AS (
    SELECT w.version, count(*) AS count
    FROM {schema}.parked p JOIN {schema}.workflow w ON w.seq = p.seq
    GROUP BY w.version
), known AS (
    SELECT v.name AS version FROM {schema}.version v
    UNION SELECT version FROM worker
    UNION SELECT version FROM waiting
    UNION SELECT version FROM held
    UNION SELECT version FROM delayed
)
SELECT k.version, coalesce(v.current, false), v.promoted_at, coalesce(k_worker.names, ARRAY[]::text[]),
    coalesce(delayed.count, 0), coalesce(waiting.count, 0), coalesce(held.count, 0)
FROM known k
LEFT JOIN {schema}.version v ON v.name = k.version
LEFT JOIN worker k_worker ON k_worker.version = k.version
LEFT JOIN waiting ON waiting.version = k.version
LEFT JOIN held ON held.version = k.version
LEFT JOIN delayed ON delayed.version = k.version
ORDER BY k.version

-- name: record_patch
-- The marker of a patch, in an attempt that goes on: not where an earlier one waits at the position or
-- below it, since that is code from before the patch. No row: the place is lost.
WITH held AS MATERIALIZED (
    SELECT r.seq FROM {schema}.running r
    WHERE r.seq = %(seq)s::bigint AND r.attempt = %(attempt)s::integer AND NOT r.fenced
    FOR KEY SHARE
), old AS (
    SELECT EXISTS (
        SELECT FROM {schema}.wait w
        WHERE w.seq = %(seq)s::bigint
          AND (w.position = %(position)s OR starts_with(w.position, %(position)s || '.'))) AS found
), written AS (
    INSERT INTO {schema}.step (seq, position, attempt, name, output, started_at, completed_at)
    SELECT h.seq, %(position)s, %(attempt)s::integer, %(name)s, 'true', {schema}.clock(), {schema}.clock()
    FROM held h, old o WHERE NOT o.found
    -- written already by this attempt: the answer was lost with the connection, and the call is made again
    ON CONFLICT (seq, position) DO NOTHING
)
SELECT NOT o.found FROM held h, old o
