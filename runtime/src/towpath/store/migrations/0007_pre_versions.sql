-- Version 2: application versions; with this file the schema has all of version 2.

CREATE TABLE {schema}.version (
    name text COLLATE "C" PRIMARY KEY CHECK (char_length(name) BETWEEN 1 AND 255),
    current boolean NOT NULL DEFAULT false,
    promoted_at timestamptz
);
COMMENT ON TABLE {schema}.version IS
    'Application versions that somebody has promoted; the current one begins what was enqueued without a version.';
CREATE UNIQUE INDEX version_current ON {schema}.version (current) WHERE current;

UPDATE {schema}.schema_version SET version = 2;
