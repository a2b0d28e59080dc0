-- Puts an order in line and prints the workflow's id:
--
--     psql "$TOWPATH_DATABASE_URL" --set order=7 --file enqueue.sql
--
-- What the transaction writes besides commits with it. An error has an SQLSTATE (TP001 to TP006) and, where
-- there is one, a hint with what to do.

\set ON_ERROR_STOP on
\set VERBOSITY verbose
\pset tuples_only on
\pset format unaligned

BEGIN;
SELECT towpath.enqueue(
    queue => 'orders',
    workflow => 'fulfil',
    args => jsonb_build_array(:order),
    kwargs => '{"express": true}',
    priority => 10,
    deduplication_id => 'order-' || :'order',
    delay_seconds => 0.1
) AS workflow_id;
COMMIT;
