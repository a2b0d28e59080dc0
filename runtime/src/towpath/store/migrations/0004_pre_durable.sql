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

CREATE OR REPLACE FUNCTION {schema}.settings(q {schema}.queue) RETURNS jsonb
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
    'release_while_waiting', q.release_while_waiting,
    'polling_interval', extract(epoch FROM q.polling_interval)::float8)
$$;

CREATE OR REPLACE FUNCTION {schema}.room(q {schema}.queue, for_worker bigint, asked bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = {schema}, pg_catalog, pg_temp
AS $$
DECLARE
    places bigint := asked;
BEGIN
    IF q.concurrency_global IS NOT NULL THEN
        places := least(places, q.concurrency_global - (
            SELECT count(*) FROM running r
            WHERE r.queue = q.name AND (r.worker <> 0 OR NOT q.release_while_waiting)));
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
            - (SELECT count(*) FROM running r WHERE r.queue = q.name AND r.worker <> 0));
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

CREATE FUNCTION {schema}.tell(of_kind text, targets bigint[], of_topic text) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    woken_queue text;
BEGIN
    PERFORM pg_notify({waits}, of_kind || ',' || t.seq || ',' || of_topic)
    FROM unnest(targets) AS t (seq)
    WHERE EXISTS (SELECT FROM wait w WHERE w.target = t.seq AND w.target <> 0 AND w.kind = of_kind AND w.topic = of_topic AND NOT w.asleep);
    -- A wait that is just being put to sleep is locked by whoever does that, and counts as asleep: no
    -- wake-up falls between the two, and nobody waits for anybody.
    FOR woken_queue IN
        WITH seen AS MATERIALIZED (
            SELECT w.seq, w.position, w.queue, w.name, w.version FROM wait w
            WHERE w.target = ANY (targets) AND w.target <> 0 AND w.kind = of_kind AND w.topic = of_topic AND w.seq <> 0
        ), in_memory AS MATERIALIZED (
            SELECT w.seq, w.position FROM wait w
            WHERE w.target = ANY (targets) AND w.target <> 0 AND w.kind = of_kind AND w.topic = of_topic AND w.seq <> 0
              AND NOT w.asleep
            FOR SHARE SKIP LOCKED
        ), woken AS (
            INSERT INTO awake (seq, queue, name, version)
            SELECT DISTINCT s.seq, s.queue, s.name, s.version FROM seen s
            WHERE NOT EXISTS (SELECT FROM in_memory m WHERE m.seq = s.seq AND m.position = s.position)
            RETURNING queue
        )
        SELECT DISTINCT w.queue FROM woken w
    LOOP
        PERFORM pg_notify({channel}, woken_queue || ',awake');
    END LOOP;
END
$$;
COMMENT ON FUNCTION {schema}.tell(text, bigint[], text) IS
    'Tells those who wait that something has come. For transactions that end by themselves: it locks waits.';

CREATE FUNCTION {schema}.tell_for_older() RETURNS trigger
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM wait w WHERE w.seq = NEW.seq;
    PERFORM tell('end', ARRAY[NEW.seq], '');
    RETURN NULL;
END
$$;
CREATE TRIGGER tell_for_older AFTER INSERT ON {schema}.result
FOR EACH ROW WHEN (NEW.version IS NULL) EXECUTE FUNCTION {schema}.tell_for_older();
COMMENT ON COLUMN {schema}.result.version IS
    'The version that began it; empty where it had none, null where a library of version 1 wrote the end: it tells nobody.';

CREATE FUNCTION {schema}.tell_at_commit(of_kind text, target bigint, of_topic text) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO awake (seq, queue, name, version)
    SELECT w.seq, w.queue, w.name, coalesce(r.version, w.version)
    FROM workflow w LEFT JOIN running r ON r.seq = w.seq WHERE w.seq = target;
    PERFORM pg_notify({channel}, w.queue || ',awake') FROM workflow w WHERE w.seq = target;
    PERFORM pg_notify({waits}, of_kind || ',' || target || ',' || of_topic);
