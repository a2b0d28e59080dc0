-- Sends the message that an order waits for:
--
--     psql "$TOWPATH_DATABASE_URL" --set id=wf-1-... --set by=Ada --file approve.sql

\set ON_ERROR_STOP on
\set VERBOSITY verbose
\pset tuples_only on
\pset format unaligned

SELECT towpath.send(workflow_id => :'id', message => to_jsonb(:'by'::text), topic => 'approval');
