-- name: look_at_transaction
-- Whether an attempt holds its place, and what is recorded at a position. It locks no row, and it is a
-- transaction of its own: the function that comes next must hold nothing that others wait for.
SELECT EXISTS (
        SELECT FROM {schema}.running r
        WHERE r.seq = %(seq)s::bigint AND r.attempt = %(attempt)s::integer AND NOT r.fenced) AS held,
    s.name, s.output, s.failure
FROM (VALUES (1)) AS one (n)
LEFT JOIN {schema}.step s ON s.seq = %(seq)s::bigint AND s.position = %(position)s::text

-- name: record_transaction
-- The step's record, in the transaction of its function. It travels in one message with the COMMIT after
-- it, so that no client that is frozen sits on the place's lock. A stale attempt finds no place: then
-- `attempt`, which may not be null, refuses the row, and the COMMIT is not reached. FOR SHARE: a transaction
-- with a snapshot of its own would get a FOR KEY SHARE on a place as it was before it was fenced.
WITH held AS MATERIALIZED (
    SELECT r.attempt FROM {schema}.running r
    WHERE r.seq = %(seq)s::bigint AND r.attempt = %(attempt)s::integer AND NOT r.fenced
    FOR SHARE
)
INSERT INTO {schema}.step (seq, position, attempt, name, output, failure, started_at, completed_at)
SELECT %(seq)s::bigint, %(position)s::text, (SELECT h.attempt FROM held h), %(name)s::text,
    %(output)s::text, %(failure)s::text,
    {schema}.clock() - make_interval(secs => %(seconds)s::float8), {schema}.clock()

-- name: database_identity
-- Two connections are to one database of one server where all of it is equal.
SELECT d.datname, d.oid::bigint, pg_postmaster_start_time(),
    (SELECT n.oid::bigint FROM pg_namespace n WHERE n.nspname = %(schema)s::text)
FROM pg_database d
WHERE d.datname = current_database()
