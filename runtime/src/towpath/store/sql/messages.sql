-- Messages, events and streams; docs/guides/messages.md says what they promise.

-- name: send
SELECT {schema}.deliver(
    {schema}.seq_of(%(id)s), %(topic)s, %(codec)s, %(value)s, %(idempotency_key)s::text, %(at_commit)s::boolean)

-- name: send_from_workflow
SELECT {schema}.send_from_workflow(
    %(seq)s::bigint, %(attempt)s::integer, %(position)s, {schema}.seq_of(%(id)s), %(topic)s, %(codec)s, %(value)s,
    %(idempotency_key)s::text)

-- name: set_event
SELECT {schema}.set_event(
    %(seq)s::bigint, %(attempt)s::integer, %(position)s, %(key)s, %(codec)s, %(value)s)

-- name: write_stream
SELECT {schema}.write_stream(
    %(seq)s::bigint, %(attempt)s::integer, %(position)s::text, %(key)s, %(codec)s, %(value)s::text)

-- name: read_stream
-- What was written after a place; ended says that nothing more can come.
SELECT s.n, s.value, r.seq IS NOT NULL
FROM {schema}.workflow w
LEFT JOIN {schema}.result r ON r.seq = w.seq
LEFT JOIN LATERAL (
    SELECT s.n, s.value FROM {schema}.stream s
    WHERE s.seq = w.seq AND s.key = %(key)s AND s.n > %(after)s::bigint
    ORDER BY s.n LIMIT 1000) AS s ON true
WHERE w.seq = %(seq)s::bigint
ORDER BY s.n
