-- Enqueue with whatever options, and the enqueue of any SQL client.

CREATE FUNCTION {schema}.refusal(
    q {schema}.queue, priority bigint, key text, deduplication_id text, delay float8, due timestamptz
) RETURNS text[]
LANGUAGE sql STABLE  -- without a search_path of its own, it becomes part of the statement that calls it
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
COMMENT ON FUNCTION {schema}.refusal({schema}.queue, bigint, text, text, float8, timestamptz) IS
    'Why a queue refuses the options of an enqueue: the field, its value, what is allowed; null where it does not.';

CREATE FUNCTION {schema}.enqueue_items(
    new_queue text, new_name text, new_codec text, new_version text,
    inputs text[], secrets bigint[], ids text[], priorities bigint[], keys text[], deduplication_ids text[],
    delays float8[], dues timestamptz[], refuse_duplicates boolean[],
    parent_seq bigint, parent_attempt integer, parent_position text, parent_many boolean,
    always_notify boolean
) RETURNS TABLE (item integer, outcome text, found bigint, workflow_id text, detail text[])
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
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
            PERFORM pg_notify({channel}, q.name);
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
        PERFORM pg_notify({channel}, q.name) WHERE lined_count > 0;
        PERFORM pg_notify({channel}, q.name || ',due') WHERE delayed_count > 0;
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
COMMENT ON FUNCTION {schema}.enqueue_items IS
    'Enqueues workflows of one name, all or none; a row says of each whether it was created, or which one it is the same as. Where one is refused, there is one row that says why, and nothing is written.';

CREATE FUNCTION {schema}.enqueue(
    queue text, workflow text, args jsonb DEFAULT '[]', kwargs jsonb DEFAULT jsonb_build_object(),
    workflow_id text DEFAULT NULL, priority bigint DEFAULT NULL, deduplication_id text DEFAULT NULL,
    on_duplicate text DEFAULT 'raise', queue_partition_key text DEFAULT NULL,
    delay_seconds float8 DEFAULT NULL, start_at timestamptz DEFAULT NULL, app_version text DEFAULT ''
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
    SELECT * INTO done FROM enqueue_items(
        queue, workflow, 'json', coalesce(app_version, ''),
        ARRAY[json_build_object('args', args, 'kwargs', kwargs)::text], ARRAY[secret], ARRAY[workflow_id],
        ARRAY[priority], ARRAY[queue_partition_key], ARRAY[deduplication_id], ARRAY[delay_seconds],
        ARRAY[start_at], ARRAY[on_duplicate = 'raise'], NULL, NULL, NULL, false, true);
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

UPDATE {schema}.schema_version SET version = 1, serves_from = 1;
