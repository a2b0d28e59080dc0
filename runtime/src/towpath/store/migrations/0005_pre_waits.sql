-- Version 2: telling those who wait, messages, events and streams.

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
    outcome text;
    used boolean := false;
    marked boolean := false;
BEGIN
    -- What others may hold, whoever deletes the workflow or has an open transaction of that key, is waited for
    -- before the place is held: a recovery waits for the place.
    PERFORM FROM workflow w WHERE w.seq = destination FOR KEY SHARE;
    IF FOUND AND idempotency_key IS NOT NULL THEN
        INSERT INTO sent (seq, key) VALUES (destination, idempotency_key) ON CONFLICT DO NOTHING;
        marked := FOUND;
        used := NOT FOUND;
    END IF;
    outcome := take_place(of_seq, of_attempt, of_position, 'towpath.send');
    IF outcome IS NOT NULL THEN
        DELETE FROM sent s WHERE marked AND s.seq = destination AND s.key = idempotency_key;
    ELSIF used THEN
        outcome := 'duplicate';
    ELSE
        outcome := deliver(destination, of_topic, of_codec, of_value, NULL, false);
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
            -- FOR SHARE, so that it is looked at as it is now: FOR KEY SHARE would find the attempt that has
            -- been put to sleep, and taken up by another, since this statement began
            SELECT r.seq FROM running r
            WHERE r.seq = n.seq AND r.attempt = n.attempt AND r.worker <> 0 AND NOT r.fenced FOR SHARE) AS r ON true
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
            IF NOT FOUND AND NOT EXISTS (SELECT FROM workflow w WHERE w.seq = g.target) THEN
                state := 'gone';
            END IF;
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
    'Which waits are over: come (a message is consumed, and recorded as the step), the status of what has ended, gone where that was deleted, over (its time has passed), stale; null and the seconds left where it goes on.';
