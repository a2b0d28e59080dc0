-- The first schema. {schema} is a parameter; every name is qualified by it.
--
-- A workflow's status is the table that its row stands in: ready = ENQUEUED, running = PENDING,
-- result = ended. `workflow` is written once and never updated, so that a claim and a completion
-- touch narrow rows only (docs/decisions/0002-store-layout.md).

CREATE TABLE {schema}.schema_version (
    version integer NOT NULL,
    serves_from integer NOT NULL,
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row)
);
COMMENT ON TABLE {schema}.schema_version IS
    'The schema''s version, and the oldest library version (by its own schema number) that it serves.';
INSERT INTO {schema}.schema_version (version, serves_from) VALUES (1, 1);

CREATE FUNCTION {schema}.clock() RETURNS timestamptz
LANGUAGE sql VOLATILE PARALLEL SAFE
AS 'SELECT clock_timestamp()';
COMMENT ON FUNCTION {schema}.clock() IS
    'The time of everything but leases; a test''s database may replace it.';

CREATE TABLE {schema}.queue (
    name text COLLATE "C" PRIMARY KEY CHECK (char_length(name) BETWEEN 1 AND 255 AND strpos(name, ',') = 0),
    revision bigint NOT NULL DEFAULT 1,
    concurrency_global integer CHECK (concurrency_global >= 1),
    concurrency_per_worker integer CHECK (concurrency_per_worker >= 1),
    owner_cluster text,
    owner_namespace text,
    owner_name text,
    owner_uid text,
    created_at timestamptz NOT NULL DEFAULT {schema}.clock(),
    updated_at timestamptz NOT NULL DEFAULT {schema}.clock(),
    CONSTRAINT per_worker_within_global CHECK (concurrency_per_worker <= concurrency_global)
);
COMMENT ON COLUMN {schema}.queue.revision IS
    'Rises at every change; a claim made under another revision takes nothing.';
COMMENT ON COLUMN {schema}.queue.owner_uid IS
    'The uid of the Queue object that owns the row; null: code may declare it.';

CREATE TABLE {schema}.gate (
    queue text COLLATE "C" PRIMARY KEY REFERENCES {schema}.queue (name) ON DELETE CASCADE
);
COMMENT ON TABLE {schema}.gate IS
    'One row a queue, only ever locked: whoever counts places locks it first and counts in the next statement.';

CREATE TABLE {schema}.workflow (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C",
    secret bigint NOT NULL,
    queue text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL DEFAULT '',
    codec text NOT NULL,
    input text NOT NULL,
    parent bigint,
    created_at timestamptz NOT NULL
);
COMMENT ON COLUMN {schema}.workflow.id IS
    'Only where the caller chose it; a generated id is wf-<seq>-<secret> and needs no index.';
CREATE UNIQUE INDEX workflow_chosen_id ON {schema}.workflow (id) WHERE id IS NOT NULL;

CREATE TABLE {schema}.ready (
    queue text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    rank integer NOT NULL,
    line bigint NOT NULL,
    seq bigint NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    recoveries integer NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, name, version, rank, line)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE {schema}.ready IS 'Workflows that wait for a worker, in claim order.';

CREATE TABLE {schema}.running (
    seq bigint PRIMARY KEY,
    queue text COLLATE "C" NOT NULL,
    worker bigint NOT NULL,
    attempt integer NOT NULL,
    recoveries integer NOT NULL,
    rank integer NOT NULL,
    line bigint NOT NULL,
    started_at timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE {schema}.running IS 'A row is a place in its queue''s concurrency, kept from claim to end.';
CREATE INDEX running_place ON {schema}.running (queue, worker);

CREATE TABLE {schema}.result (
    seq bigint PRIMARY KEY,
    status text NOT NULL
        CHECK (status IN ('SUCCESS', 'ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')),
    attempt integer NOT NULL,
    completed_at timestamptz NOT NULL,
    output text
);
COMMENT ON COLUMN {schema}.result.output IS
    'The encoded value of a SUCCESS, the recorded failure of an ERROR.';

CREATE TABLE {schema}.step (
    seq bigint NOT NULL,
    position text COLLATE "C" NOT NULL,
    attempt integer NOT NULL,
    name text NOT NULL,
    output text,
    failure text,
    child bigint,
    started_at timestamptz NOT NULL,
    completed_at timestamptz NOT NULL,
    PRIMARY KEY (seq, position)
);

CREATE TABLE {schema}.worker (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    pool text,
    pod_uid text,
    node text,
    version text NOT NULL DEFAULT '',
    library text NOT NULL,
    code_hash text NOT NULL DEFAULT '',
    queues text[] NOT NULL,
    names text[] NOT NULL,
    max_recoveries integer[] NOT NULL,
    slots integer NOT NULL,
    started_at timestamptz NOT NULL,
    lease_until timestamptz NOT NULL,
    draining boolean NOT NULL DEFAULT false,
    ended_at timestamptz
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
COMMENT ON COLUMN {schema}.worker.ended_at IS
    'Set and removed with the row in one transaction, by whoever ends the lease; nobody else ever sees it.';

CREATE TABLE {schema}.sleeper (
    queue text COLLATE "C" NOT NULL,
    listener bigint NOT NULL,
    PRIMARY KEY (queue, listener)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE {schema}.sleeper IS
    'Who wants a NOTIFY when the queue gets work: a worker''s id, or 0 for the operator.';

INSERT INTO {schema}.queue (name) VALUES ('_towpath');
INSERT INTO {schema}.gate (queue) VALUES ('_towpath');
