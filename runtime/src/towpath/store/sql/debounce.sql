-- name: bounce
-- Replaces the input of a key's workflow that is DELAYED and puts its start off, or makes one.
SELECT b.item, b.outcome, b.found, b.workflow_id, b.detail
FROM {schema}.bounce(
    %(queue)s, %(name)s, %(codec)s, %(version)s, %(input)s, %(secret)s::bigint, %(priority)s::bigint, %(key)s,
    %(bounce_key)s, %(delay)s::float8, %(at_most)s::float8,
    %(parent)s::bigint, %(attempt)s::integer, %(position)s::text, %(timeout)s::float8) AS b
