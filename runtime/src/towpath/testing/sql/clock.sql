-- A clock that shows the real time until it is set, and then stands still until it is moved. Leases stay on
-- real time.
CREATE TABLE {schema}.test_clock (
    reads timestamptz,
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row)
);
INSERT INTO {schema}.test_clock (reads) VALUES (NULL);
CREATE OR REPLACE FUNCTION {schema}.clock() RETURNS timestamptz
LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$SELECT coalesce(c.reads, clock_timestamp()) FROM {schema}.test_clock c$$;
