-- The first schema. {schema} is a parameter; every name is qualified by it.
--
-- A workflow's status is the table that its row stands in: parked = DELAYED, ready = ENQUEUED,
-- running = PENDING, result = ended. `workflow` is written once and never updated, so that a claim and a completion
-- touch narrow rows only (docs/decisions/0002-store-layout.md).

CREATE TABLE {schema}.schema_version (
    version integer NOT NULL,
    serves_from integer NOT NULL,
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row)
);
COMMENT ON TABLE {schema}.schema_version IS
    'The schema''s version, and the oldest library version (by its own schema number) that it serves.';
-- 0 until all of version 1 is there (0003): each migration is a transaction, and others look meanwhile.
INSERT INTO {schema}.schema_version (version, serves_from) VALUES (0, 0);

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
    concurrency_per_partition integer CHECK (concurrency_per_partition >= 1),
    limiter_limit integer CHECK (limiter_limit >= 1),
    limiter_period interval CHECK (limiter_period > interval '0'),
    partition_limiter_limit integer CHECK (partition_limiter_limit >= 1),
    partition_limiter_period interval CHECK (partition_limiter_period > interval '0'),
    priority_enabled boolean NOT NULL DEFAULT false,
    partitioning_enabled boolean NOT NULL DEFAULT false,
    polling_interval interval NOT NULL DEFAULT interval '1 second' CHECK (polling_interval > interval '0'),
    paused boolean NOT NULL DEFAULT false,
    closed boolean NOT NULL DEFAULT false,
    owner_cluster text,
    owner_namespace text,
    owner_name text,
    owner_uid text,
    created_at timestamptz NOT NULL DEFAULT {schema}.clock(),
    updated_at timestamptz NOT NULL DEFAULT {schema}.clock(),
    CONSTRAINT per_worker_within_global CHECK (concurrency_per_worker <= concurrency_global),
    CONSTRAINT limiter_is_whole CHECK ((limiter_limit IS NULL) = (limiter_period IS NULL)),
    CONSTRAINT partition_limiter_is_whole
        CHECK ((partition_limiter_limit IS NULL) = (partition_limiter_period IS NULL)),
    CONSTRAINT partition_limits_need_partitioning CHECK (
        partitioning_enabled OR (concurrency_per_partition IS NULL AND partition_limiter_limit IS NULL))
);
COMMENT ON COLUMN {schema}.queue.revision IS
    'Rises at every change; a claim made under another revision takes nothing.';
COMMENT ON COLUMN {schema}.queue.paused IS 'Nothing starts; enqueue goes on.';
COMMENT ON COLUMN {schema}.queue.closed IS 'Enqueue is refused; what waits goes on.';
COMMENT ON COLUMN {schema}.queue.owner_uid IS
    'The uid of the Queue object that owns the row; null: code may declare it.';

CREATE FUNCTION {schema}.settings(q {schema}.queue) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
SELECT jsonb_build_object(
    'concurrency', q.concurrency_global,
    'worker_concurrency', q.concurrency_per_worker,
    'partition_concurrency', q.concurrency_per_partition,
    'limit', q.limiter_limit,
    'period', extract(epoch FROM q.limiter_period)::float8,
    'partition_limit', q.partition_limiter_limit,
    'partition_period', extract(epoch FROM q.partition_limiter_period)::float8,
    'priority_enabled', q.priority_enabled,
    'partition_queue', q.partitioning_enabled,
    'polling_interval', extract(epoch FROM q.polling_interval)::float8)
$$;
COMMENT ON FUNCTION {schema}.settings({schema}.queue) IS
    'The settings of a queue as the library reads and writes them; durations in seconds.';

CREATE TABLE {schema}.gate (
    queue text COLLATE "C" PRIMARY KEY REFERENCES {schema}.queue (name) ON DELETE CASCADE
);
COMMENT ON TABLE {schema}.gate IS
    'One row a queue, only ever locked: whoever counts places locks it first and counts in the next statement.';

CREATE TABLE {schema}.workflow (
    seq bigint GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME {schema}.workflow_seq) PRIMARY KEY,
    secret bigint NOT NULL,
    created_at timestamptz NOT NULL,
    parent bigint,
    priority integer CHECK (priority >= 1),
    id text COLLATE "C",
    queue text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL DEFAULT '',
    key text COLLATE "C",
    deduplication_id text COLLATE "C",
    codec text NOT NULL,
    input text NOT NULL
);
COMMENT ON COLUMN {schema}.workflow.id IS
    'Only where the caller chose it; a generated id is wf-<seq>-<secret> and needs no index.';
COMMENT ON COLUMN {schema}.workflow.priority IS 'As it was enqueued; the one in force is in rank.';
COMMENT ON COLUMN {schema}.workflow.key IS 'The partition key as it was enqueued.';
CREATE UNIQUE INDEX workflow_chosen_id ON {schema}.workflow (id) WHERE id IS NOT NULL;

