-- What the migrations make, for reading. Written by `python -m towpath.store.dump`; do not edit.
SET check_function_bodies = false;

CREATE SCHEMA towpath;

CREATE FUNCTION towpath.cancel(targets bigint[]) RETURNS TABLE(target bigint, was text)
    LANGUAGE sql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
SELECT t.seq, withdraw(t.seq) FROM (SELECT DISTINCT g.seq FROM unnest(targets) AS g (seq) ORDER BY g.seq) AS t
$$;

COMMENT ON FUNCTION towpath.cancel(targets bigint[]) IS 'Cancels workflows in the order of their seq, so that no two calls deadlock.';

CREATE FUNCTION towpath.clock() RETURNS timestamp with time zone
    LANGUAGE sql PARALLEL SAFE
    AS $$SELECT clock_timestamp()$$;

COMMENT ON FUNCTION towpath.clock() IS 'The time of everything but leases; a test''s database may replace it.';

CREATE FUNCTION towpath.enqueue(queue text, workflow text, args jsonb DEFAULT '[]'::jsonb, kwargs jsonb DEFAULT jsonb_build_object(), workflow_id text DEFAULT NULL::text, priority bigint DEFAULT NULL::bigint, deduplication_id text DEFAULT NULL::text, on_duplicate text DEFAULT 'raise'::text, queue_partition_key text DEFAULT NULL::text, delay_seconds double precision DEFAULT NULL::double precision, start_at timestamp with time zone DEFAULT NULL::timestamp with time zone, app_version text DEFAULT ''::text) RETURNS text
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

COMMENT ON FUNCTION towpath.enqueue(queue text, workflow text, args jsonb, kwargs jsonb, workflow_id text, priority bigint, deduplication_id text, on_duplicate text, queue_partition_key text, delay_seconds double precision, start_at timestamp with time zone, app_version text) IS 'Enqueue from any language: returns the workflow''s id.';

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

CREATE FUNCTION towpath.forget(target bigint) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
    -- a resume at this moment is waited for, and one that comes later finds nothing
    PERFORM FROM workflow w WHERE w.seq = target FOR UPDATE;
    PERFORM withdraw(target);
    UPDATE running r SET resumed_line = NULL WHERE r.seq = target AND r.resumed_line IS NOT NULL;
    DELETE FROM step s WHERE s.seq = target;
    DELETE FROM result r WHERE r.seq = target;
    DELETE FROM workflow w WHERE w.seq = target;
    RETURN FOUND;
END
$$;

COMMENT ON FUNCTION towpath.forget(target bigint) IS 'Deletes a workflow with all that it recorded; code that still runs keeps its place until it ends.';

CREATE FUNCTION towpath.fresh_rank(rank bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$SELECT CASE WHEN rank < -2147483648 THEN rank + 4294967296 ELSE rank END$$;

COMMENT ON FUNCTION towpath.fresh_rank(rank bigint) IS 'The rank without the precedence of what has begun in its partition: minus the priority.';

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
    CONSTRAINT workflow_priority_check CHECK ((priority >= 1))
);

COMMENT ON COLUMN towpath.workflow.priority IS 'As it was enqueued; the one in force is in rank.';

COMMENT ON COLUMN towpath.workflow.id IS 'Only where the caller chose it; a generated id is wf-<seq>-<secret> and needs no index.';

COMMENT ON COLUMN towpath.workflow.key IS 'The partition key as it was enqueued.';

CREATE FUNCTION towpath.id_of(w towpath.workflow) RETURNS text
    LANGUAGE sql STABLE
    AS $$
SELECT coalesce(w.id, 'wf-' || w.seq || '-' || lpad(to_hex(w.secret), 16, '0'))
$$;

COMMENT ON FUNCTION towpath.id_of(w towpath.workflow) IS 'The id as its users know it, chosen or generated.';

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
        RETURNING r.seq, r.attempt, coalesce(g.recoveries, r.recoveries) AS recoveries, r.rank, r.line,
            r.fenced, r.resumed_line, r.queue, r.key, r.deduplication_id, r.started_at
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
            b.queue, w.name, w.version, b.key, CASE WHEN NOT b.fenced THEN b.deduplication_id END
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
    CONSTRAINT queue_polling_interval_check CHECK ((polling_interval > '00:00:00'::interval))
);

COMMENT ON COLUMN towpath.queue.revision IS 'Rises at every change; a claim made under another revision takes nothing.';

