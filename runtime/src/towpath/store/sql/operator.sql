-- name: lead
-- First in each transaction in which an operator writes: an error, TP007, where a later one leads.
SELECT {schema}.lead(%(lease)s::text, %(epoch)s::bigint)