CREATE TABLE {schema}.ready (
    seq bigint PRIMARY KEY,
    rank bigint NOT NULL,
    line bigint NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    recoveries integer NOT NULL DEFAULT 0,
    queue text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    key text COLLATE "C",
    deduplication_id text COLLATE "C"
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE {schema}.ready IS 'Workflows that wait for a worker.';
COMMENT ON COLUMN {schema}.ready.rank IS
    'Urgency, lowest first: minus the priority, 0 without one; 2^32 less where a partition''s workflow has begun before.';
COMMENT ON COLUMN {schema}.ready.line IS 'The number in the line: the seq, and a new one at resume.';
COMMENT ON COLUMN {schema}.ready.key IS 'The partition key; only in queues that are partitioned.';
CREATE INDEX ready_line ON {schema}.ready (queue, name, version, rank, line) WHERE key IS NULL;
CREATE INDEX ready_partition ON {schema}.ready (queue, key, rank, line) WHERE key IS NOT NULL;

CREATE TABLE {schema}.parked (
    seq bigint PRIMARY KEY,
    rank bigint NOT NULL,
    due timestamptz NOT NULL,
    queue text COLLATE "C" NOT NULL,
    key text COLLATE "C",
    deduplication_id text COLLATE "C"
);
COMMENT ON TABLE {schema}.parked IS 'Workflows that are DELAYED: they join the line at their seq when due.';
CREATE INDEX parked_due ON {schema}.parked (queue, due);

CREATE TABLE {schema}.running (
    seq bigint PRIMARY KEY,
    worker bigint NOT NULL,
    rank bigint NOT NULL,
    line bigint NOT NULL,
    started_at timestamptz NOT NULL,
    attempt integer NOT NULL,
    recoveries integer NOT NULL,
    fenced boolean NOT NULL DEFAULT false,
    resumed_line bigint,
    queue text COLLATE "C" NOT NULL,
    key text COLLATE "C",
    deduplication_id text COLLATE "C"
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE {schema}.running IS 'A row is a place in its queue''s concurrency, kept from claim to end.';
COMMENT ON COLUMN {schema}.running.fenced IS
    'Its workflow was cancelled or deleted: the code keeps its place until it ends, and can write nothing.';
COMMENT ON COLUMN {schema}.running.resumed_line IS
    'The workflow was resumed while the fenced code still runs: it joins the line here when that ends.';
CREATE INDEX running_place ON {schema}.running (queue, worker);
CREATE INDEX running_partition ON {schema}.running (queue, key) WHERE key IS NOT NULL;
CREATE INDEX running_fenced ON {schema}.running (worker) WHERE fenced;

CREATE TABLE {schema}.deduplication (
    queue text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (queue, id)
);
COMMENT ON TABLE {schema}.deduplication IS
    'Who holds a deduplication id: a workflow that is DELAYED, ENQUEUED or PENDING.';

CREATE TABLE {schema}.start (
    n bigint NOT NULL,
    at timestamptz NOT NULL,
    queue text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    PRIMARY KEY (queue, key, n)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE {schema}.start IS
    'One row a claim of a limited queue (key empty) or partition: n starts were made by then, the last of them at `at`. Written under the gate, so that n and at rise together.';
CREATE INDEX start_time ON {schema}.start (queue, key, at, n);

CREATE TABLE {schema}.ticket (
    rank bigint NOT NULL,
    turn timestamptz NOT NULL,
    queue text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    PRIMARY KEY (queue, key)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE {schema}.ticket IS
    'A partition key that may start a workflow: what its head is, and since when it was not served. Written under the gate alone.';
CREATE INDEX ticket_turn ON {schema}.ticket (queue, name, version, rank, turn, key);

CREATE TABLE {schema}.wake (
    n bigint GENERATED ALWAYS AS IDENTITY,
    rank bigint NOT NULL DEFAULT -4611686018427387904,
    turn timestamptz NOT NULL,
    queue text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    PRIMARY KEY (queue, rank, n)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE {schema}.wake IS
    'Something changed in a partition: the next claim of the queue looks at it anew, the most urgent first.';
COMMENT ON COLUMN {schema}.wake.rank IS
    'Of what came into the line; by default before all of those, for what is bounded by the places.';

CREATE TABLE {schema}.alarm (
    queue text COLLATE "C" NOT NULL,
    due timestamptz NOT NULL,
    turn timestamptz NOT NULL,
    key text COLLATE "C" NOT NULL,
    PRIMARY KEY (queue, due, key)
);
COMMENT ON TABLE {schema}.alarm IS 'When a partition that its limiter holds back is to be looked at again.';

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