COMMENT ON COLUMN towpath.queue.paused IS 'Nothing starts; enqueue goes on.';

COMMENT ON COLUMN towpath.queue.closed IS 'Enqueue is refused; what waits goes on.';

COMMENT ON COLUMN towpath.queue.owner_uid IS 'The uid of the Queue object that owns the row; null: code may declare it.';

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
    place bigint;
    w workflow%ROWTYPE;
BEGIN
    SELECT * INTO w FROM workflow WHERE seq = target FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN 'gone';
    END IF;
    DELETE FROM result r
    WHERE r.seq = target AND r.status IN ('CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')
    RETURNING r.attempt INTO last_attempt;
    IF NOT FOUND THEN
        RETURN status_of(target);
    END IF;
    place := nextval('workflow_seq');
    UPDATE running r SET resumed_line = place WHERE r.seq = target;
    IF NOT FOUND THEN
        INSERT INTO ready (seq, rank, line, attempt, queue, name, version, key)
        VALUES (target, -coalesce(w.priority, 0), place, last_attempt, w.queue, w.name, w.version, w.key);
        IF w.key IS NOT NULL THEN
            INSERT INTO wake (rank, turn, queue, key) VALUES (-coalesce(w.priority, 0), clock(), w.queue, w.key);
        END IF;
        PERFORM pg_notify('towpath.towpath', w.queue);
    END IF;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION towpath.resume(target bigint) IS 'Puts a cancelled or dead-lettered workflow at the end of its queue''s line and returns null; any other is left as it is, and its status is returned; gone where there is none.';

