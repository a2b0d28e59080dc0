-- What the migrations make, for reading. Written by `python -m towpath.store.dump`; do not edit.
SET check_function_bodies = false;

CREATE SCHEMA towpath;

CREATE FUNCTION towpath.bounce(new_queue text, new_name text, new_codec text, new_version text, new_input text, new_secret bigint, new_priority bigint, new_key text, bounce_key text, delay double precision, at_most double precision, parent_seq bigint, parent_attempt integer, parent_position text, new_timeout double precision) RETURNS TABLE(item integer, outcome text, found bigint, workflow_id text, detail text[])
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    q queue%ROWTYPE;
    d debounce%ROWTYPE;
    w workflow%ROWTYPE;
    done record;
    last_call timestamptz;
BEGIN
    IF parent_seq IS NOT NULL THEN
        PERFORM FROM running r
        WHERE r.seq = parent_seq AND r.attempt = parent_attempt AND NOT r.fenced FOR KEY SHARE;
        IF NOT FOUND OR EXISTS (
            SELECT FROM step s WHERE s.seq = parent_seq AND s.position = parent_position) THEN
            RETURN QUERY SELECT 1, 'stale', NULL::bigint, NULL::text, NULL::text[];
            RETURN;
        END IF;
    END IF;
    -- calls of one key pass one after the other
    LOOP
        INSERT INTO debounce (queue, name, key, seq, latest) VALUES (new_queue, new_name, bounce_key, 0, clock())
        ON CONFLICT (queue, name, key) DO NOTHING;
        SELECT * INTO d FROM debounce o WHERE o.queue = new_queue AND o.name = new_name AND o.key = bounce_key FOR UPDATE;
        EXIT WHEN FOUND;
    END LOOP;

    -- the workflow before its place, as whoever deletes it; its place waits for a claim that takes it
    SELECT * INTO w FROM workflow o WHERE o.seq = d.seq FOR NO KEY UPDATE;
    IF FOUND THEN
        PERFORM FROM parked p WHERE p.seq = d.seq FOR UPDATE;
    END IF;
    IF FOUND THEN
        SELECT * INTO q FROM queue o WHERE o.name = new_queue;
        detail := refusal(q, new_priority, new_key, NULL, delay, NULL);
        IF q.closed OR detail IS NOT NULL THEN
            RETURN QUERY SELECT 1, CASE WHEN q.closed THEN 'closed' ELSE 'refused' END, NULL::bigint, NULL::text, detail;
            RETURN;
        END IF;
        UPDATE workflow o
        SET input = new_input, codec = new_codec, version = new_version, priority = new_priority, key = new_key,
            timeout = make_interval(secs => nullif(new_timeout, 0))
        WHERE o.seq = d.seq;
        UPDATE parked p
        SET due = least(clock() + make_interval(secs => delay), d.latest), rank = -coalesce(new_priority, 0), key = new_key
        WHERE p.seq = d.seq;
        IF EXISTS (SELECT FROM sleeper s WHERE s.queue = new_queue) THEN
            PERFORM pg_notify('towpath.towpath', new_queue || ',due'); -- a shorter delay may have come
        END IF;
        IF parent_seq IS NOT NULL THEN
            INSERT INTO step (seq, position, attempt, name, output, child, started_at, completed_at)
            VALUES (parent_seq, parent_position, parent_attempt, new_name, to_json(id_of(w))::text, w.seq, clock(), clock());
        END IF;
        RETURN QUERY SELECT 1, 'exists', w.seq, id_of(w), NULL::text[];
        RETURN;
    END IF;

    last_call := clock() + make_interval(secs => at_most);
    SELECT e.* INTO done FROM enqueue_timed(
        new_queue => new_queue, new_name => new_name, new_codec => new_codec, new_version => new_version,
        inputs => ARRAY[new_input], secrets => ARRAY[new_secret], ids => NULL,
        priorities => CASE WHEN new_priority IS NOT NULL THEN ARRAY[new_priority] END,
        keys => CASE WHEN new_key IS NOT NULL THEN ARRAY[new_key] END,
        deduplication_ids => NULL, delays => NULL,
        dues => ARRAY[least(clock() + make_interval(secs => delay), last_call)], refuse_duplicates => ARRAY[true],
        parent_seq => parent_seq, parent_attempt => parent_attempt, parent_position => parent_position,
        parent_many => false, always_notify => false, timeouts => ARRAY[new_timeout]) AS e;
    IF done.outcome = 'created' THEN
        UPDATE debounce o SET seq = done.found, latest = last_call
        WHERE o.queue = new_queue AND o.name = new_name AND o.key = bounce_key;
        -- what is of no use any more goes a few at a time, last: whoever holds another's row waits for nobody
        DELETE FROM debounce WHERE ctid = ANY (ARRAY(
            SELECT o.ctid FROM (
                SELECT s.ctid, s.seq FROM debounce s WHERE s.latest < (SELECT clock())
                ORDER BY s.latest LIMIT 10 FOR UPDATE SKIP LOCKED) AS o
            WHERE NOT EXISTS (SELECT FROM parked p WHERE p.seq = o.seq)));
    ELSE
        DELETE FROM debounce o WHERE o.queue = new_queue AND o.name = new_name AND o.key = bounce_key AND o.seq = 0;
    END IF;
    RETURN QUERY SELECT done.item, done.outcome, done.found, done.workflow_id, done.detail;
END
$$;

COMMENT ON FUNCTION towpath.bounce(new_queue text, new_name text, new_codec text, new_version text, new_input text, new_secret bigint, new_priority bigint, new_key text, bounce_key text, delay double precision, at_most double precision, parent_seq bigint, parent_attempt integer, parent_position text, new_timeout double precision) IS 'One DELAYED workflow a key: a call replaces the input of the one that is there and puts its start off, no later than at_most seconds after the first; where none is, it makes one.';

CREATE FUNCTION towpath.cancel(targets bigint[]) RETURNS TABLE(target bigint, was text)
    LANGUAGE sql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
SELECT t.seq, withdraw(t.seq) FROM (SELECT DISTINCT g.seq FROM unnest(targets) AS g (seq) ORDER BY g.seq) AS t
$$;

COMMENT ON FUNCTION towpath.cancel(targets bigint[]) IS 'Cancels workflows in the order of their seq, so that no two calls deadlock.';

CREATE FUNCTION towpath.cancel_with_children(target bigint) RETURNS TABLE(seq bigint, was text)
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    looked_at bigint[] := ARRAY[]::bigint[];
    following bigint[] := ARRAY[target];
BEGIN
    WHILE cardinality(following) > 0 LOOP
        FOREACH seq IN ARRAY following LOOP
            PERFORM hold(seq);
            was := withdraw(seq);
            RETURN NEXT;
        END LOOP;
        IF was IS NULL AND looked_at = ARRAY[]::bigint[] AND status_of(target) IN ('SUCCESS', 'ERROR') THEN
            RETURN;
        END IF;
        looked_at := looked_at || following;
        -- a child's seq is above its parent's
        following := ARRAY(
            WITH RECURSIVE tree AS (
                SELECT target AS seq
                UNION
                SELECT w.seq FROM tree t JOIN workflow w ON w.parent = t.seq)
            SELECT t.seq FROM tree t EXCEPT SELECT l.seq FROM unnest(looked_at) AS l (seq) ORDER BY 1);
    END LOOP;
END
$$;

COMMENT ON FUNCTION towpath.cancel_with_children(target bigint) IS 'Cancels a workflow and all that it has started, and they have, in the order of their seqs; the status that each had, null where it had ended. Nothing where the workflow itself has succeeded or failed.';

CREATE FUNCTION towpath.clock() RETURNS timestamp with time zone
    LANGUAGE sql PARALLEL SAFE
    AS $$SELECT clock_timestamp()$$;

COMMENT ON FUNCTION towpath.clock() IS 'The time of everything but leases; a test''s database may replace it.';

CREATE FUNCTION towpath.delete_kept_long_enough(at_most integer) RETURNS TABLE(looked_at bigint, deleted bigint)
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    r retention%ROWTYPE;
    now CONSTANT timestamptz := clock();
    shortest interval;
    frontier bigint;
    over bigint[];
    last bigint;
BEGIN
    looked_at := 0;
    deleted := 0;
    SELECT * INTO r FROM retention WHERE next_round <= now FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        SELECT least(r.succeeded, r.failed, min(least(q.retention_succeeded, q.retention_failed)))
        INTO shortest FROM queue q;
    END IF;
    IF shortest IS NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;
    -- what was enqueued later than that cannot have ended before
    frontier := seq_at(now - shortest + interval '5 minutes');
    SELECT count(*), max(c.seq), array_agg(c.seq ORDER BY c.seq) FILTER (WHERE c.completed_at < now - CASE
        WHEN c.status = 'SUCCESS' THEN coalesce(q.retention_succeeded, r.succeeded)
        ELSE coalesce(q.retention_failed, r.failed) END)
    INTO looked_at, last, over
    FROM (
        SELECT e.seq, e.status, e.completed_at FROM result e
        WHERE e.seq > r.looked_until AND e.seq < frontier
        ORDER BY e.seq LIMIT at_most
    ) AS c
    LEFT JOIN workflow w ON w.seq = c.seq LEFT JOIN queue q ON q.name = w.queue;
    -- the locks keep a resume, a retry and a delete off; who was faster than they is passed over
    over := ARRAY(
        SELECT w.seq FROM workflow w
        WHERE w.seq = ANY (over)
          AND (w.parent IS NULL OR NOT EXISTS (SELECT FROM workflow p WHERE p.seq = w.parent)
              OR EXISTS (SELECT FROM result e WHERE e.seq = w.parent))
        ORDER BY w.seq FOR UPDATE OF w SKIP LOCKED);
    over := ARRAY(SELECT e.seq FROM result e WHERE e.seq = ANY (over) AND e.completed_at < now - shortest);
    PERFORM erase(over);
    deleted := cardinality(over);
    UPDATE retention SET round_began = coalesce(r.round_began, now), looked_until = coalesce(last, r.looked_until);
    IF looked_at < at_most THEN
        -- looking takes a twentieth of the time at most, however much is kept
        UPDATE retention
        SET round_began = NULL, looked_until = 0,
            next_round = now + greatest(interval '30 seconds', 20 * (now - coalesce(r.round_began, now)));
    END IF;
    RETURN NEXT;
END
$$;

COMMENT ON FUNCTION towpath.delete_kept_long_enough(at_most integer) IS 'Looks at so many ended workflows, oldest first, and deletes those whose retention is over, unless a parent that has not ended may still ask for them. One caller at a time; the others, and everybody between two rounds, look at none.';

CREATE FUNCTION towpath.deliver(destination bigint, of_topic text, of_codec text, of_value text, idempotency_key text, at_commit boolean) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION towpath.deliver(destination bigint, of_topic text, of_codec text, of_value text, idempotency_key text, at_commit boolean) IS 'Puts a message before a workflow: sent, duplicate where the key was used before, gone where there is no workflow.';

