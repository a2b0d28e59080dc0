-- A clock that stands still until it is moved, in the place of the real one. Leases stay on real time.
CREATE TABLE {schema}.test_clock (
    reads timestamptz NOT NULL,
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row)
);
INSERT INTO {schema}.test_clock (reads) VALUES (date_trunc('milliseconds', clock_timestamp()));
CREATE OR REPLACE FUNCTION {schema}.clock() RETURNS timestamptz
LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$SELECT c.reads FROM {schema}.test_clock c$$;
