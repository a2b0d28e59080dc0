-- What the migrations make, for reading. Written by `python -m towpath.store.dump`; do not edit.
CREATE SCHEMA towpath;

CREATE FUNCTION towpath.clock() RETURNS timestamp with time zone
    LANGUAGE sql PARALLEL SAFE
    AS $$SELECT clock_timestamp()$$;

COMMENT ON FUNCTION towpath.clock() IS 'The time of everything but leases; a test''s database may replace it.';

CREATE TABLE towpath.gate (
    queue text NOT NULL COLLATE pg_catalog."C"
);

COMMENT ON TABLE towpath.gate IS 'One row a queue, only ever locked: whoever counts places locks it first and counts in the next statement.';

CREATE TABLE towpath.migration (
    number integer NOT NULL,
    phase text NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE towpath.queue (
    name text NOT NULL COLLATE pg_catalog."C",
    revision bigint DEFAULT 1 NOT NULL,
    concurrency_global integer,
    concurrency_per_worker integer,
    owner_cluster text,
    owner_namespace text,
    owner_name text,
    owner_uid text,
    created_at timestamp with time zone DEFAULT towpath.clock() NOT NULL,
    updated_at timestamp with time zone DEFAULT towpath.clock() NOT NULL,
    CONSTRAINT per_worker_within_global CHECK ((concurrency_per_worker <= concurrency_global)),
    CONSTRAINT queue_concurrency_global_check CHECK ((concurrency_global >= 1)),
    CONSTRAINT queue_concurrency_per_worker_check CHECK ((concurrency_per_worker >= 1)),
    CONSTRAINT queue_name_check CHECK ((((char_length(name) >= 1) AND (char_length(name) <= 255)) AND (strpos(name, ','::text) = 0)))
);

COMMENT ON COLUMN towpath.queue.revision IS 'Rises at every change; a claim made under another revision takes nothing.';

COMMENT ON COLUMN towpath.queue.owner_uid IS 'The uid of the Queue object that owns the row; null: code may declare it.';

CREATE TABLE towpath.ready (
    queue text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    version text NOT NULL COLLATE pg_catalog."C",
    rank integer NOT NULL,
    line bigint NOT NULL,
    seq bigint NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    recoveries integer DEFAULT 0 NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE towpath.ready IS 'Workflows that wait for a worker, in claim order.';

CREATE TABLE towpath.result (
    seq bigint NOT NULL,
    status text NOT NULL,
    attempt integer NOT NULL,
    completed_at timestamp with time zone NOT NULL,
    output text,
    CONSTRAINT result_status_check CHECK ((status = ANY (ARRAY['SUCCESS'::text, 'ERROR'::text, 'CANCELLED'::text, 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'::text])))
);

COMMENT ON COLUMN towpath.result.output IS 'The encoded value of a SUCCESS, the recorded failure of an ERROR.';

CREATE TABLE towpath.running (
    seq bigint NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    worker bigint NOT NULL,
    attempt integer NOT NULL,
    recoveries integer NOT NULL,
    rank integer NOT NULL,
    line bigint NOT NULL,
    started_at timestamp with time zone NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE towpath.running IS 'A row is a place in its queue''s concurrency, kept from claim to end.';

CREATE TABLE towpath.schema_version (
    version integer NOT NULL,
    serves_from integer NOT NULL,
    only_row boolean DEFAULT true NOT NULL,
    CONSTRAINT schema_version_only_row_check CHECK (only_row)
);

COMMENT ON TABLE towpath.schema_version IS 'The schema''s version, and the oldest library version (by its own schema number) that it serves.';

CREATE TABLE towpath.sleeper (
    queue text NOT NULL COLLATE pg_catalog."C",
    listener bigint NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='500', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE towpath.sleeper IS 'Who wants a NOTIFY when the queue gets work: a worker''s id, or 0 for the operator.';

CREATE TABLE towpath.step (
    seq bigint NOT NULL,
    "position" text NOT NULL COLLATE pg_catalog."C",
    attempt integer NOT NULL,
    name text NOT NULL,
    output text,
    failure text,
    child bigint,
    started_at timestamp with time zone NOT NULL,
    completed_at timestamp with time zone NOT NULL
);

CREATE TABLE towpath.worker (
    id bigint NOT NULL,
    name text NOT NULL,
    pool text,
    pod_uid text,
    node text,
    version text DEFAULT ''::text NOT NULL,
    library text NOT NULL,
    code_hash text DEFAULT ''::text NOT NULL,
    queues text[] NOT NULL,
    names text[] NOT NULL,
    max_recoveries integer[] NOT NULL,
    slots integer NOT NULL,
    started_at timestamp with time zone NOT NULL,
    lease_until timestamp with time zone NOT NULL,
    draining boolean DEFAULT false NOT NULL,
    ended_at timestamp with time zone
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='500', autovacuum_vacuum_cost_delay='0');

COMMENT ON COLUMN towpath.worker.ended_at IS 'Set and removed with the row in one transaction, by whoever ends the lease; nobody else ever sees it.';

ALTER TABLE towpath.worker ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME towpath.worker_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE towpath.workflow (
    seq bigint NOT NULL,
    id text COLLATE pg_catalog."C",
    secret bigint NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    version text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    codec text NOT NULL,
    input text NOT NULL,
    parent bigint,
    created_at timestamp with time zone NOT NULL
);

COMMENT ON COLUMN towpath.workflow.id IS 'Only where the caller chose it; a generated id is wf-<seq>-<secret> and needs no index.';

ALTER TABLE towpath.workflow ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME towpath.workflow_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE ONLY towpath.gate
    ADD CONSTRAINT gate_pkey PRIMARY KEY (queue);

ALTER TABLE ONLY towpath.migration
    ADD CONSTRAINT migration_pkey PRIMARY KEY (number);

ALTER TABLE ONLY towpath.queue
    ADD CONSTRAINT queue_pkey PRIMARY KEY (name);

ALTER TABLE ONLY towpath.ready
    ADD CONSTRAINT ready_pkey PRIMARY KEY (queue, name, version, rank, line);

ALTER TABLE ONLY towpath.result
    ADD CONSTRAINT result_pkey PRIMARY KEY (seq);

ALTER TABLE ONLY towpath.running
    ADD CONSTRAINT running_pkey PRIMARY KEY (seq);

ALTER TABLE ONLY towpath.schema_version
    ADD CONSTRAINT schema_version_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY towpath.sleeper
    ADD CONSTRAINT sleeper_pkey PRIMARY KEY (queue, listener);

ALTER TABLE ONLY towpath.step
    ADD CONSTRAINT step_pkey PRIMARY KEY (seq, "position");

ALTER TABLE ONLY towpath.worker
    ADD CONSTRAINT worker_pkey PRIMARY KEY (id);

ALTER TABLE ONLY towpath.workflow
    ADD CONSTRAINT workflow_pkey PRIMARY KEY (seq);

CREATE INDEX running_place ON towpath.running USING btree (queue, worker);

CREATE UNIQUE INDEX workflow_chosen_id ON towpath.workflow USING btree (id) WHERE (id IS NOT NULL);

ALTER TABLE ONLY towpath.gate
    ADD CONSTRAINT gate_queue_fkey FOREIGN KEY (queue) REFERENCES towpath.queue(name) ON DELETE CASCADE;
