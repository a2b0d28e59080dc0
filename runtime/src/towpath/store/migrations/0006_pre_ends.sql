-- Version 2: what puts workflows in line, cancels and resumes them, with waits, versions and deadlines.

CREATE FUNCTION {schema}.recoveries_after(r {schema}.running) RETURNS integer
LANGUAGE sql STABLE SET search_path = {schema}, pg_catalog, pg_temp
AS $$
SELECT CASE
    WHEN r.recoveries = 0 THEN 0
    WHEN EXISTS (SELECT FROM step s WHERE s.seq = r.seq AND s.attempt = r.attempt) THEN 0
    ELSE r.recoveries
END
$$;
COMMENT ON FUNCTION {schema}.recoveries_after({schema}.running) IS
    'How many recoveries a workflow has after an attempt that ends by itself: none once it has recorded a step.';

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
        RETURNING r.seq, r.attempt, coalesce(g.recoveries, recoveries_after(r)) AS recoveries, r.rank, r.line,
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
    IF status = 'PENDING' AND freed IS NOT TRUE THEN -- null where no row was deleted
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