CREATE FUNCTION towpath.enqueue(queue text, workflow text, args jsonb DEFAULT '[]'::jsonb, kwargs jsonb DEFAULT jsonb_build_object(), workflow_id text DEFAULT NULL::text, priority bigint DEFAULT NULL::bigint, deduplication_id text DEFAULT NULL::text, on_duplicate text DEFAULT 'raise'::text, queue_partition_key text DEFAULT NULL::text, delay_seconds double precision DEFAULT NULL::double precision, start_at timestamp with time zone DEFAULT NULL::timestamp with time zone, app_version text DEFAULT ''::text, timeout_seconds double precision DEFAULT NULL::double precision) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION towpath.enqueue(queue text, workflow text, args jsonb, kwargs jsonb, workflow_id text, priority bigint, deduplication_id text, on_duplicate text, queue_partition_key text, delay_seconds double precision, start_at timestamp with time zone, app_version text, timeout_seconds double precision) IS 'Enqueue from any language: returns the workflow''s id.';

CREATE FUNCTION towpath.enqueue_items(new_queue text, new_name text, new_codec text, new_version text, inputs text[], secrets bigint[], ids text[], priorities bigint[], keys text[], deduplication_ids text[], delays double precision[], dues timestamp with time zone[], refuse_duplicates boolean[], parent_seq bigint, parent_attempt integer, parent_position text, parent_many boolean, always_notify boolean) RETURNS TABLE(item integer, outcome text, found bigint, workflow_id text, detail text[])
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    q queue%ROWTYPE;
    seqs bigint[];
    held_by bigint[];
    held_before deduplication[];
    unsure boolean;
    lined_count bigint;
    delayed_count bigint := 0;
    optional boolean := coalesce(priorities::text[], keys, deduplication_ids, delays::text[], dues::text[]) IS NOT NULL;
BEGIN
    SELECT * INTO q FROM queue WHERE name = new_queue;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 1, 'unknown queue', NULL::bigint, NULL::text, nearest_queues(new_queue);
        RETURN;
    END IF;
    IF q.closed THEN
        RETURN QUERY SELECT 1, 'closed', NULL::bigint, NULL::text, NULL::text[];
        RETURN;
    END IF;
    IF q.partitioning_enabled OR optional THEN
        RETURN QUERY
            SELECT n.item::integer, 'refused', NULL::bigint, NULL::text, n.why
            FROM (
                SELECT i.item, refusal(q, i.priority, i.key, i.deduplication_id, i.delay, i.due) AS why
                FROM unnest(inputs, priorities, keys, deduplication_ids, delays, dues)
                    WITH ORDINALITY AS i (input, priority, key, deduplication_id, delay, due, item)
            ) AS n
            WHERE n.why IS NOT NULL
            LIMIT 1;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    IF parent_seq IS NOT NULL THEN
        PERFORM FROM running r
        WHERE r.seq = parent_seq AND r.attempt = parent_attempt AND NOT r.fenced FOR KEY SHARE;
        IF NOT FOUND OR EXISTS (
            SELECT FROM step s WHERE s.seq = parent_seq AND s.position = parent_position) THEN
            RETURN QUERY SELECT 1, 'stale', NULL::bigint, NULL::text, NULL::text[];
            RETURN;
        END IF;
    END IF;

    seqs := ARRAY(SELECT nextval('workflow_seq') FROM generate_series(1, cardinality(inputs)));
    IF NOT optional AND ids IS NULL AND parent_seq IS NULL AND NOT q.partitioning_enabled THEN
        -- nothing can be a duplicate: the common way of bulk loads, in half the time
        WITH written AS (
            INSERT INTO workflow (seq, secret, created_at, queue, name, version, codec, input)
            OVERRIDING SYSTEM VALUE
            SELECT n.seq, n.secret, clock(), q.name, new_name, new_version, new_codec, n.input
            FROM unnest(seqs, secrets, inputs) AS n (seq, secret, input)
            RETURNING seq, queue, name, version
        )
        INSERT INTO ready (seq, rank, line, queue, name, version)
        SELECT w.seq, 0, w.seq, w.queue, w.name, w.version FROM written w;
        IF always_notify OR EXISTS (SELECT FROM sleeper s WHERE s.queue = q.name) THEN
            PERFORM pg_notify('towpath.towpath', q.name);
        END IF;
        RETURN QUERY
            SELECT n.item::integer, 'created', n.seq, NULL::text, NULL::text[]
            FROM unnest(seqs) WITH ORDINALITY AS n (seq, item);
        RETURN;
    END IF;
    -- in the order of ids, so that two calls that name the same ids cannot wait for each other
    INSERT INTO workflow (seq, secret, created_at, parent, priority, id, queue, name, version, key,
        deduplication_id, codec, input)
    OVERRIDING SYSTEM VALUE
    SELECT n.seq, n.secret, clock(), parent_seq, n.priority, n.id, q.name, new_name, new_version, n.key,
        n.deduplication_id, new_codec, n.input
    FROM unnest(seqs, secrets, ids, priorities, keys, deduplication_ids, inputs)
        AS n (seq, secret, id, priority, key, deduplication_id, input)
    ORDER BY n.id, n.seq
    ON CONFLICT (id) WHERE id IS NOT NULL DO NOTHING;
    IF ids IS NOT NULL THEN
        RETURN QUERY
            SELECT n.item::integer, 'id conflict', w.seq, w.id, ARRAY[w.name, w.queue]
            FROM unnest(ids) WITH ORDINALITY AS n (id, item) JOIN workflow w ON w.id = n.id
            WHERE (w.name, w.queue) <> (new_name, q.name)
            ORDER BY n.item LIMIT 1;
        IF FOUND THEN
            DELETE FROM workflow w WHERE w.seq = ANY (seqs);
            RETURN;
        END IF;
    END IF;

    IF deduplication_ids IS NOT NULL THEN
        -- A holder that ends at this moment is waited for. One that stays is only read: a lock on its row
        -- would make its completion wait for the caller's transaction. So it may end between the two
        -- looks; then it is the holder all the same, since it was when this call began.
        FOR round IN 1..1000 LOOP
            held_before := ARRAY(
                SELECT d FROM deduplication d WHERE d.queue = q.name AND d.id = ANY (deduplication_ids));
            INSERT INTO deduplication (queue, id, seq)
            SELECT DISTINCT ON (w.deduplication_id) w.queue, w.deduplication_id, w.seq FROM workflow w
            WHERE w.seq = ANY (seqs) AND w.deduplication_id IS NOT NULL
            ORDER BY w.deduplication_id, w.seq
            ON CONFLICT (queue, id) DO NOTHING;
            -- a look by key for each: a join would read every id that the queue holds, for each item
            SELECT array_agg(CASE WHEN n.holder IS DISTINCT FROM n.seq THEN n.holder END ORDER BY n.item),
                bool_or(n.seq IS NOT NULL AND n.holder IS NULL)
            INTO held_by, unsure
            FROM (
                SELECT i.item, w.seq, CASE WHEN w.seq IS NOT NULL THEN coalesce(
                    (SELECT d.seq FROM deduplication d WHERE d.queue = q.name AND d.id = w.deduplication_id),
                    (SELECT b.seq FROM unnest(held_before) AS b WHERE b.id = w.deduplication_id)) END AS holder
                FROM unnest(seqs) WITH ORDINALITY AS i (seq, item)
                LEFT JOIN workflow w ON w.seq = i.seq AND w.deduplication_id IS NOT NULL
                OFFSET 0
            ) AS n;
            EXIT WHEN NOT unsure;
        END LOOP;
        IF ids IS NOT NULL THEN
            -- an item with the id of one that is a duplicate is the same as that one
            SELECT array_agg(coalesce(n.held_by, n.of_same_id) ORDER BY n.item) INTO held_by
            FROM (
                SELECT i.item, i.held_by,
                    CASE WHEN i.id IS NOT NULL THEN max(i.held_by) OVER (PARTITION BY i.id) END AS of_same_id
                FROM unnest(ids, held_by) WITH ORDINALITY AS i (id, held_by, item)
            ) AS n;
        END IF;
        DELETE FROM workflow w
        WHERE w.seq = ANY (ARRAY(SELECT n.seq FROM unnest(seqs, held_by) AS n (seq, held_by) WHERE n.held_by IS NOT NULL));
        RETURN QUERY
            SELECT n.item::integer, 'deduplicated', w.seq, id_of(w), ARRAY[coalesce(w.deduplication_id, n.deduplication_id)]
            FROM unnest(seqs, deduplication_ids, refuse_duplicates, held_by)
                WITH ORDINALITY AS n (seq, deduplication_id, refuses, held_by, item)
            LEFT JOIN workflow w ON w.seq = n.held_by
            WHERE n.refuses AND n.held_by IS NOT NULL
            ORDER BY n.item LIMIT 1;
        IF FOUND THEN
            DELETE FROM deduplication d WHERE d.queue = q.name AND d.seq = ANY (seqs);
            DELETE FROM workflow w WHERE w.seq = ANY (seqs);
            RETURN;
        END IF;
    END IF;

    IF delays IS NOT NULL OR dues IS NOT NULL THEN
        INSERT INTO parked (seq, rank, due, queue, key, deduplication_id)
        SELECT w.seq, -coalesce(w.priority, 0), n.due, w.queue, w.key, w.deduplication_id
        FROM (
            SELECT p.seq, coalesce(p.due, clock() + make_interval(secs => p.delay)) AS due
            FROM unnest(seqs, delays, dues) AS p (seq, delay, due)
        ) AS n JOIN workflow w ON w.seq = n.seq
        WHERE n.due > clock();
        GET DIAGNOSTICS delayed_count = ROW_COUNT;
    END IF;
    INSERT INTO ready (seq, rank, line, queue, name, version, key, deduplication_id)
    SELECT w.seq, -coalesce(w.priority, 0), w.seq, w.queue, w.name, w.version, w.key, w.deduplication_id
    FROM workflow w
    WHERE w.seq = ANY (seqs) AND (delayed_count = 0 OR NOT EXISTS (SELECT FROM parked p WHERE p.seq = w.seq));
    GET DIAGNOSTICS lined_count = ROW_COUNT;
    IF q.partitioning_enabled AND lined_count > 0 THEN
        INSERT INTO wake (rank, turn, queue, key)
        SELECT k.rank, clock(), q.name, k.key
        FROM (SELECT r.key, min(r.rank) AS rank, min(r.seq) AS seq FROM ready r WHERE r.seq = ANY (seqs) GROUP BY r.key) AS k
        ORDER BY k.seq;
    END IF;
    IF always_notify OR EXISTS (SELECT FROM sleeper s WHERE s.queue = q.name) THEN
        PERFORM pg_notify('towpath.towpath', q.name) WHERE lined_count > 0;
        PERFORM pg_notify('towpath.towpath', q.name || ',due') WHERE delayed_count > 0;
    END IF;
    IF parent_seq IS NOT NULL THEN
        WITH child AS (
            SELECT n.item, coalesce(id_of(mine), id_of(holder), same.id) AS id,
                coalesce(mine.seq, holder.seq, same.seq) AS seq, mine.seq IS NOT NULL AS created
            FROM unnest(seqs, ids, held_by) WITH ORDINALITY AS n (seq, id, held_by, item)
            LEFT JOIN workflow mine ON mine.seq = n.seq
            LEFT JOIN workflow holder ON holder.seq = n.held_by
            LEFT JOIN workflow same ON mine.seq IS NULL AND n.held_by IS NULL AND same.id = n.id
        )
        INSERT INTO step (seq, position, attempt, name, output, child, started_at, completed_at)
        SELECT parent_seq, parent_position, parent_attempt, new_name,
            CASE
                WHEN parent_many THEN json_agg(json_build_array(c.id, c.created) ORDER BY c.item)::text
                ELSE min(to_json(c.id)::text)
            END,
            CASE WHEN NOT parent_many THEN min(c.seq) END, clock(), clock()
        FROM child c;
    END IF;
    RETURN QUERY
        SELECT n.item::integer,
            CASE WHEN mine.seq IS NOT NULL THEN 'created' WHEN n.held_by IS NOT NULL THEN 'deduplicated' ELSE 'exists' END,
            coalesce(mine.seq, holder.seq, same.seq),
            CASE WHEN mine.seq IS NULL THEN coalesce(id_of(holder), same.id) END,
            NULL::text[]
        FROM unnest(seqs, ids, held_by) WITH ORDINALITY AS n (seq, id, held_by, item)
        LEFT JOIN workflow mine ON mine.seq = n.seq
        LEFT JOIN workflow holder ON holder.seq = n.held_by
        LEFT JOIN workflow same ON mine.seq IS NULL AND n.held_by IS NULL AND same.id = n.id
        ORDER BY n.item;
