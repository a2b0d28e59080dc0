-- Version 2: durable waits, messages, events, streams, deadlines. Older workers go on beside it: every new
-- column may be null, and what they do not know they do not write.

ALTER TABLE {schema}.workflow ADD COLUMN timeout interval CHECK (timeout > interval '0');
ALTER TABLE {schema}.workflow ADD COLUMN forked_from bigint;
COMMENT ON COLUMN {schema}.workflow.timeout IS 'From its first start to its deadline.';
CREATE INDEX workflow_parent ON {schema}.workflow (parent) WHERE parent IS NOT NULL;

ALTER TABLE {schema}.running ADD COLUMN version text COLLATE "C";
ALTER TABLE {schema}.result ADD COLUMN version text COLLATE "C";
COMMENT ON COLUMN {schema}.running.worker IS 'Who runs it; 0 where it waits and nobody does: it keeps its place.';
COMMENT ON COLUMN {schema}.running.version IS 'The version that began it, where it was enqueued without one.';

CREATE TABLE {schema}.message (
    n bigint GENERATED ALWAYS AS IDENTITY,
    seq bigint NOT NULL,
    topic text COLLATE "C" NOT NULL DEFAULT '',
    sent_at timestamptz NOT NULL,
    codec text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (seq, topic, n)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE {schema}.message IS 'Messages that no recv of the workflow has consumed.';

CREATE TABLE {schema}.sent (
    seq bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    PRIMARY KEY (seq, key)
);
COMMENT ON TABLE {schema}.sent IS 'The idempotency keys of messages to a workflow, kept as long as it is.';

CREATE TABLE {schema}.event (
    n bigint GENERATED ALWAYS AS IDENTITY,
    seq bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    position text COLLATE "C" NOT NULL,
    set_at timestamptz NOT NULL,
    codec text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (seq, key, n)
);
COMMENT ON TABLE {schema}.event IS 'Every value that a workflow set; the last of a key is its value.';

CREATE TABLE {schema}.stream (
    n bigint GENERATED ALWAYS AS IDENTITY,
    seq bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    position text COLLATE "C" NOT NULL,
    written_at timestamptz NOT NULL,
    codec text NOT NULL,
    value text,
    PRIMARY KEY (seq, key, n)
);
COMMENT ON TABLE {schema}.stream IS 'What a workflow wrote to its streams; the last value of a closed one is null.';

CREATE TABLE {schema}.wait (
    seq bigint NOT NULL,
    position text COLLATE "C" NOT NULL,
    verb text NOT NULL,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('time', 'message', 'event', 'end', 'stream')),
    target bigint NOT NULL DEFAULT 0,
    topic text COLLATE "C" NOT NULL DEFAULT '',
    due timestamptz,
    asleep boolean NOT NULL DEFAULT false,
    queue text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    PRIMARY KEY (seq, position)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE {schema}.wait IS
    'What workflows wait for at this moment: a time, a message, an event of another, the end of another.';
COMMENT ON COLUMN {schema}.wait.seq IS 'The workflow that waits; 0 where a process outside does, until due.';
COMMENT ON COLUMN {schema}.wait.due IS 'When it ends without what it waits for; never, if null. Set once: a recovery waits for the remainder.';
COMMENT ON COLUMN {schema}.wait.asleep IS 'No worker has the workflow in memory: whoever finds the wait over says so in awake.';
CREATE INDEX wait_target ON {schema}.wait (target, kind, topic) WHERE target <> 0;
CREATE INDEX wait_due ON {schema}.wait (queue, due) WHERE asleep AND due IS NOT NULL;

CREATE TABLE {schema}.awake (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seq bigint NOT NULL,
    queue text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE {schema}.awake IS
    'A wait of the workflow may be over: if no worker has it in memory, the next claim takes it first.';
CREATE INDEX awake_line ON {schema}.awake (queue, name, version, n);

CREATE TABLE {schema}.deadline (
    seq bigint PRIMARY KEY,
    due timestamptz NOT NULL
);
COMMENT ON TABLE {schema}.deadline IS 'When a workflow is cancelled if it has not ended; any worker does it.';
CREATE INDEX deadline_due ON {schema}.deadline (due);

ALTER TABLE {schema}.queue ADD COLUMN release_while_waiting boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN {schema}.queue.release_while_waiting IS
    'A workflow that waits gives its place in the queue''s concurrency back; never that in its partition.';

CREATE OR REPLACE FUNCTION {schema}.room(q {schema}.queue, for_worker bigint, asked bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = {schema}, pg_catalog, pg_temp
AS $$
DECLARE
    places bigint := asked;
BEGIN
    IF q.concurrency_global IS NOT NULL THEN
        -- one count for each case: the index serves both, and neither walks through what sleeps in vain
        places := least(places, q.concurrency_global - CASE
            WHEN q.release_while_waiting
            THEN (SELECT count(*) FROM running r WHERE r.queue = q.name AND r.worker > 0)
            ELSE (SELECT count(*) FROM running r WHERE r.queue = q.name) END);
    END IF;
    IF q.concurrency_per_worker IS NOT NULL THEN
        places := least(places, q.concurrency_per_worker
            - (SELECT count(*) FROM running r WHERE r.queue = q.name AND r.worker = for_worker));
    END IF;
    IF q.limiter_limit IS NOT NULL THEN
        places := least(places, tokens(q.name, '', q.limiter_limit, q.limiter_period));
    END IF;
    RETURN greatest(places, 0);
END
$$;

CREATE FUNCTION {schema}.room_to_go_on(q {schema}.queue, for_worker bigint, asked bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = {schema}, pg_catalog, pg_temp
AS $$
DECLARE
    places bigint := asked;
BEGIN
    IF q.release_while_waiting AND q.concurrency_global IS NOT NULL THEN
        places := least(places, q.concurrency_global
            - (SELECT count(*) FROM running r WHERE r.queue = q.name AND r.worker > 0));
    END IF;
    IF q.concurrency_per_worker IS NOT NULL THEN
        places := least(places, q.concurrency_per_worker
            - (SELECT count(*) FROM running r WHERE r.queue = q.name AND r.worker = for_worker));
    END IF;
    RETURN greatest(places, 0);
END
$$;
COMMENT ON FUNCTION {schema}.room_to_go_on({schema}.queue, bigint, bigint) IS
    'How many workflows whose wait is over a worker may take: they have their place, unless the queue gives it back while they wait. Going on is no start.';