END
$$;
COMMENT ON FUNCTION {schema}.tell_at_commit(text, bigint, text) IS
    'As tell, in a caller''s own transaction, which may stay open: it locks nothing, and tells whoever may wait by then.';

CREATE FUNCTION {schema}.seq_of(workflow_id text) RETURNS bigint
LANGUAGE sql STABLE SET search_path = {schema}, pg_catalog, pg_temp
AS $$
SELECT CASE
    WHEN workflow_id ~ '^wf-[0-9]{{1,18}}-[0-9a-f]{{16}}$' THEN (
        SELECT w.seq FROM workflow w
        WHERE w.seq = split_part(workflow_id, '-', 2)::bigint AND w.id IS NULL AND id_of(w) = workflow_id)
    ELSE (SELECT w.seq FROM workflow w WHERE w.id = workflow_id)
END
$$;
COMMENT ON FUNCTION {schema}.seq_of(text) IS 'The row of a workflow by its id; null where there is none.';

CREATE FUNCTION {schema}.deliver(
    destination bigint, of_topic text, of_codec text, of_value text, idempotency_key text, at_commit boolean
) RETURNS text
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM workflow w WHERE w.seq = destination FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN 'gone';
    END IF;
    IF idempotency_key IS NOT NULL THEN
        INSERT INTO sent (seq, key) VALUES (destination, idempotency_key) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN 'duplicate';
        END IF;
    END IF;
    INSERT INTO message (seq, topic, sent_at, codec, value)
    VALUES (destination, of_topic, clock(), of_codec, of_value);
    IF at_commit THEN
        PERFORM tell_at_commit('message', destination, of_topic);
    ELSE
        PERFORM tell('message', ARRAY[destination], of_topic);
    END IF;
    RETURN 'sent';
END
$$;
COMMENT ON FUNCTION {schema}.deliver(bigint, text, text, text, text, boolean) IS
    'Puts a message before a workflow: sent, duplicate where the key was used before, gone where there is no workflow.';