END
$$;

COMMENT ON FUNCTION towpath.enqueue_items(new_queue text, new_name text, new_codec text, new_version text, inputs text[], secrets bigint[], ids text[], priorities bigint[], keys text[], deduplication_ids text[], delays double precision[], dues timestamp with time zone[], refuse_duplicates boolean[], parent_seq bigint, parent_attempt integer, parent_position text, parent_many boolean, always_notify boolean) IS 'Enqueues workflows of one name, all or none; a row says of each whether it was created, or which one it is the same as. Where one is refused, there is one row that says why, and nothing is written.';

CREATE TABLE towpath.schedule (
    name text NOT NULL COLLATE pg_catalog."C",
    revision bigint DEFAULT 1 NOT NULL,
    workflow text NOT NULL COLLATE pg_catalog."C",
    queue text NOT NULL COLLATE pg_catalog."C",
    cron text NOT NULL,
    timezone text NOT NULL,
    backfill boolean NOT NULL,
    codec text NOT NULL,
    args text NOT NULL,
    paused boolean DEFAULT false NOT NULL,
    settled_until timestamp with time zone NOT NULL,
    last_tick timestamp with time zone,
    created_at timestamp with time zone DEFAULT towpath.clock() NOT NULL,
    updated_at timestamp with time zone DEFAULT towpath.clock() NOT NULL,
    CONSTRAINT schedule_name_check CHECK (((char_length(name) >= 1) AND (char_length(name) <= 200)))
);

COMMENT ON TABLE towpath.schedule IS 'Cron schedules as code declares them. Whoever fires, pauses, changes or deletes one locks its row.';

COMMENT ON COLUMN towpath.schedule.revision IS 'Rises at every change; what was computed under another one does not fire.';

COMMENT ON COLUMN towpath.schedule.args IS 'The arguments after the tick, as the codec writes a call''s.';

COMMENT ON COLUMN towpath.schedule.settled_until IS 'Every tick up to here has fired, or was let go.';

COMMENT ON COLUMN towpath.schedule.last_tick IS 'The last one that fired.';

CREATE FUNCTION towpath.enqueue_ticks(s towpath.schedule, ids text[], inputs text[], secrets bigint[]) RETURNS TABLE(item integer, outcome text, found bigint, workflow_id text, detail text[])
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    FOR i IN 1..cardinality(ids) LOOP
        RETURN QUERY
            SELECT i, e.outcome, e.found, coalesce(e.workflow_id, ids[i]), e.detail
            FROM enqueue_items(
                new_queue => s.queue, new_name => s.workflow, new_codec => s.codec, new_version => '',
                inputs => ARRAY[inputs[i]], secrets => ARRAY[secrets[i]], ids => ARRAY[ids[i]],
                priorities => NULL, keys => NULL, deduplication_ids => NULL, delays => NULL, dues => NULL,
                refuse_duplicates => ARRAY[true],
                parent_seq => NULL, parent_attempt => NULL, parent_position => NULL, parent_many => false,
                always_notify => true) AS e;
    END LOOP;
END
$$;

COMMENT ON FUNCTION towpath.enqueue_ticks(s towpath.schedule, ids text[], inputs text[], secrets bigint[]) IS 'Enqueues the workflow of ticks, each by itself; a tick whose id is taken has fired before.';

CREATE FUNCTION towpath.enqueue_timed(new_queue text, new_name text, new_codec text, new_version text, inputs text[], secrets bigint[], ids text[], priorities bigint[], keys text[], deduplication_ids text[], delays double precision[], dues timestamp with time zone[], refuse_duplicates boolean[], parent_seq bigint, parent_attempt integer, parent_position text, parent_many boolean, always_notify boolean, timeouts double precision[]) RETURNS TABLE(item integer, outcome text, found bigint, workflow_id text, detail text[])
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION towpath.enqueue_timed(new_queue text, new_name text, new_codec text, new_version text, inputs text[], secrets bigint[], ids text[], priorities bigint[], keys text[], deduplication_ids text[], delays double precision[], dues timestamp with time zone[], refuse_duplicates boolean[], parent_seq bigint, parent_attempt integer, parent_position text, parent_many boolean, always_notify boolean, timeouts double precision[]) IS 'As enqueue_items, with timeouts (seconds from the first start); a child without one has its parent''s deadline, with 0 it has none.';

CREATE FUNCTION towpath.erase(targets bigint[]) RETURNS void
    LANGUAGE sql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
DELETE FROM step s WHERE s.seq = ANY (targets);
DELETE FROM message m WHERE m.seq = ANY (targets);
DELETE FROM sent s WHERE s.seq = ANY (targets);
DELETE FROM event e WHERE e.seq = ANY (targets);
DELETE FROM stream s WHERE s.seq = ANY (targets);
DELETE FROM wait w WHERE w.seq = ANY (targets);
DELETE FROM deadline d WHERE d.seq = ANY (targets);
DELETE FROM result r WHERE r.seq = ANY (targets);
DELETE FROM workflow w WHERE w.seq = ANY (targets);
$$;

COMMENT ON FUNCTION towpath.erase(targets bigint[]) IS 'Deletes workflows that have ended with all that they recorded. The caller has locked their rows.';

CREATE FUNCTION towpath.expire(at_most integer, OUT looked_at bigint, OUT cancelled bigint) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION towpath.expire(at_most integer, OUT looked_at bigint, OUT cancelled bigint) IS 'Cancels workflows whose deadline has passed: how many deadlines that were, and how many of the workflows had not ended.';

CREATE FUNCTION towpath.find_workflows(filter jsonb, at_most integer) RETURNS bigint[]
    LANGUAGE plpgsql STABLE
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    f record;
    places text;
    condition text;
    in_queue text;
    few boolean;
    own text;
    sources text[];
    status text;
    slack CONSTANT interval := '5 minutes';
    ended CONSTANT text[] := ARRAY['SUCCESS', 'ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'];
    page bigint[];