CREATE FUNCTION towpath.room(q towpath.queue, for_worker bigint, asked bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    places bigint := asked;
BEGIN
    IF q.concurrency_global IS NOT NULL THEN
        places := least(places, q.concurrency_global
            - (SELECT count(*) FROM running r WHERE r.queue = q.name));
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

COMMENT ON FUNCTION towpath.settings(q towpath.queue) IS 'The settings of a queue as the library reads and writes them; durations in seconds.';

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

CREATE FUNCTION towpath.withdraw(target bigint) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'towpath', 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    status text;
    of_queue text;
    of_key text;
    held_id text;
    last_attempt integer;
BEGIN
    -- the row moves on while this looks: it is looked for where it goes, and again from the start
    FOR round IN 1..1000 LOOP
        status := 'DELAYED';
        DELETE FROM parked p WHERE p.seq = target
        RETURNING p.queue, p.key, p.deduplication_id, 0 INTO of_queue, of_key, held_id, last_attempt;
        EXIT WHEN FOUND;
        status := 'ENQUEUED';
        DELETE FROM ready r WHERE r.seq = target
        RETURNING r.queue, r.key, r.deduplication_id, r.attempt INTO of_queue, of_key, held_id, last_attempt;
        EXIT WHEN FOUND;
        UPDATE running r SET resumed_line = NULL WHERE r.seq = target AND r.fenced AND r.resumed_line IS NOT NULL
        RETURNING r.queue, NULL, NULL, r.attempt INTO of_queue, of_key, held_id, last_attempt;
        EXIT WHEN FOUND;
        status := 'PENDING';
        UPDATE running r SET fenced = true WHERE r.seq = target AND NOT r.fenced
        RETURNING r.queue, NULL, r.deduplication_id, r.attempt INTO of_queue, of_key, held_id, last_attempt;
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
    INSERT INTO result (seq, status, attempt, completed_at) VALUES (target, 'CANCELLED', last_attempt, clock());
    IF held_id IS NOT NULL THEN
        DELETE FROM deduplication d WHERE d.queue = of_queue AND d.id = held_id AND d.seq = target;
    END IF;
    IF of_key IS NOT NULL THEN
        INSERT INTO wake (turn, queue, key) VALUES (clock(), of_queue, of_key);
        PERFORM pg_notify('towpath.towpath', of_queue);
    END IF;
    IF status = 'PENDING' THEN
        PERFORM pg_notify('towpath.towpath', of_queue || ',cancelled');
    END IF;
    RETURN status;
END
$$;

COMMENT ON FUNCTION towpath.withdraw(target bigint) IS 'Cancels a workflow that has not ended, and returns the status that it had; null where it has ended. Running code keeps its place until it ends, and can write nothing.';

CREATE TABLE towpath.alarm (
    queue text NOT NULL COLLATE pg_catalog."C",
    due timestamp with time zone NOT NULL,
    turn timestamp with time zone NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C"
);

COMMENT ON TABLE towpath.alarm IS 'When a partition that its limiter holds back is to be looked at again.';

CREATE TABLE towpath.deduplication (
    queue text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    seq bigint NOT NULL
);

COMMENT ON TABLE towpath.deduplication IS 'Who holds a deduplication id: a workflow that is DELAYED, ENQUEUED or PENDING.';

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
    CONSTRAINT result_status_check CHECK ((status = ANY (ARRAY['SUCCESS'::text, 'ERROR'::text, 'CANCELLED'::text, 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'::text])))
);

COMMENT ON COLUMN towpath.result.output IS 'The encoded value of a SUCCESS, the recorded failure of an ERROR.';

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
    deduplication_id text COLLATE pg_catalog."C"
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE towpath.running IS 'A row is a place in its queue''s concurrency, kept from claim to end.';

COMMENT ON COLUMN towpath.running.fenced IS 'Its workflow was cancelled or deleted: the code keeps its place until it ends, and can write nothing.';

COMMENT ON COLUMN towpath.running.resumed_line IS 'The workflow was resumed while the fenced code still runs: it joins the line here when that ends.';

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

ALTER TABLE ONLY towpath.deduplication
    ADD CONSTRAINT deduplication_pkey PRIMARY KEY (queue, id);

ALTER TABLE ONLY towpath.gate
    ADD CONSTRAINT gate_pkey PRIMARY KEY (queue);

ALTER TABLE ONLY towpath.migration
    ADD CONSTRAINT migration_pkey PRIMARY KEY (number);

ALTER TABLE ONLY towpath.parked
    ADD CONSTRAINT parked_pkey PRIMARY KEY (seq);

ALTER TABLE ONLY towpath.queue
    ADD CONSTRAINT queue_pkey PRIMARY KEY (name);

ALTER TABLE ONLY towpath.ready
    ADD CONSTRAINT ready_pkey PRIMARY KEY (seq);

ALTER TABLE ONLY towpath.result
    ADD CONSTRAINT result_pkey PRIMARY KEY (seq);

ALTER TABLE ONLY towpath.running
    ADD CONSTRAINT running_pkey PRIMARY KEY (seq);

ALTER TABLE ONLY towpath.schema_version
    ADD CONSTRAINT schema_version_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY towpath.sleeper
    ADD CONSTRAINT sleeper_pkey PRIMARY KEY (queue, listener);

ALTER TABLE ONLY towpath.start
    ADD CONSTRAINT start_pkey PRIMARY KEY (queue, key, n);

ALTER TABLE ONLY towpath.step
    ADD CONSTRAINT step_pkey PRIMARY KEY (seq, "position");

ALTER TABLE ONLY towpath.ticket
    ADD CONSTRAINT ticket_pkey PRIMARY KEY (queue, key);

ALTER TABLE ONLY towpath.wake
    ADD CONSTRAINT wake_pkey PRIMARY KEY (queue, rank, n);

ALTER TABLE ONLY towpath.worker
    ADD CONSTRAINT worker_pkey PRIMARY KEY (id);

ALTER TABLE ONLY towpath.workflow
    ADD CONSTRAINT workflow_pkey PRIMARY KEY (seq);

CREATE INDEX parked_due ON towpath.parked USING btree (queue, due);

CREATE INDEX ready_line ON towpath.ready USING btree (queue, name, version, rank, line) WHERE (key IS NULL);

CREATE INDEX ready_partition ON towpath.ready USING btree (queue, key, rank, line) WHERE (key IS NOT NULL);

CREATE INDEX running_fenced ON towpath.running USING btree (worker) WHERE fenced;

CREATE INDEX running_partition ON towpath.running USING btree (queue, key) WHERE (key IS NOT NULL);

CREATE INDEX running_place ON towpath.running USING btree (queue, worker);

CREATE INDEX start_time ON towpath.start USING btree (queue, key, at, n);

CREATE INDEX ticket_turn ON towpath.ticket USING btree (queue, name, version, rank, turn, key);

CREATE UNIQUE INDEX workflow_chosen_id ON towpath.workflow USING btree (id) WHERE (id IS NOT NULL);

ALTER TABLE ONLY towpath.gate
    ADD CONSTRAINT gate_queue_fkey FOREIGN KEY (queue) REFERENCES towpath.queue(name) ON DELETE CASCADE;