CREATE FUNCTION {schema}.send(workflow_id text, message jsonb, topic text DEFAULT '', idempotency_key text DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
AS $$
BEGIN
    IF char_length(topic) > 255 OR char_length(idempotency_key) > 255 THEN
        RAISE EXCEPTION USING ERRCODE = 'TP003', MESSAGE = 'topic and idempotency_key have at most 255 characters.';
    END IF;
    IF coalesce(deliver(seq_of(workflow_id), coalesce(topic, ''), 'json', message::text, idempotency_key, true), 'gone') = 'gone' THEN
        RAISE EXCEPTION USING ERRCODE = 'TP006', MESSAGE = format('workflow ''%s'' was not found.', left(workflow_id, 255)),
            HINT = 'Try: towpath workflow list';
    END IF;
END
$$;
COMMENT ON FUNCTION {schema}.send(text, jsonb, text, text) IS
    'Sends a message to a workflow, from any language; it is there when the caller''s transaction commits.';

CREATE FUNCTION {schema}.take_place(of_seq bigint, of_attempt integer, of_position text, of_name text) RETURNS text
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    -- two branches of a workflow write one after the other, so that what they number is seen in order
    PERFORM FROM running r WHERE r.seq = of_seq AND r.attempt = of_attempt AND NOT r.fenced FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN 'stale';
    END IF;
    IF of_position IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO step (seq, position, attempt, name, output, started_at, completed_at)
    VALUES (of_seq, of_position, of_attempt, of_name, 'null', clock(), clock())
    ON CONFLICT (seq, position) DO NOTHING;
    RETURN CASE WHEN NOT FOUND THEN 'done' END;
END
$$;
COMMENT ON FUNCTION {schema}.take_place(bigint, integer, text, text) IS
    'Records what a workflow is about to do in this transaction: null, and it does it; stale; or done, since the answer was lost.';

CREATE FUNCTION {schema}.send_from_workflow(
    of_seq bigint, of_attempt integer, of_position text,
    destination bigint, of_topic text, of_codec text, of_value text, idempotency_key text
) RETURNS text
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
AS $$
DECLARE
    outcome text := take_place(of_seq, of_attempt, of_position, 'towpath.send');
BEGIN
    IF outcome IS NULL THEN
        outcome := deliver(destination, of_topic, of_codec, of_value, idempotency_key, false);
        IF outcome = 'gone' THEN
            DELETE FROM step s WHERE s.seq = of_seq AND s.position = of_position;
        END IF;
    END IF;
    RETURN outcome;
END
$$;

CREATE FUNCTION {schema}.set_event(
    of_seq bigint, of_attempt integer, of_position text, of_key text, of_codec text, of_value text
) RETURNS text
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
AS $$
DECLARE
    outcome text := take_place(of_seq, of_attempt, of_position, 'towpath.set_event');
BEGIN
    IF outcome IS NULL THEN
        INSERT INTO event (seq, key, position, set_at, codec, value)
        VALUES (of_seq, of_key, of_position, clock(), of_codec, of_value);
        PERFORM tell('event', ARRAY[of_seq], of_key);
    END IF;
    RETURN outcome;
END
$$;

CREATE FUNCTION {schema}.write_stream(
    of_seq bigint, of_attempt integer, of_position text, of_key text, of_codec text, of_value text
) RETURNS text
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
AS $$
DECLARE
    outcome text := take_place(of_seq, of_attempt, of_position,
        CASE WHEN of_value IS NULL THEN 'towpath.close_stream' ELSE 'towpath.write_stream' END);
BEGIN
    IF outcome IS NULL THEN
        IF EXISTS (SELECT FROM stream s WHERE s.seq = of_seq AND s.key = of_key AND s.value IS NULL) THEN
            DELETE FROM step s WHERE s.seq = of_seq AND s.position = of_position;
            RETURN 'closed';
        END IF;
        INSERT INTO stream (seq, key, position, written_at, codec, value)
        VALUES (of_seq, of_key, coalesce(of_position, ''), clock(), of_codec, of_value);
        PERFORM tell('stream', ARRAY[of_seq], of_key);
    END IF;
    RETURN outcome;
END
$$;
COMMENT ON FUNCTION {schema}.write_stream(bigint, integer, text, text, text, text) IS
    'Writes a value, or closes the stream where it is null; without a position it is written by a step, at least once.';

CREATE FUNCTION {schema}.settle(
    seqs bigint[], attempts integer[], positions text[], verbs text[], kinds text[], targets bigint[], topics text[]
) RETURNS TABLE (of_seq bigint, of_position text, state text, output text, seconds float8)
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    g record;
    begun wait%ROWTYPE;
BEGIN
    FOR g IN
        SELECT n.*, r.seq IS NOT NULL AS held
        FROM unnest(seqs, attempts, positions, verbs, kinds, targets, topics)
            AS n (seq, attempt, position, verb, kind, target, topic)
        LEFT JOIN LATERAL (
            SELECT r.seq FROM running r
            WHERE r.seq = n.seq AND r.attempt = n.attempt AND NOT r.fenced FOR KEY SHARE) AS r ON true
    LOOP
        of_seq := g.seq;
        of_position := g.position;
        output := NULL;
        seconds := NULL;
        state := NULL;
        SELECT * INTO begun FROM wait w WHERE g.seq <> 0 AND w.seq = g.seq AND w.position = g.position;
        IF g.seq <> 0 AND NOT g.held THEN
            state := 'stale';
        ELSIF begun.verb <> g.verb THEN
            state := NULL; -- other code began something else here: begin_waits tells
        ELSIF g.kind = 'message' AND EXISTS (SELECT FROM step s WHERE s.seq = g.seq AND s.position = g.position) THEN
            -- consumed already: the answer was lost with the connection, and the look is made again
            SELECT 'come', s.output INTO state, output FROM step s WHERE s.seq = g.seq AND s.position = g.position;
        ELSIF g.kind = 'message' THEN
            DELETE FROM message WHERE ctid = ANY (ARRAY(
                SELECT m.ctid FROM message m
                WHERE m.seq = g.seq AND m.topic = g.topic ORDER BY m.n LIMIT 1 FOR UPDATE SKIP LOCKED))
            RETURNING value INTO output;
            IF FOUND THEN
                state := 'come';
                INSERT INTO step (seq, position, attempt, name, output, started_at, completed_at)
                VALUES (g.seq, g.position, g.attempt, g.verb, output, clock(), clock());
                DELETE FROM wait w WHERE w.seq = g.seq AND w.position = g.position;
            END IF;
        ELSIF g.kind = 'event' THEN
            SELECT 'come', e.value INTO state, output FROM event e
            WHERE e.seq = g.target AND e.key = g.topic ORDER BY e.n DESC LIMIT 1;
        ELSIF g.kind = 'end' THEN
            SELECT r.status, r.output INTO state, output FROM result r WHERE r.seq = g.target;
        END IF;
        IF state IS NULL AND begun.verb = g.verb THEN
            state := CASE WHEN begun.due <= clock() THEN 'over' END;
            seconds := extract(epoch FROM begun.due - clock());
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION {schema}.settle(bigint[], integer[], text[], text[], text[], bigint[], text[]) IS
    'Which waits are over: come (a message is consumed, and recorded as the step), the status of what has ended, over (its time has passed), stale; null and the seconds left where it goes on.';

CREATE OR REPLACE FUNCTION {schema}.line_up(given bigint[], of_attempts integer[], new_recoveries integer[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    returned bigint;
    called text[];
BEGIN
    WITH back AS (
        DELETE FROM running r USING unnest(given, of_attempts, new_recoveries) AS g (seq, attempt, recoveries)
        WHERE r.seq = g.seq AND r.attempt = g.attempt
        RETURNING r.seq, r.attempt, coalesce(g.recoveries, r.recoveries) AS recoveries, r.rank, r.line,
            r.fenced, r.resumed_line, r.queue, r.key, r.deduplication_id, r.started_at, r.version
    ), lined_up AS (
        INSERT INTO ready (seq, rank, line, attempt, recoveries, queue, name, version, key, deduplication_id)
        SELECT b.seq,
            CASE
                WHEN b.fenced THEN fresh_rank(b.rank)
                WHEN b.key IS NOT NULL THEN fresh_rank(b.rank) - 4294967296
                ELSE b.rank
            END,
            CASE WHEN b.fenced THEN b.resumed_line ELSE b.line END,
            b.attempt,
            CASE WHEN b.fenced THEN 0 ELSE b.recoveries END,
            b.queue, w.name, coalesce(b.version, w.version), b.key, CASE WHEN NOT b.fenced THEN b.deduplication_id END
        FROM back b JOIN workflow w ON w.seq = b.seq
        WHERE NOT b.fenced OR b.resumed_line IS NOT NULL
    ), woken AS (
        INSERT INTO wake (turn, queue, key)
        SELECT b.started_at, b.queue, b.key FROM back b WHERE b.key IS NOT NULL
    )
    SELECT count(*) FILTER (WHERE NOT b.fenced), array_agg(DISTINCT b.queue)
    INTO returned, called FROM back b;
    PERFORM pg_notify({channel}, c.queue) FROM unnest(called) AS c (queue);
    RETURN returned;
END
$$;

CREATE FUNCTION {schema}.withdraw(target bigint, reason text) RETURNS text
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    status text;
    of_queue text;
    of_key text;
    of_version text;
    held_id text;
    last_attempt integer;
    freed boolean := false;
BEGIN
    -- the row moves on while this looks: it is looked for where it goes, and again from the start
    FOR round IN 1..1000 LOOP
        status := 'DELAYED';
        DELETE FROM parked p WHERE p.seq = target
        RETURNING p.queue, p.key, p.deduplication_id, 0 INTO of_queue, of_key, held_id, last_attempt;
        EXIT WHEN FOUND;
        status := 'ENQUEUED';
        DELETE FROM ready r WHERE r.seq = target
        RETURNING r.queue, r.key, r.deduplication_id, r.attempt, nullif(r.version, '')
        INTO of_queue, of_key, held_id, last_attempt, of_version;
        EXIT WHEN FOUND;
        UPDATE running r SET resumed_line = NULL WHERE r.seq = target AND r.fenced AND r.resumed_line IS NOT NULL
        RETURNING r.queue, NULL, NULL, r.attempt, r.version
        INTO of_queue, of_key, held_id, last_attempt, of_version;
        EXIT WHEN FOUND;
        status := 'PENDING';
        -- nobody runs it: its place is free at once
        DELETE FROM running r WHERE r.seq = target AND r.worker = 0
        RETURNING r.queue, r.key, r.deduplication_id, r.attempt, r.version, true
        INTO of_queue, of_key, held_id, last_attempt, of_version, freed;
        EXIT WHEN FOUND;
        UPDATE running r SET fenced = true WHERE r.seq = target AND NOT r.fenced
        RETURNING r.queue, NULL, r.deduplication_id, r.attempt, r.version
        INTO of_queue, of_key, held_id, last_attempt, of_version;
        EXIT WHEN FOUND;
        status := NULL;
        IF EXISTS (SELECT FROM result r WHERE r.seq = target)
            OR NOT EXISTS (SELECT FROM workflow w WHERE w.seq = target) THEN
            RETURN NULL;
        END IF;
    END LOOP;
    IF status IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO result (seq, status, attempt, completed_at, output, version)
    VALUES (target, 'CANCELLED', last_attempt, clock(), to_json(reason)::text, coalesce(of_version, ''));
    DELETE FROM wait w WHERE w.seq = withdraw.target; -- a wait has a column of that name
    IF held_id IS NOT NULL THEN
        DELETE FROM deduplication d WHERE d.queue = of_queue AND d.id = held_id AND d.seq = target;
    END IF;
    IF of_key IS NOT NULL THEN
        INSERT INTO wake (turn, queue, key) VALUES (clock(), of_queue, of_key);
    END IF;
    IF of_key IS NOT NULL OR freed THEN
        PERFORM pg_notify({channel}, of_queue);
    END IF;
    IF status = 'PENDING' AND NOT freed THEN
        PERFORM pg_notify({channel}, of_queue || ',cancelled');
    END IF;
    PERFORM tell('end', ARRAY[target], '');
    RETURN status;
END
$$;
COMMENT ON FUNCTION {schema}.withdraw(bigint, text) IS
    'Cancels a workflow that has not ended, for a reason or none, and returns the status that it had; null where it has ended. Running code keeps its place until it ends, and can write nothing.';

CREATE OR REPLACE FUNCTION {schema}.withdraw(target bigint) RETURNS text
LANGUAGE sql SET search_path = {schema}, pg_catalog, pg_temp
AS 'SELECT withdraw(target, NULL)';

CREATE FUNCTION {schema}.expire(at_most integer, OUT looked_at bigint, OUT cancelled bigint)
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    over_due bigint[];
BEGIN
    WITH gone AS (
        DELETE FROM deadline WHERE ctid = ANY (ARRAY(
            SELECT d.ctid FROM deadline d WHERE d.due <= (SELECT clock())
            ORDER BY d.due LIMIT at_most FOR UPDATE SKIP LOCKED))
        RETURNING seq
    )
    SELECT count(*), array_agg(g.seq ORDER BY g.seq) INTO looked_at, over_due FROM gone g;
    SELECT count(withdraw(o.seq, 'its deadline has passed')) INTO cancelled FROM unnest(over_due) AS o (seq);
END
$$;
COMMENT ON FUNCTION {schema}.expire(integer) IS
    'Cancels workflows whose deadline has passed: how many deadlines that were, and how many of the workflows had not ended.';

CREATE OR REPLACE FUNCTION {schema}.resume(target bigint) RETURNS text
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    last_attempt integer;
    last_version text;
    place bigint;
    w workflow%ROWTYPE;
BEGIN
    SELECT * INTO w FROM workflow WHERE seq = target FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN 'gone';
    END IF;
    DELETE FROM result r
    WHERE r.seq = target AND r.status IN ('CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')
    RETURNING r.attempt, coalesce(nullif(r.version, ''), w.version) INTO last_attempt, last_version;
    IF NOT FOUND THEN
        RETURN status_of(target);
    END IF;
    DELETE FROM deadline d WHERE d.seq = target;
    place := nextval('workflow_seq');
    UPDATE running r SET resumed_line = place WHERE r.seq = target;
    IF NOT FOUND THEN
        INSERT INTO ready (seq, rank, line, attempt, queue, name, version, key)
        VALUES (target, -coalesce(w.priority, 0), place, last_attempt, w.queue, w.name, last_version, w.key);
        IF w.key IS NOT NULL THEN
            INSERT INTO wake (rank, turn, queue, key) VALUES (-coalesce(w.priority, 0), clock(), w.queue, w.key);
        END IF;
        PERFORM pg_notify({channel}, w.queue);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION {schema}.enqueue_timed(
    new_queue text, new_name text, new_codec text, new_version text,
    inputs text[], secrets bigint[], ids text[], priorities bigint[], keys text[], deduplication_ids text[],
    delays float8[], dues timestamptz[], refuse_duplicates boolean[],
    parent_seq bigint, parent_attempt integer, parent_position text, parent_many boolean,
    always_notify boolean, timeouts float8[]
) RETURNS TABLE (item integer, outcome text, found bigint, workflow_id text, detail text[])
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
AS $$
DECLARE
    e record; -- the column found cannot be a variable: that name is plpgsql's own
BEGIN
    FOR e IN
        SELECT t.* FROM enqueue_items(new_queue, new_name, new_codec, new_version, inputs, secrets, ids, priorities,
            keys, deduplication_ids, delays, dues, refuse_duplicates, parent_seq, parent_attempt, parent_position,
            parent_many, always_notify) AS t
    LOOP
        IF e.outcome = 'created' AND timeouts[e.item] > 0 THEN
            UPDATE workflow w SET timeout = make_interval(secs => timeouts[e.item]) WHERE w.seq = e.found;
        ELSIF e.outcome = 'created' AND timeouts[e.item] IS NULL AND parent_seq IS NOT NULL THEN
            INSERT INTO deadline (seq, due) SELECT e.found, d.due FROM deadline d WHERE d.seq = parent_seq;
        END IF;
        RETURN QUERY SELECT e.item, e.outcome, e.found, e.workflow_id, e.detail;
    END LOOP;
END
$$;
COMMENT ON FUNCTION {schema}.enqueue_timed IS
    'As enqueue_items, with timeouts (seconds from the first start); a child without one has its parent''s deadline, with 0 it has none.';

DROP FUNCTION {schema}.enqueue(text, text, jsonb, jsonb, text, bigint, text, text, text, float8, timestamptz, text);

CREATE FUNCTION {schema}.enqueue(
    queue text, workflow text, args jsonb DEFAULT '[]', kwargs jsonb DEFAULT jsonb_build_object(),
    workflow_id text DEFAULT NULL, priority bigint DEFAULT NULL, deduplication_id text DEFAULT NULL,
    on_duplicate text DEFAULT 'raise', queue_partition_key text DEFAULT NULL,
    delay_seconds float8 DEFAULT NULL, start_at timestamptz DEFAULT NULL, app_version text DEFAULT '',
    timeout_seconds float8 DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
AS $$
DECLARE
    done record;
    secret bigint := ('x' || right(replace(gen_random_uuid()::text, '-', ''), 16))::bit(64)::bigint;
BEGIN
    IF jsonb_typeof(args) IS DISTINCT FROM 'array' OR jsonb_typeof(kwargs) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION USING ERRCODE = 'TP003', MESSAGE = 'args must be a JSON array and kwargs a JSON object.';
    END IF;
    IF on_duplicate IS NULL OR on_duplicate NOT IN ('raise', 'return') THEN
        RAISE EXCEPTION USING ERRCODE = 'TP003', MESSAGE = format(
            'queue ''%s'': on_duplicate is ''%s''; allowed is ''raise'' or ''return''.', queue, on_duplicate);
    END IF;
    IF char_length(workflow_id) NOT BETWEEN 1 AND 255 OR workflow_id ~ '^wf-[0-9]+-' THEN
        RAISE EXCEPTION USING ERRCODE = 'TP003', MESSAGE = format(
            '''%s'' cannot be a workflow id: it has 1 to 255 characters and does not begin with wf-<number>-.',
            left(workflow_id, 40));
    END IF;
    IF NOT (timeout_seconds > 0 AND timeout_seconds <= 3155760000) THEN
        RAISE EXCEPTION USING ERRCODE = 'TP003', MESSAGE = format(
            'queue ''%s'': timeout_seconds is %s; allowed is a number of seconds above 0, up to 3155760000 (100 years).',
            queue, timeout_seconds);
    END IF;
    SELECT * INTO done FROM enqueue_timed(
        queue, workflow, 'json', coalesce(app_version, ''),
        ARRAY[json_build_object('args', args, 'kwargs', kwargs)::text], ARRAY[secret], ARRAY[workflow_id],
        ARRAY[priority], ARRAY[queue_partition_key], ARRAY[deduplication_id], ARRAY[delay_seconds],
        ARRAY[start_at], ARRAY[on_duplicate = 'raise'], NULL, NULL, NULL, false, true, ARRAY[timeout_seconds]);
    CASE done.outcome
        WHEN 'created' THEN
            RETURN coalesce(workflow_id, 'wf-' || done.found || '-' || lpad(to_hex(secret), 16, '0'));
        WHEN 'exists' THEN
            RETURN done.workflow_id;
        WHEN 'unknown queue' THEN
            RAISE EXCEPTION USING ERRCODE = 'TP001',
                MESSAGE = format('queue ''%s'' was not found.', queue),
                HINT = CASE WHEN cardinality(done.detail) > 0
                    THEN format('Did you mean ''%s''?', array_to_string(done.detail, ''' or ''')) ELSE '' END;
        WHEN 'closed' THEN
            RAISE EXCEPTION USING ERRCODE = 'TP002',
                MESSAGE = format('queue ''%s'' is closed: it takes no new workflows.', queue),
                HINT = format('Try: towpath queue open %s', queue);
        WHEN 'refused' THEN
            RAISE EXCEPTION USING ERRCODE = 'TP003', MESSAGE = format(
                'queue ''%s'': %s is %s; allowed is %s.',
                queue, done.detail[1], coalesce(done.detail[2], 'None'), done.detail[3]);
        WHEN 'id conflict' THEN
            RAISE EXCEPTION USING ERRCODE = 'TP005', MESSAGE = format(
                'workflow id ''%s'' is in use by workflow ''%s'' on queue ''%s''; asked was ''%s'' on ''%s''. Choose another id.',
                workflow_id, done.detail[1], done.detail[2], workflow, queue);
        WHEN 'deduplicated' THEN
            IF on_duplicate = 'return' THEN
                RETURN done.workflow_id;
            END IF;
            RAISE EXCEPTION USING ERRCODE = 'TP004', MESSAGE = format(
                'deduplication id ''%s'' on queue ''%s'' is held by workflow ''%s''.',
                deduplication_id, queue, done.workflow_id);
    END CASE;
END
$$;
COMMENT ON FUNCTION {schema}.enqueue IS
    'Enqueue from any language: returns the workflow''s id.';
