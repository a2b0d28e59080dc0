-- name: record_steps
-- Group commit: the steps of many workflows at once. A stale attempt's step is not written and not returned.
WITH step AS (
    SELECT * FROM unnest(
        %(seqs)s::bigint[], %(attempts)s::integer[], %(positions)s::text[], %(names)s::text[],
        %(outputs)s::text[], %(failures)s::text[], %(seconds)s::float8[]
    ) AS s (seq, attempt, position, name, output, failure, seconds)
), held AS MATERIALIZED (
    -- the place is locked, so that a recovery waits for this commit or this statement finds it gone
    SELECT r.seq, r.attempt FROM {schema}.running r
    WHERE r.seq = ANY (%(seqs)s::bigint[]) AND NOT r.fenced
    ORDER BY r.seq
    FOR KEY SHARE
)
INSERT INTO {schema}.step (seq, position, attempt, name, output, failure, started_at, completed_at)
SELECT s.seq, s.position, s.attempt, s.name, s.output, s.failure,
    {schema}.clock() - make_interval(secs => s.seconds), {schema}.clock()
FROM step s JOIN held h ON h.seq = s.seq AND h.attempt = s.attempt
-- written already by this attempt: the answer was lost with the connection, and the call is made again
ON CONFLICT (seq, position) DO UPDATE SET attempt = excluded.attempt WHERE step.attempt = excluded.attempt
RETURNING seq, position

-- name: load_steps
SELECT s.seq, s.position, s.name, s.output, s.failure, s.child, s.attempt
FROM {schema}.step s
WHERE s.seq = ANY (%(seqs)s::bigint[])