BEGIN
    SELECT * INTO f FROM jsonb_to_record(filter) AS f (
        workflow_ids text[], status text[], name text[], queue_name text[], app_version text[],
        parent_workflow_id text[], forked_from text[], deduplication_id text[], queue_partition_key text[],
        id_pattern text, any_id boolean, has_parent boolean,
        created_after timestamptz, created_before timestamptz, started_after timestamptz,
        started_before timestamptz, completed_after timestamptz, completed_before timestamptz,
        beyond bigint, oldest_first boolean);
    -- A condition is null where it was not asked for. Those on the seq are of whatever table is read; what
    -- has ended or begun before a moment was created before it, too.
    places := array_to_string(ARRAY['true',
        CASE WHEN f.oldest_first THEN 'seq > ' ELSE 'seq < ' END || f.beyond,
        'seq = ANY (' || quote_literal(seqs_of(f.workflow_ids)) || ')',
        'seq >= ' || seq_at(f.created_after - slack),
        'seq < ' || seq_at(least(f.created_before, f.started_before, f.completed_before) + slack)], ' AND ');
    condition := array_to_string(ARRAY['true',
        'w.name = ANY (' || quote_literal(f.name) || ')',
        'w.queue = ANY (' || quote_literal(f.queue_name) || ')',
        'w.parent = ANY (' || quote_literal(seqs_of(f.parent_workflow_id)) || ')',
        'w.forked_from = ANY (' || quote_literal(seqs_of(f.forked_from)) || ')',
        'w.deduplication_id = ANY (' || quote_literal(f.deduplication_id) || ')',
        'w.key = ANY (' || quote_literal(f.queue_partition_key) || ')',
        CASE WHEN f.any_id THEN 'id_of(w)' ELSE 'w.id' END || ' LIKE ' || quote_literal(f.id_pattern),
        CASE f.has_parent WHEN true THEN 'w.parent IS NOT NULL' WHEN false THEN 'w.parent IS NULL' END,
        'w.created_at >= ' || quote_literal(f.created_after),
        'w.created_at < ' || quote_literal(f.created_before),
        'coalesce(nullif(w.version, ''''), nullif((SELECT y.version FROM ready y WHERE y.seq = w.seq), ''''),'
            || '(SELECT p.version FROM running p WHERE p.seq = w.seq),'
            || '(SELECT r.version FROM result r WHERE r.seq = w.seq), '''') = ANY (' || quote_literal(f.app_version) || ')'
        ], ' AND ');
    in_queue := places || coalesce(' AND queue = ANY (' || quote_literal(f.queue_name) || ')', '');
    IF coalesce(f.completed_after, f.completed_before) IS NOT NULL THEN
        f.status := ARRAY(SELECT unnest(coalesce(f.status, ended)) INTERSECT SELECT unnest(ended));
    END IF;
    IF coalesce(f.started_after, f.started_before) IS NOT NULL THEN
        f.status := ARRAY(SELECT unnest(coalesce(f.status, ARRAY['PENDING'])) INTERSECT SELECT 'PENDING');
    END IF;
    -- a status is the table that the row stands in
    FOR status IN SELECT DISTINCT unnest(f.status) LOOP
        sources := sources || CASE status
            WHEN 'DELAYED' THEN ARRAY['SELECT seq FROM parked WHERE ' || in_queue]
            WHEN 'ENQUEUED' THEN CASE
                WHEN f.queue_name IS NULL THEN ARRAY['SELECT seq FROM ready WHERE ' || in_queue]
                ELSE ARRAY['SELECT seq FROM ready WHERE key IS NULL AND ' || in_queue,
                    'SELECT seq FROM ready WHERE key IS NOT NULL AND ' || in_queue]
                END || ('SELECT seq FROM running WHERE fenced AND resumed_line IS NOT NULL AND ' || in_queue)
            WHEN 'PENDING' THEN ARRAY['SELECT seq FROM running WHERE ' || concat_ws(' AND ', 'NOT fenced', in_queue,
                'started_at >= ' || quote_literal(f.started_after),
                'started_at < ' || quote_literal(f.started_before))]
            ELSE ARRAY['SELECT seq FROM result WHERE ' || concat_ws(' AND ', 'status = ' || quote_literal(status),
                places, 'completed_at >= ' || quote_literal(f.completed_after),
                'completed_at < ' || quote_literal(f.completed_before))]
            END;
    END LOOP;
    IF f.status IS NOT NULL AND sources IS NULL THEN
        RETURN ARRAY[]::bigint[];
    END IF;
    few := coalesce(f.workflow_ids, f.parent_workflow_id, f.forked_from) IS NOT NULL
        OR f.id_pattern IS NOT NULL AND NOT f.any_id;
    own := 'SELECT seq FROM workflow AS w WHERE ' || concat_ws(' AND ', places, condition);
    -- Where to begin is not left to the planner: for a short page it walks through a whole table in its
    -- order, in the hope to meet soon what it looks for. OFFSET 0 keeps a look-up what it is; what an index
    -- has found is sorted (+ 0).
    EXECUTE format(
        'SELECT ARRAY(SELECT s.seq FROM (%s) AS s WHERE %s ORDER BY s.seq%s %s LIMIT %s)',
        CASE WHEN few OR sources IS NULL THEN own ELSE array_to_string(sources, ' UNION ALL ') END,
        CASE
            WHEN sources IS NULL THEN 'true'
            WHEN few THEN format('EXISTS (SELECT FROM (%s) AS b WHERE b.seq = s.seq OFFSET 0)',
                array_to_string(sources, ' UNION ALL '))
            ELSE format('EXISTS (SELECT FROM workflow w WHERE w.seq = s.seq AND %s OFFSET 0)', condition)
        END,
        CASE WHEN few THEN ' + 0' END, CASE WHEN f.oldest_first THEN 'ASC' ELSE 'DESC' END, at_most) INTO page;
    RETURN page;
END
$$;

COMMENT ON FUNCTION towpath.find_workflows(filter jsonb, at_most integer) IS 'One page of the workflows that a filter (the library''s, as JSON) lets through, in the order of their seqs. Planned for each filter: a status is read from its own table, and what an index finds is found by it.';

CREATE FUNCTION towpath.fire(of_schedule text, by_worker bigint, at_revision bigint, after timestamp with time zone, ticks timestamp with time zone[], ids text[], inputs text[], secrets bigint[]) RETURNS TABLE(item integer, outcome text, found bigint, workflow_id text, detail text[])
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    s schedule%ROWTYPE;
    e record;
BEGIN
    -- a pause that comes at this moment is waited for, or waits until all of this is committed
    SELECT * INTO s FROM schedule WHERE name = of_schedule FOR UPDATE;
    IF NOT FOUND OR s.paused OR s.revision <> at_revision OR s.settled_until <> after
        OR NOT EXISTS (SELECT FROM schedule_declaration d WHERE d.worker = by_worker AND d.schedule = of_schedule)
    THEN
        RETURN;
    END IF;
    FOR e IN SELECT t.* FROM enqueue_ticks(s, ids, inputs, secrets) AS t LOOP
        RETURN QUERY SELECT e.item, e.outcome, e.found, e.workflow_id, e.detail;
        IF e.outcome = 'created' THEN
            s.last_tick := ticks[e.item];
        ELSIF e.outcome NOT IN ('exists', 'id conflict') AND s.backfill THEN
            EXIT; -- the queue takes none: they fire once it does
        END IF;
        s.settled_until := ticks[e.item];
    END LOOP;
    UPDATE schedule SET settled_until = s.settled_until, last_tick = s.last_tick WHERE name = of_schedule;
END
$$;

COMMENT ON FUNCTION towpath.fire(of_schedule text, by_worker bigint, at_revision bigint, after timestamp with time zone, ticks timestamp with time zone[], ids text[], inputs text[], secrets bigint[]) IS 'Fires ticks in one transaction, by a worker that declares the schedule; no row where somebody else was faster, or it was paused or changed meanwhile.';

CREATE FUNCTION towpath.first_number(place text) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$SELECT substring(place from '^[0-9]+')::integer$$;

COMMENT ON FUNCTION towpath.first_number(place text) IS 'Of a position, the number in the workflow''s own task: 3 of 3.1; null of none.';

CREATE FUNCTION towpath.forget(target bigint) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    w workflow%ROWTYPE;
BEGIN
    -- a resume at this moment is waited for, and one that comes later finds nothing
    SELECT * INTO w FROM workflow WHERE seq = target FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM hold(target);
    PERFORM withdraw(target);
    UPDATE running r SET resumed_line = NULL WHERE r.seq = target AND r.resumed_line IS NOT NULL;
    DELETE FROM awake a WHERE a.queue = w.queue AND a.name = w.name AND a.seq = target;
    PERFORM erase(ARRAY[target]);
    RETURN true;
END
$$;

COMMENT ON FUNCTION towpath.forget(target bigint) IS 'Deletes a workflow with all that it recorded; code that still runs keeps its place until it ends.';

CREATE FUNCTION towpath.fork(source bigint, from_number integer, new_queue text, new_version text, new_id text, new_secret bigint) RETURNS TABLE(item integer, outcome text, found bigint, workflow_id text, detail text[])
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    w workflow%ROWTYPE;
    made record;
BEGIN
    SELECT * INTO w FROM workflow WHERE seq = source FOR KEY SHARE;
    IF w.seq IS NULL THEN
        RETURN QUERY SELECT 1, 'gone', NULL::bigint, NULL::text, NULL::text[];
        RETURN;
    END IF;
    SELECT e.* INTO made FROM enqueue_items(
        new_queue => coalesce(fork.new_queue, w.queue), new_name => w.name, new_codec => w.codec,
        new_version => fork.new_version, inputs => ARRAY[w.input], secrets => ARRAY[new_secret],
        ids => CASE WHEN new_id IS NOT NULL THEN ARRAY[new_id] END,
        priorities => CASE WHEN w.priority IS NOT NULL THEN ARRAY[w.priority::bigint] END,
        keys => CASE WHEN w.key IS NOT NULL THEN ARRAY[w.key] END,
        deduplication_ids => NULL, delays => NULL, dues => NULL, refuse_duplicates => ARRAY[true],
        parent_seq => NULL, parent_attempt => NULL, parent_position => NULL, parent_many => false,
        always_notify => true) AS e;
    IF made.outcome = 'exists' AND NOT EXISTS (
        SELECT FROM workflow o WHERE o.seq = made.found AND o.forked_from = source) THEN
        made.outcome := 'id conflict';
        made.detail := ARRAY[w.name, coalesce(fork.new_queue, w.queue)];
    END IF;
    RETURN QUERY SELECT made.item, made.outcome, made.found, made.workflow_id, made.detail;
    IF made.outcome <> 'created' THEN
        RETURN;
    END IF;
    UPDATE workflow n SET forked_from = source WHERE n.seq = made.found;
    -- attempt 1 stands for what is copied: a worker reads the records of later attempts alone
    UPDATE ready r SET attempt = 1 WHERE r.seq = made.found AND from_number > 1;
    INSERT INTO step (seq, position, attempt, name, output, failure, child, started_at, completed_at)
    SELECT made.found, s.position, 1, s.name, s.output, s.failure, s.child, s.started_at, s.completed_at
    FROM step s WHERE s.seq = source AND first_number(s.position) < from_number;
    INSERT INTO event (seq, key, position, set_at, codec, value)
    SELECT made.found, e.key, e.position, e.set_at, e.codec, e.value
    FROM event e WHERE e.seq = source AND first_number(e.position) < from_number ORDER BY e.n;
    INSERT INTO stream (seq, key, position, written_at, codec, value)
    SELECT made.found, t.key, t.position, t.written_at, t.codec, t.value
    FROM stream t
    -- what steps wrote has no position, but a time
    WHERE t.seq = source AND coalesce(first_number(t.position) < from_number, t.written_at < (
        SELECT min(s.started_at) FROM step s WHERE s.seq = source AND first_number(s.position) >= from_number))
    ORDER BY t.n;
END
$$;

COMMENT ON FUNCTION towpath.fork(source bigint, from_number integer, new_queue text, new_version text, new_id text, new_secret bigint) IS 'Enqueues a workflow with the input of another and all that this one recorded before a position, but no timeout; as enqueue_items says what came of it, or that the other is gone.';

CREATE FUNCTION towpath.fresh_rank(rank bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$SELECT CASE WHEN rank < -2147483648 THEN rank + 4294967296 ELSE rank END$$;

COMMENT ON FUNCTION towpath.fresh_rank(rank bigint) IS 'The rank without the precedence of what has begun in its partition: minus the priority.';

CREATE FUNCTION towpath.hold(target bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    -- the row moves on while this looks: it is looked for where it goes, and again from the start
    FOR round IN 1..1000 LOOP
        PERFORM FROM parked p WHERE p.seq = target FOR UPDATE;
        EXIT WHEN FOUND;
        PERFORM FROM ready r WHERE r.seq = target FOR UPDATE;
        EXIT WHEN FOUND;
        PERFORM FROM running r WHERE r.seq = target FOR UPDATE;
        EXIT WHEN FOUND
            OR EXISTS (SELECT FROM result r WHERE r.seq = target)
            OR NOT EXISTS (SELECT FROM workflow w WHERE w.seq = target);
    END LOOP;
END
$$;

COMMENT ON FUNCTION towpath.hold(target bigint) IS 'Locks a workflow where it stands: nobody moves it, and a step or a child that it is just writing is waited for, and is seen by the next statement. A fence alone lets those pass that began to write before it was committed.';

CREATE TABLE towpath.workflow (
    seq bigint NOT NULL,
    secret bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    parent bigint,
    priority integer,
    id text COLLATE pg_catalog."C",
    queue text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    version text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    key text COLLATE pg_catalog."C",
    deduplication_id text COLLATE pg_catalog."C",
    codec text NOT NULL,
    input text NOT NULL,
    timeout interval,
    forked_from bigint,
    CONSTRAINT workflow_priority_check CHECK ((priority >= 1)),
    CONSTRAINT workflow_timeout_check CHECK ((timeout > '00:00:00'::interval))
);

COMMENT ON COLUMN towpath.workflow.priority IS 'As it was enqueued; the one in force is in rank.';

COMMENT ON COLUMN towpath.workflow.id IS 'Only where the caller chose it; a generated id is wf-<seq>-<secret> and needs no index.';

COMMENT ON COLUMN towpath.workflow.key IS 'The partition key as it was enqueued.';

COMMENT ON COLUMN towpath.workflow.timeout IS 'From its first start to its deadline.';

CREATE FUNCTION towpath.id_of(w towpath.workflow) RETURNS text
    LANGUAGE sql STABLE
    AS $$
SELECT coalesce(w.id, 'wf-' || w.seq || '-' || lpad(to_hex(w.secret), 16, '0'))
$$;

COMMENT ON FUNCTION towpath.id_of(w towpath.workflow) IS 'The id as its users know it, chosen or generated.';

CREATE FUNCTION towpath.lead(lease text, epoch bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    -- No lock at first: of two transactions of one leader, neither may wait for the other to let go of its share.
    IF NOT EXISTS (SELECT FROM operator o WHERE o.lease = lead.lease AND o.epoch >= lead.epoch) THEN
        INSERT INTO operator AS o (lease, epoch) VALUES (lead.lease, lead.epoch)
        ON CONFLICT ON CONSTRAINT operator_pkey DO UPDATE SET epoch = excluded.epoch WHERE o.epoch < excluded.epoch;
    END IF;
    PERFORM FROM operator o WHERE o.lease = lead.lease AND o.epoch = lead.epoch FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'TP007',
            MESSAGE = format('another operator leads by the Lease of %s since epoch %s.', lead.lease, lead.epoch);
    END IF;
END
$$;

COMMENT ON FUNCTION towpath.lead(lease text, epoch bigint) IS 'Holds the right to write until the transaction ends, as the leader of that epoch; an error, TP007, where a later one has written. The first call of an epoch ends the right of all before it, once their open transactions have ended.';

CREATE FUNCTION towpath.line_up(given bigint[], of_attempts integer[], new_recoveries integer[]) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
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
    PERFORM pg_notify('towpath.towpath', c.queue) FROM unnest(called) AS c (queue);
    RETURN returned;
END
$$;

COMMENT ON FUNCTION towpath.line_up(given bigint[], of_attempts integer[], new_recoveries integer[]) IS 'Takes attempts from their places. They return to their place in the line, in a partition before what has not begun; fenced ones only if they were resumed, at their new place. Null recoveries: as they were.';

CREATE FUNCTION towpath.nearest_queues(asked text) RETURNS text[]
    LANGUAGE sql STABLE
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
SELECT coalesce(array_agg(near.name ORDER BY near.likeness DESC, near.name), ARRAY[]::text[])
FROM (
    SELECT q.name, (
            2.0 * sum((strpos(lower(asked), lower(substr(q.name, i, 2))) > 0)::integer)
            / greatest(char_length(q.name) + char_length(asked) - 2, 1)
            + 2.0 * sum((strpos(lower(asked), lower(substr(q.name, i, 1))) > 0)::integer)
            / (char_length(q.name) + char_length(asked))
        ) / 2 AS likeness
    FROM queue q CROSS JOIN LATERAL generate_series(1, greatest(char_length(q.name) - 1, 1)) AS i
    WHERE q.name <> '_towpath'
    GROUP BY q.name
    ORDER BY likeness DESC, q.name
    LIMIT 3
) AS near
WHERE near.likeness >= 0.35
$$;

COMMENT ON FUNCTION towpath.nearest_queues(asked text) IS 'Up to three names that are most like the one asked for, by the letters and pairs of letters that they share.';

CREATE FUNCTION towpath.oldest_waiting(of_queue text) RETURNS bigint
    LANGUAGE sql STABLE
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
WITH RECURSIVE head AS (
    (SELECT r.name, r.version, r.seq FROM ready r
     WHERE r.queue = of_queue AND r.key IS NULL
     ORDER BY r.name, r.version, r.rank, r.line LIMIT 1)
    UNION ALL
    SELECT following.name, following.version, following.seq
    FROM head CROSS JOIN LATERAL (
        SELECT r.name, r.version, r.seq FROM ready r
        WHERE r.queue = of_queue AND r.key IS NULL AND (r.name, r.version) > (head.name, head.version)
        ORDER BY r.name, r.version, r.rank, r.line LIMIT 1) AS following
), partition AS (
    (SELECT r.key, r.seq FROM ready r
     WHERE r.queue = of_queue AND r.key IS NOT NULL ORDER BY r.key, r.rank, r.line LIMIT 1)
    UNION ALL
    SELECT following.key, following.seq
    FROM partition CROSS JOIN LATERAL (
        SELECT r.key, r.seq FROM ready r
        WHERE r.queue = of_queue AND r.key > partition.key
        ORDER BY r.key, r.rank, r.line LIMIT 1) AS following
)
SELECT min(h.seq) FROM (
    SELECT seq FROM (SELECT seq FROM head LIMIT 100) AS line
    UNION ALL
    SELECT seq FROM (SELECT seq FROM partition LIMIT 100) AS keyed) AS h
$$;

COMMENT ON FUNCTION towpath.oldest_waiting(of_queue text) IS 'The seq of the oldest at the heads of the first 100 names'' lines and the first 100 partitions, so that the backlog''s size costs nothing.';

CREATE FUNCTION towpath.opens_at(of_queue text, of_key text, at_most integer, period interval) RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    made bigint;
    blocking timestamptz;
BEGIN
    SELECT s.n INTO made FROM start s WHERE s.queue = of_queue AND s.key = of_key ORDER BY s.n DESC LIMIT 1;
    SELECT s.at INTO blocking FROM start s
    WHERE s.queue = of_queue AND s.key = of_key AND s.n > made - at_most
    ORDER BY s.n LIMIT 1;
    RETURN CASE WHEN made < at_most THEN NULL ELSE blocking + period END;
END
$$;

COMMENT ON FUNCTION towpath.opens_at(of_queue text, of_key text, at_most integer, period interval) IS 'When the start before the last `at_most` leaves the window; null where fewer were ever made.';

CREATE FUNCTION towpath.promote(version text) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    changed boolean;
BEGIN
    IF char_length(version) NOT BETWEEN 1 AND 255 OR version IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'TP003', MESSAGE = 'a version has 1 to 255 characters.';
    END IF;
    LOCK TABLE version IN SHARE ROW EXCLUSIVE MODE; -- two promotions go one after the other; nobody else waits
    UPDATE version v SET current = false WHERE v.current AND v.name <> promote.version;
    INSERT INTO version AS v (name, current, promoted_at) VALUES (promote.version, true, clock())
    ON CONFLICT (name) DO UPDATE SET current = true, promoted_at = excluded.promoted_at WHERE NOT v.current;
    changed := FOUND;
    IF changed THEN
        PERFORM pg_notify('towpath.towpath', '_towpath,version');
    END IF;
    RETURN changed;
END
$$;

COMMENT ON FUNCTION towpath.promote(version text) IS 'Makes a version the current one, which begins what was enqueued without a version; false where it is already. Every worker is told at commit.';

CREATE TABLE towpath.running (
    seq bigint NOT NULL,
    worker bigint NOT NULL,
    rank bigint NOT NULL,
    line bigint NOT NULL,
    started_at timestamp with time zone NOT NULL,
    attempt integer NOT NULL,
    recoveries integer NOT NULL,
    fenced boolean DEFAULT false NOT NULL,
    resumed_line bigint,
    queue text NOT NULL COLLATE pg_catalog."C",
    key text COLLATE pg_catalog."C",
    deduplication_id text COLLATE pg_catalog."C",
    version text COLLATE pg_catalog."C"
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE towpath.running IS 'A row is a place in its queue''s concurrency, kept from claim to end.';

COMMENT ON COLUMN towpath.running.worker IS 'Who runs it; 0 where it waits and nobody does: it keeps its place.';

COMMENT ON COLUMN towpath.running.fenced IS 'Its workflow was cancelled or deleted: the code keeps its place until it ends, and can write nothing.';

COMMENT ON COLUMN towpath.running.resumed_line IS 'The workflow was resumed while the fenced code still runs: it joins the line here when that ends.';

COMMENT ON COLUMN towpath.running.version IS 'The version that began it, where it was enqueued without one.';

CREATE FUNCTION towpath.recoveries_after(r towpath.running) RETURNS integer
    LANGUAGE sql STABLE
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
SELECT CASE
    WHEN r.recoveries = 0 THEN 0
    WHEN EXISTS (SELECT FROM step s WHERE s.seq = r.seq AND s.attempt = r.attempt) THEN 0
    ELSE r.recoveries
END
$$;

COMMENT ON FUNCTION towpath.recoveries_after(r towpath.running) IS 'How many recoveries a workflow has after an attempt that ends by itself: none once it has recorded a step.';

CREATE TABLE towpath.queue (
    name text NOT NULL COLLATE pg_catalog."C",
    revision bigint DEFAULT 1 NOT NULL,
    concurrency_global integer,
    concurrency_per_worker integer,
    concurrency_per_partition integer,
    limiter_limit integer,
    limiter_period interval,
    partition_limiter_limit integer,
    partition_limiter_period interval,
    priority_enabled boolean DEFAULT false NOT NULL,
    partitioning_enabled boolean DEFAULT false NOT NULL,
    polling_interval interval DEFAULT '00:00:01'::interval NOT NULL,
    paused boolean DEFAULT false NOT NULL,
    closed boolean DEFAULT false NOT NULL,
    owner_cluster text,
    owner_namespace text,
    owner_name text,
    owner_uid text,
    created_at timestamp with time zone DEFAULT towpath.clock() NOT NULL,
    updated_at timestamp with time zone DEFAULT towpath.clock() NOT NULL,
    release_while_waiting boolean DEFAULT false NOT NULL,
    retention_succeeded interval,
    retention_failed interval,
    CONSTRAINT limiter_is_whole CHECK (((limiter_limit IS NULL) = (limiter_period IS NULL))),
    CONSTRAINT partition_limiter_is_whole CHECK (((partition_limiter_limit IS NULL) = (partition_limiter_period IS NULL))),
    CONSTRAINT partition_limits_need_partitioning CHECK ((partitioning_enabled OR ((concurrency_per_partition IS NULL) AND (partition_limiter_limit IS NULL)))),
    CONSTRAINT per_worker_within_global CHECK ((concurrency_per_worker <= concurrency_global)),
    CONSTRAINT queue_concurrency_global_check CHECK ((concurrency_global >= 1)),
    CONSTRAINT queue_concurrency_per_partition_check CHECK ((concurrency_per_partition >= 1)),
    CONSTRAINT queue_concurrency_per_worker_check CHECK ((concurrency_per_worker >= 1)),
    CONSTRAINT queue_limiter_limit_check CHECK ((limiter_limit >= 1)),
    CONSTRAINT queue_limiter_period_check CHECK ((limiter_period > '00:00:00'::interval)),
    CONSTRAINT queue_name_check CHECK ((((char_length(name) >= 1) AND (char_length(name) <= 255)) AND (strpos(name, ','::text) = 0))),
    CONSTRAINT queue_partition_limiter_limit_check CHECK ((partition_limiter_limit >= 1)),
    CONSTRAINT queue_partition_limiter_period_check CHECK ((partition_limiter_period > '00:00:00'::interval)),
    CONSTRAINT queue_polling_interval_check CHECK ((polling_interval > '00:00:00'::interval)),
    CONSTRAINT queue_retention_failed_check CHECK ((retention_failed > '00:00:00'::interval)),
    CONSTRAINT queue_retention_succeeded_check CHECK ((retention_succeeded > '00:00:00'::interval))
);

COMMENT ON COLUMN towpath.queue.revision IS 'Rises at every change; a claim made under another revision takes nothing.';

COMMENT ON COLUMN towpath.queue.paused IS 'Nothing starts; enqueue goes on.';

COMMENT ON COLUMN towpath.queue.closed IS 'Enqueue is refused; what waits goes on.';

COMMENT ON COLUMN towpath.queue.owner_uid IS 'The uid of the Queue object that owns the row; null: code may declare it.';

COMMENT ON COLUMN towpath.queue.release_while_waiting IS 'A workflow that waits gives its place in the queue''s concurrency back; never that in its partition.';

COMMENT ON COLUMN towpath.queue.retention_succeeded IS 'How long its workflows are kept after their SUCCESS; null: as the database''s default says.';

COMMENT ON COLUMN towpath.queue.retention_failed IS 'The same after any other end.';

CREATE FUNCTION towpath.refusal(q towpath.queue, priority bigint, key text, deduplication_id text, delay double precision, due timestamp with time zone) RETURNS text[]
    LANGUAGE sql STABLE
    AS $$
SELECT CASE
    WHEN priority NOT BETWEEN 1 AND 2147483647
        THEN ARRAY['priority', priority::text, 'an int from 1 to 2147483647']
    WHEN priority IS NOT NULL AND NOT q.priority_enabled
        THEN ARRAY['priority', priority::text, 'none on a queue without priority (priority_enabled=True)']
    WHEN key IS NULL AND q.partitioning_enabled
        THEN ARRAY['queue_partition_key', NULL, 'a str of 1 to 255 characters on a partitioned queue']
    WHEN key IS NOT NULL AND NOT q.partitioning_enabled
        THEN ARRAY['queue_partition_key', left(key, 40), 'none on a queue without partitioning (partition_queue=True)']
    WHEN char_length(key) NOT BETWEEN 1 AND 255
        THEN ARRAY['queue_partition_key', left(key, 40), 'a str of 1 to 255 characters']
    WHEN char_length(deduplication_id) NOT BETWEEN 1 AND 255
        THEN ARRAY['deduplication_id', left(deduplication_id, 40), 'a str of 1 to 255 characters']
    WHEN NOT delay BETWEEN 0 AND 3155760000
        THEN ARRAY['delay_seconds', delay::text, 'a number of seconds from 0 to 3155760000 (100 years)']
    WHEN delay IS NOT NULL AND due IS NOT NULL
        THEN ARRAY['start_at', due::text, 'none beside delay_seconds']
    WHEN NOT isfinite(due)
        THEN ARRAY['start_at', due::text, 'a date']
END
$$;

COMMENT ON FUNCTION towpath.refusal(q towpath.queue, priority bigint, key text, deduplication_id text, delay double precision, due timestamp with time zone) IS 'Why a queue refuses the options of an enqueue: the field, its value, what is allowed; null where it does not.';

CREATE FUNCTION towpath.resume(target bigint) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
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
        PERFORM pg_notify('towpath.towpath', w.queue);
    END IF;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION towpath.resume(target bigint) IS 'Puts a cancelled or dead-lettered workflow at the end of its queue''s line and returns null; any other is left as it is, and its status is returned; gone where there is none.';

CREATE FUNCTION towpath.retry(targets bigint[], attempts integer[], failed_seqs bigint[], failed_positions text[]) RETURNS TABLE(target bigint, status text)
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    failed_attempt integer;
BEGIN
    FOR target, failed_attempt IN
        SELECT g.seq, g.attempt FROM unnest(targets, attempts) AS g (seq, attempt) ORDER BY g.seq
    LOOP
        -- from here on as a resume, whose status it takes for that; nobody else ever sees it
        PERFORM FROM workflow w WHERE w.seq = target FOR KEY SHARE;
        UPDATE result r SET status = 'CANCELLED'
        WHERE r.seq = target AND r.status = 'ERROR' AND r.attempt = failed_attempt;
        IF FOUND THEN
            DELETE FROM step s
            WHERE s.seq = target AND s.position = ANY (ARRAY(
                SELECT f.position FROM unnest(failed_seqs, failed_positions) AS f (seq, position)
                WHERE f.seq = target));
            status := resume(target);
        ELSE
            status := coalesce(status_of(target), 'gone');
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;

COMMENT ON FUNCTION towpath.retry(targets bigint[], attempts integer[], failed_seqs bigint[], failed_positions text[]) IS 'Puts failed workflows at the end of their queues'' lines, without the records of the steps that failed them; the status null. One that is not as it was when those were found is left as it is, and its status is returned.';

CREATE FUNCTION towpath.room(q towpath.queue, for_worker bigint, asked bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION towpath.room(q towpath.queue, for_worker bigint, asked bigint) IS 'How many workflows a worker may take from a queue now. The caller holds the gate where the limit is shared.';

CREATE FUNCTION towpath.room_to_go_on(q towpath.queue, for_worker bigint, asked bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION towpath.room_to_go_on(q towpath.queue, for_worker bigint, asked bigint) IS 'How many workflows whose wait is over a worker may take: they have their place, unless the queue gives it back while they wait. Going on is no start.';

CREATE FUNCTION towpath.send(workflow_id text, message jsonb, topic text DEFAULT ''::text, idempotency_key text DEFAULT NULL::text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION towpath.send(workflow_id text, message jsonb, topic text, idempotency_key text) IS 'Sends a message to a workflow, from any language; it is there when the caller''s transaction commits.';

CREATE FUNCTION towpath.send_from_workflow(of_seq bigint, of_attempt integer, of_position text, destination bigint, of_topic text, of_codec text, of_value text, idempotency_key text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
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

CREATE FUNCTION towpath.seq_at(moment timestamp with time zone) RETURNS bigint
    LANGUAGE plpgsql STABLE STRICT
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    low bigint;
    high bigint;
    middle bigint;
    probe record;
BEGIN
    SELECT min(w.seq), max(w.seq) + 1 INTO low, high FROM workflow w;
    WHILE low < high LOOP
        middle := low + (high - low) / 2;
        SELECT w.seq, w.created_at INTO probe FROM workflow w WHERE w.seq >= middle ORDER BY w.seq LIMIT 1;
        low := CASE WHEN probe.created_at < moment THEN probe.seq + 1 ELSE low END;
        high := CASE WHEN probe.created_at < moment THEN high ELSE middle END;
    END LOOP;
    RETURN coalesce(low, 0);
END
$$;

COMMENT ON FUNCTION towpath.seq_at(moment timestamp with time zone) IS 'The first seq that was given at that moment or later, by bisection. Seqs and times rise together but for what was enqueued at once: who searches by it allows for some minutes.';

CREATE FUNCTION towpath.seq_of(workflow_id text) RETURNS bigint
    LANGUAGE sql STABLE
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $_$
SELECT CASE
    WHEN workflow_id ~ '^wf-[0-9]{1,18}-[0-9a-f]{16}$' THEN (
        SELECT w.seq FROM workflow w
        WHERE w.seq = split_part(workflow_id, '-', 2)::bigint AND w.id IS NULL AND id_of(w) = workflow_id)
    ELSE (SELECT w.seq FROM workflow w WHERE w.id = workflow_id)
END
$_$;

COMMENT ON FUNCTION towpath.seq_of(workflow_id text) IS 'The row of a workflow by its id; null where there is none.';

CREATE FUNCTION towpath.seqs_of(workflow_ids text[]) RETURNS bigint[]
    LANGUAGE sql STABLE STRICT
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
SELECT ARRAY(SELECT seq_of(i.id) FROM unnest(workflow_ids) AS i (id))
$$;

COMMENT ON FUNCTION towpath.seqs_of(workflow_ids text[]) IS 'The rows of workflows by their ids; null for each that is not there.';

CREATE FUNCTION towpath.set_event(of_seq bigint, of_attempt integer, of_position text, of_key text, of_codec text, of_value text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
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

CREATE FUNCTION towpath.set_priority(target bigint, new_rank bigint) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    of_queue text;
    of_key text;
    status text;
BEGIN
    -- the row moves on while this looks: it is looked for where it goes, and again from the start
    FOR round IN 1..1000 LOOP
        UPDATE parked p SET rank = new_rank WHERE p.seq = target;
        IF FOUND THEN
            RETURN NULL;
        END IF;
        UPDATE ready r
        SET rank = CASE WHEN r.rank < -2147483648 THEN new_rank - 4294967296 ELSE new_rank END
        WHERE r.seq = target RETURNING r.queue, r.key INTO of_queue, of_key;
        IF FOUND THEN
            IF of_key IS NOT NULL THEN
                INSERT INTO wake (turn, queue, key)
                VALUES (clock(), of_queue, of_key);
            END IF;
            RETURN NULL;
        END IF;
        UPDATE running r SET rank = new_rank WHERE r.seq = target AND r.resumed_line IS NOT NULL;
        IF FOUND THEN
            RETURN NULL;
        END IF;
        status := status_of(target);
        IF status IS NULL OR status NOT IN ('DELAYED', 'ENQUEUED') THEN
            RETURN coalesce(status, 'gone');
        END IF;
    END LOOP;
    RETURN status;
END
$$;

COMMENT ON FUNCTION towpath.set_priority(target bigint, new_rank bigint) IS 'Moves a workflow that waits to another rank and returns null; else its status.';

CREATE FUNCTION towpath.settings(q towpath.queue) RETURNS jsonb
    LANGUAGE sql STABLE
    AS $$
SELECT jsonb_build_object(
    'concurrency', q.concurrency_global, 'worker_concurrency', q.concurrency_per_worker,
    'partition_concurrency', q.concurrency_per_partition,
    'limit', q.limiter_limit, 'period', extract(epoch FROM q.limiter_period)::float8,
    'partition_limit', q.partition_limiter_limit,
    'partition_period', extract(epoch FROM q.partition_limiter_period)::float8,
    'priority_enabled', q.priority_enabled, 'partition_queue', q.partitioning_enabled,
    'release_while_waiting', q.release_while_waiting,
    'polling_interval', extract(epoch FROM q.polling_interval)::float8,
    'retention_succeeded', extract(epoch FROM q.retention_succeeded)::float8,
    'retention_failed', extract(epoch FROM q.retention_failed)::float8)
$$;

COMMENT ON FUNCTION towpath.settings(q towpath.queue) IS 'The settings of a queue as the library reads and writes them; durations in seconds.';

CREATE FUNCTION towpath.settle(seqs bigint[], attempts integer[], positions text[], verbs text[], kinds text[], targets bigint[], topics text[]) RETURNS TABLE(of_seq bigint, of_position text, state text, output text, seconds double precision)
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION towpath.settle(seqs bigint[], attempts integer[], positions text[], verbs text[], kinds text[], targets bigint[], topics text[]) IS 'Which waits are over: come (a message is consumed, and recorded as the step), the status of what has ended, gone where that was deleted, over (its time has passed), stale; null and the seconds left where it goes on.';

CREATE FUNCTION towpath.status_of(target bigint) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
SELECT coalesce(
    (SELECT r.status FROM result r WHERE r.seq = target),
    (SELECT 'DELAYED' FROM parked p WHERE p.seq = target),
    (SELECT 'PENDING' FROM running p WHERE p.seq = target AND NOT p.fenced),
    (SELECT 'ENQUEUED' FROM workflow w WHERE w.seq = target))
$$;

COMMENT ON FUNCTION towpath.status_of(target bigint) IS 'The status of a workflow by its seq; null where there is none.';

CREATE FUNCTION towpath.take_place(of_seq bigint, of_attempt integer, of_position text, of_name text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION towpath.take_place(of_seq bigint, of_attempt integer, of_position text, of_name text) IS 'Records what a workflow is about to do in this transaction: null, and it does it; stale; or done, since the answer was lost.';

CREATE FUNCTION towpath.tell(of_kind text, targets bigint[], of_topic text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    woken_queue text;
BEGIN
    PERFORM pg_notify('towpath-waits.towpath', of_kind || ',' || t.seq || ',' || of_topic)
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
        PERFORM pg_notify('towpath.towpath', woken_queue || ',awake');
    END LOOP;
END
$$;

COMMENT ON FUNCTION towpath.tell(of_kind text, targets bigint[], of_topic text) IS 'Tells those who wait that something has come. For transactions that end by themselves: it locks waits.';

CREATE FUNCTION towpath.tell_at_commit(of_kind text, target bigint, of_topic text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO awake (seq, queue, name, version)
    SELECT w.seq, w.queue, w.name, coalesce(r.version, w.version)
    FROM workflow w LEFT JOIN running r ON r.seq = w.seq WHERE w.seq = target;
    PERFORM pg_notify('towpath.towpath', w.queue || ',awake') FROM workflow w WHERE w.seq = target;
    PERFORM pg_notify('towpath-waits.towpath', of_kind || ',' || target || ',' || of_topic);
END
$$;

COMMENT ON FUNCTION towpath.tell_at_commit(of_kind text, target bigint, of_topic text) IS 'As tell, in a caller''s own transaction, which may stay open: it locks nothing, and tells whoever may wait by then.';

CREATE FUNCTION towpath.tell_for_older() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    DELETE FROM wait w WHERE w.seq = NEW.seq;
    PERFORM tell('end', ARRAY[NEW.seq], '');
    RETURN NULL;
END
$$;

CREATE FUNCTION towpath.tokens(of_queue text, of_key text, at_most integer, period interval) RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    made bigint;
    outside bigint;
    window_begins timestamptz := clock() - period; -- once: no index can be searched by a volatile function
BEGIN
    SELECT s.n INTO made FROM start s WHERE s.queue = of_queue AND s.key = of_key ORDER BY s.n DESC LIMIT 1;
    IF made IS NULL THEN
        RETURN at_most;
    END IF;
    SELECT s.n INTO outside FROM start s
    WHERE s.queue = of_queue AND s.key = of_key AND s.at <= window_begins
    ORDER BY s.at DESC, s.n DESC LIMIT 1;
    RETURN greatest(at_most - (made - coalesce(outside, 0)), 0);
END
$$;

COMMENT ON FUNCTION towpath.tokens(of_queue text, of_key text, at_most integer, period interval) IS 'How many starts a limiter allows now: two index probes, whatever the limit. Starts that were trimmed count as made at the oldest known.';

CREATE FUNCTION towpath.waiting(of_queue text) RETURNS bigint
    LANGUAGE sql STABLE
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
SELECT least(
    (SELECT count(*) FROM (SELECT FROM ready r WHERE r.queue = of_queue AND r.key IS NULL LIMIT 10001) AS plain)
    + (SELECT count(*) FROM (SELECT FROM ready r WHERE r.queue = of_queue AND r.key IS NOT NULL LIMIT 10001) AS keyed),
    10001)
$$;

COMMENT ON FUNCTION towpath.waiting(of_queue text) IS 'ENQUEUED workflows of a queue, counted to 10,001.';

CREATE FUNCTION towpath.watched_since(of_schedule text) RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
SELECT min(d.since)
FROM schedule_declaration d JOIN worker w ON w.id = d.worker
WHERE d.schedule = of_schedule AND w.lease_until > clock_timestamp()
$$;

COMMENT ON FUNCTION towpath.watched_since(of_schedule text) IS 'Since when live workers have declared a schedule without a gap; null where none does.';

CREATE FUNCTION towpath.withdraw(target bigint) RETURNS text
    LANGUAGE sql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$SELECT withdraw(target, NULL)$$;

COMMENT ON FUNCTION towpath.withdraw(target bigint) IS 'Cancels a workflow that has not ended, and returns the status that it had; null where it has ended. Running code keeps its place until it ends, and can write nothing.';

CREATE FUNCTION towpath.withdraw(target bigint, reason text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
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
        PERFORM pg_notify('towpath.towpath', of_queue);
    END IF;
    IF status = 'PENDING' AND freed IS NOT TRUE THEN -- null where no row was deleted
        PERFORM pg_notify('towpath.towpath', of_queue || ',cancelled');
    END IF;
    PERFORM tell('end', ARRAY[target], '');
    RETURN status;
END
$$;

COMMENT ON FUNCTION towpath.withdraw(target bigint, reason text) IS 'Cancels a workflow that has not ended, for a reason or none, and returns the status that it had; null where it has ended. Running code keeps its place until it ends, and can write nothing.';

CREATE FUNCTION towpath.write_stream(of_seq bigint, of_attempt integer, of_position text, of_key text, of_codec text, of_value text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION towpath.write_stream(of_seq bigint, of_attempt integer, of_position text, of_key text, of_codec text, of_value text) IS 'Writes a value, or closes the stream where it is null; without a position it is written by a step, at least once.';

CREATE TABLE towpath.alarm (
    queue text NOT NULL COLLATE pg_catalog."C",
    due timestamp with time zone NOT NULL,
    turn timestamp with time zone NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C"
);

COMMENT ON TABLE towpath.alarm IS 'When a partition that its limiter holds back is to be looked at again.';

CREATE TABLE towpath.awake (
    n bigint NOT NULL,
    seq bigint NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    version text NOT NULL COLLATE pg_catalog."C"
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE towpath.awake IS 'A wait of the workflow may be over: if no worker has it in memory, the next claim takes it first.';

ALTER TABLE towpath.awake ALTER COLUMN n ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME towpath.awake_n_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE towpath.deadline (
    seq bigint NOT NULL,
    due timestamp with time zone NOT NULL
);

COMMENT ON TABLE towpath.deadline IS 'When a workflow is cancelled if it has not ended; any worker does it.';

CREATE TABLE towpath.debounce (
    queue text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    seq bigint NOT NULL,
    latest timestamp with time zone NOT NULL
);

COMMENT ON TABLE towpath.debounce IS 'The last workflow that was enqueued under a key: while it is DELAYED, the next call replaces what it was given.';

COMMENT ON COLUMN towpath.debounce.latest IS 'It joins the line by then, however often it is called; after that the row is of no use.';

CREATE TABLE towpath.deduplication (
    queue text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    seq bigint NOT NULL
);

COMMENT ON TABLE towpath.deduplication IS 'Who holds a deduplication id: a workflow that is DELAYED, ENQUEUED or PENDING.';

CREATE TABLE towpath.event (
    n bigint NOT NULL,
    seq bigint NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    "position" text NOT NULL COLLATE pg_catalog."C",
    set_at timestamp with time zone NOT NULL,
    codec text NOT NULL,
    value text NOT NULL
);

COMMENT ON TABLE towpath.event IS 'Every value that a workflow set; the last of a key is its value.';

ALTER TABLE towpath.event ALTER COLUMN n ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME towpath.event_n_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE towpath.gate (
    queue text NOT NULL COLLATE pg_catalog."C"
);

COMMENT ON TABLE towpath.gate IS 'One row a queue, only ever locked: whoever counts places locks it first and counts in the next statement.';

CREATE TABLE towpath.message (
    n bigint NOT NULL,
    seq bigint NOT NULL,
    topic text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    sent_at timestamp with time zone NOT NULL,
    codec text NOT NULL,
    value text NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE towpath.message IS 'Messages that no recv of the workflow has consumed.';

ALTER TABLE towpath.message ALTER COLUMN n ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME towpath.message_n_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE towpath.migration (
    number integer NOT NULL,
    phase text NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE towpath.operator (
    lease text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    CONSTRAINT operator_lease_check CHECK (((char_length(lease) >= 1) AND (char_length(lease) <= 512)))
);

COMMENT ON TABLE towpath.operator IS 'By the Lease that operators hold in a cluster, the epoch of the last one that wrote here: an earlier one, which may have been frozen or cut off, changes nothing any more.';

CREATE TABLE towpath.parked (
    seq bigint NOT NULL,
    rank bigint NOT NULL,
    due timestamp with time zone NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    key text COLLATE pg_catalog."C",
    deduplication_id text COLLATE pg_catalog."C"
);

COMMENT ON TABLE towpath.parked IS 'Workflows that are DELAYED: they join the line at their seq when due.';

CREATE TABLE towpath.ready (
    seq bigint NOT NULL,
    rank bigint NOT NULL,
    line bigint NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    recoveries integer DEFAULT 0 NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    version text NOT NULL COLLATE pg_catalog."C",
    key text COLLATE pg_catalog."C",
    deduplication_id text COLLATE pg_catalog."C"
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE towpath.ready IS 'Workflows that wait for a worker.';

COMMENT ON COLUMN towpath.ready.rank IS 'Urgency, lowest first: minus the priority, 0 without one; 2^32 less where a partition''s workflow has begun before.';

COMMENT ON COLUMN towpath.ready.line IS 'The number in the line: the seq, and a new one at resume.';

COMMENT ON COLUMN towpath.ready.key IS 'The partition key; only in queues that are partitioned.';

CREATE TABLE towpath.result (
    seq bigint NOT NULL,
    status text NOT NULL,
    attempt integer NOT NULL,
    completed_at timestamp with time zone NOT NULL,
    output text,
    version text COLLATE pg_catalog."C",
    CONSTRAINT result_status_check CHECK ((status = ANY (ARRAY['SUCCESS'::text, 'ERROR'::text, 'CANCELLED'::text, 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'::text])))
);

COMMENT ON COLUMN towpath.result.output IS 'The encoded value of a SUCCESS, the recorded failure of an ERROR.';

COMMENT ON COLUMN towpath.result.version IS 'The version that began it; empty where it had none, null where a library of version 1 wrote the end: it tells nobody.';

CREATE TABLE towpath.retention (
    succeeded interval,
    failed interval,
    round_began timestamp with time zone,
    next_round timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    looked_until bigint DEFAULT 0 NOT NULL,
    only_row boolean DEFAULT true NOT NULL,
    CONSTRAINT retention_failed_check CHECK ((failed > '00:00:00'::interval)),
    CONSTRAINT retention_only_row_check CHECK (only_row),
    CONSTRAINT retention_succeeded_check CHECK ((succeeded > '00:00:00'::interval))
);

COMMENT ON TABLE towpath.retention IS 'How long ended workflows are kept where their queue does not say; null is for ever. And where the round that deletes the others stands.';

COMMENT ON COLUMN towpath.retention.looked_until IS 'The last seq that this round has looked at.';

CREATE TABLE towpath.schedule_declaration (
    worker bigint NOT NULL,
    schedule text NOT NULL COLLATE pg_catalog."C",
    since timestamp with time zone NOT NULL
);

COMMENT ON TABLE towpath.schedule_declaration IS 'Which workers declare a schedule: it fires while one of them lives. The rows go with either.';

COMMENT ON COLUMN towpath.schedule_declaration.since IS 'The worker has looked after it from here on: an earlier tick was missed, unless another one did.';

CREATE TABLE towpath.schema_version (
    version integer NOT NULL,
    serves_from integer NOT NULL,
    only_row boolean DEFAULT true NOT NULL,
    CONSTRAINT schema_version_only_row_check CHECK (only_row)
);

COMMENT ON TABLE towpath.schema_version IS 'The schema''s version, and the oldest library version (by its own schema number) that it serves.';

CREATE TABLE towpath.sent (
    seq bigint NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C"
);

COMMENT ON TABLE towpath.sent IS 'The idempotency keys of messages to a workflow, kept as long as it is.';

CREATE TABLE towpath.sleeper (
    queue text NOT NULL COLLATE pg_catalog."C",
    listener bigint NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='500', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE towpath.sleeper IS 'Who wants a NOTIFY when the queue gets work: a worker''s id, or 0 for the operator.';

CREATE TABLE towpath.start (
    n bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C"
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE towpath.start IS 'One row a claim of a limited queue (key empty) or partition: n starts were made by then, the last of them at `at`. Written under the gate, so that n and at rise together.';

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

CREATE TABLE towpath.stream (
    n bigint NOT NULL,
    seq bigint NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    "position" text NOT NULL COLLATE pg_catalog."C",
    written_at timestamp with time zone NOT NULL,
    codec text NOT NULL,
    value text
);

COMMENT ON TABLE towpath.stream IS 'What a workflow wrote to its streams; the last value of a closed one is null.';

ALTER TABLE towpath.stream ALTER COLUMN n ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME towpath.stream_n_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE towpath.ticket (
    rank bigint NOT NULL,
    turn timestamp with time zone NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    version text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C"
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE towpath.ticket IS 'A partition key that may start a workflow: what its head is, and since when it was not served. Written under the gate alone.';

CREATE TABLE towpath.version (
    name text NOT NULL COLLATE pg_catalog."C",
    current boolean DEFAULT false NOT NULL,
    promoted_at timestamp with time zone,
    CONSTRAINT version_name_check CHECK (((char_length(name) >= 1) AND (char_length(name) <= 255)))
);

COMMENT ON TABLE towpath.version IS 'Application versions that somebody has promoted; the current one begins what was enqueued without a version.';

CREATE TABLE towpath.wait (
    seq bigint NOT NULL,
    "position" text NOT NULL COLLATE pg_catalog."C",
    verb text NOT NULL,
    kind text NOT NULL COLLATE pg_catalog."C",
    target bigint DEFAULT 0 NOT NULL,
    topic text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    due timestamp with time zone,
    asleep boolean DEFAULT false NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    version text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT wait_kind_check CHECK ((kind = ANY (ARRAY['time'::text, 'message'::text, 'event'::text, 'end'::text, 'stream'::text])))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE towpath.wait IS 'What workflows wait for at this moment: a time, a message, an event of another, the end of another.';

COMMENT ON COLUMN towpath.wait.seq IS 'The workflow that waits; 0 where a process outside does, until due.';

COMMENT ON COLUMN towpath.wait.due IS 'When it ends without what it waits for; never, if null. Set once: a recovery waits for the remainder.';

COMMENT ON COLUMN towpath.wait.asleep IS 'No worker has the workflow in memory: whoever finds the wait over says so in awake.';

CREATE TABLE towpath.wake (
    n bigint NOT NULL,
    rank bigint DEFAULT '-4611686018427387904'::bigint NOT NULL,
    turn timestamp with time zone NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C"
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE towpath.wake IS 'Something changed in a partition: the next claim of the queue looks at it anew, the most urgent first.';

COMMENT ON COLUMN towpath.wake.rank IS 'Of what came into the line; by default before all of those, for what is bounded by the places.';

ALTER TABLE towpath.wake ALTER COLUMN n ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME towpath.wake_n_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
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
    ended_at timestamp with time zone,
    node_started_at timestamp with time zone
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='500', autovacuum_vacuum_cost_delay='0');

COMMENT ON COLUMN towpath.worker.ended_at IS 'Set and removed with the row in one transaction, by whoever ends the lease; nobody else ever sees it.';

COMMENT ON COLUMN towpath.worker.node_started_at IS 'When the row was written, by the clock of the worker''s own node: its kubelet''s times are compared with it. started_at is the same moment by the clock of Postgres.';

ALTER TABLE towpath.worker ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME towpath.worker_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE towpath.workflow ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME towpath.workflow_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE ONLY towpath.alarm
    ADD CONSTRAINT alarm_pkey PRIMARY KEY (queue, due, key);

ALTER TABLE ONLY towpath.awake
    ADD CONSTRAINT awake_pkey PRIMARY KEY (n);

ALTER TABLE ONLY towpath.deadline
    ADD CONSTRAINT deadline_pkey PRIMARY KEY (seq);

ALTER TABLE ONLY towpath.debounce
    ADD CONSTRAINT debounce_pkey PRIMARY KEY (queue, name, key);

ALTER TABLE ONLY towpath.deduplication
    ADD CONSTRAINT deduplication_pkey PRIMARY KEY (queue, id);

ALTER TABLE ONLY towpath.event
    ADD CONSTRAINT event_pkey PRIMARY KEY (seq, key, n);

ALTER TABLE ONLY towpath.gate
    ADD CONSTRAINT gate_pkey PRIMARY KEY (queue);

ALTER TABLE ONLY towpath.message
    ADD CONSTRAINT message_pkey PRIMARY KEY (seq, topic, n);

ALTER TABLE ONLY towpath.migration
    ADD CONSTRAINT migration_pkey PRIMARY KEY (number);

ALTER TABLE ONLY towpath.operator
    ADD CONSTRAINT operator_pkey PRIMARY KEY (lease);

ALTER TABLE ONLY towpath.parked
    ADD CONSTRAINT parked_pkey PRIMARY KEY (seq);

ALTER TABLE ONLY towpath.queue
    ADD CONSTRAINT queue_pkey PRIMARY KEY (name);

ALTER TABLE ONLY towpath.ready
    ADD CONSTRAINT ready_pkey PRIMARY KEY (seq);

ALTER TABLE ONLY towpath.result
    ADD CONSTRAINT result_pkey PRIMARY KEY (seq);

ALTER TABLE ONLY towpath.retention
    ADD CONSTRAINT retention_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY towpath.running
    ADD CONSTRAINT running_pkey PRIMARY KEY (seq);

ALTER TABLE ONLY towpath.schedule_declaration
    ADD CONSTRAINT schedule_declaration_pkey PRIMARY KEY (worker, schedule);

ALTER TABLE ONLY towpath.schedule
    ADD CONSTRAINT schedule_pkey PRIMARY KEY (name);

ALTER TABLE ONLY towpath.schema_version
    ADD CONSTRAINT schema_version_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY towpath.sent
    ADD CONSTRAINT sent_pkey PRIMARY KEY (seq, key);

ALTER TABLE ONLY towpath.sleeper
    ADD CONSTRAINT sleeper_pkey PRIMARY KEY (queue, listener);

ALTER TABLE ONLY towpath.start
    ADD CONSTRAINT start_pkey PRIMARY KEY (queue, key, n);

ALTER TABLE ONLY towpath.step
    ADD CONSTRAINT step_pkey PRIMARY KEY (seq, "position");

ALTER TABLE ONLY towpath.stream
    ADD CONSTRAINT stream_pkey PRIMARY KEY (seq, key, n);

ALTER TABLE ONLY towpath.ticket
    ADD CONSTRAINT ticket_pkey PRIMARY KEY (queue, key);

ALTER TABLE ONLY towpath.version
    ADD CONSTRAINT version_pkey PRIMARY KEY (name);

ALTER TABLE ONLY towpath.wait
    ADD CONSTRAINT wait_pkey PRIMARY KEY (seq, "position");

ALTER TABLE ONLY towpath.wake
    ADD CONSTRAINT wake_pkey PRIMARY KEY (queue, rank, n);

ALTER TABLE ONLY towpath.worker
    ADD CONSTRAINT worker_pkey PRIMARY KEY (id);

ALTER TABLE ONLY towpath.workflow
    ADD CONSTRAINT workflow_pkey PRIMARY KEY (seq);

CREATE INDEX awake_line ON towpath.awake USING btree (queue, name, version, n);

CREATE INDEX deadline_due ON towpath.deadline USING btree (due);

CREATE INDEX debounce_latest ON towpath.debounce USING btree (latest);

CREATE INDEX parked_due ON towpath.parked USING btree (queue, due);

CREATE INDEX ready_line ON towpath.ready USING btree (queue, name, version, rank, line) WHERE (key IS NULL);

CREATE INDEX ready_partition ON towpath.ready USING btree (queue, key, rank, line) WHERE (key IS NOT NULL);

CREATE INDEX result_failed ON towpath.result USING btree (status, seq) WHERE (status <> 'SUCCESS'::text);

CREATE INDEX running_fenced ON towpath.running USING btree (worker) WHERE fenced;

CREATE INDEX running_partition ON towpath.running USING btree (queue, key) WHERE (key IS NOT NULL);

CREATE INDEX running_place ON towpath.running USING btree (queue, worker);

CREATE INDEX schedule_declaration_schedule ON towpath.schedule_declaration USING btree (schedule);

CREATE INDEX start_time ON towpath.start USING btree (queue, key, at, n);

CREATE INDEX ticket_turn ON towpath.ticket USING btree (queue, name, version, rank, turn, key);

CREATE UNIQUE INDEX version_current ON towpath.version USING btree (current) WHERE current;

CREATE INDEX wait_due ON towpath.wait USING btree (queue, due) WHERE (asleep AND (due IS NOT NULL));

CREATE INDEX wait_target ON towpath.wait USING btree (target, kind, topic) WHERE (target <> 0);

CREATE UNIQUE INDEX workflow_chosen_id ON towpath.workflow USING btree (id) WHERE (id IS NOT NULL);

CREATE INDEX workflow_forked_from ON towpath.workflow USING btree (forked_from) WHERE (forked_from IS NOT NULL);

CREATE INDEX workflow_parent ON towpath.workflow USING btree (parent) WHERE (parent IS NOT NULL);

CREATE TRIGGER tell_for_older AFTER INSERT ON towpath.result FOR EACH ROW WHEN ((new.version IS NULL)) EXECUTE FUNCTION towpath.tell_for_older();

ALTER TABLE ONLY towpath.gate
    ADD CONSTRAINT gate_queue_fkey FOREIGN KEY (queue) REFERENCES towpath.queue(name) ON DELETE CASCADE;

ALTER TABLE ONLY towpath.schedule_declaration
    ADD CONSTRAINT schedule_declaration_schedule_fkey FOREIGN KEY (schedule) REFERENCES towpath.schedule(name) ON DELETE CASCADE;

ALTER TABLE ONLY towpath.schedule_declaration
    ADD CONSTRAINT schedule_declaration_worker_fkey FOREIGN KEY (worker) REFERENCES towpath.worker(id) ON DELETE CASCADE;
