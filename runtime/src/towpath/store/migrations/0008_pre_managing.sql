-- Version 2: looking for workflows, retry, fork, cancelling with children, retention.

CREATE INDEX workflow_forked_from ON {schema}.workflow (forked_from) WHERE forked_from IS NOT NULL;
-- what succeeds, which is nearly all, is not in it: a completion pays nothing
CREATE INDEX result_failed ON {schema}.result (status, seq) WHERE status <> 'SUCCESS';

CREATE FUNCTION {schema}.seq_at(moment timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE STRICT SET search_path = {schema}, pg_catalog, pg_temp
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
COMMENT ON FUNCTION {schema}.seq_at(timestamptz) IS
    'The first seq that was given at that moment or later, by bisection. Seqs and times rise together but for what was enqueued at once: who searches by it allows for some minutes.';

CREATE FUNCTION {schema}.seqs_of(workflow_ids text[]) RETURNS bigint[]
LANGUAGE sql STABLE STRICT SET search_path = {schema}, pg_catalog, pg_temp
AS $$
SELECT ARRAY(SELECT seq_of(i.id) FROM unnest(workflow_ids) AS i (id))
$$;
COMMENT ON FUNCTION {schema}.seqs_of(text[]) IS 'The rows of workflows by their ids; null for each that is not there.';

CREATE FUNCTION {schema}.find_workflows(filter jsonb, at_most integer) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = {schema}, pg_catalog, pg_temp
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
COMMENT ON FUNCTION {schema}.find_workflows(jsonb, integer) IS
    'One page of the workflows that a filter (the library''s, as JSON) lets through, in the order of their seqs. Planned for each filter: a status is read from its own table, and what an index finds is found by it.';

CREATE FUNCTION {schema}.hold(target bigint) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
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
COMMENT ON FUNCTION {schema}.hold(bigint) IS
    'Locks a workflow where it stands: nobody moves it, and a step or a child that it is just writing is waited for, and is seen by the next statement. A fence alone lets those pass that began to write before it was committed.';

CREATE FUNCTION {schema}.cancel_with_children(target bigint) RETURNS TABLE (seq bigint, was text)
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
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
COMMENT ON FUNCTION {schema}.cancel_with_children(bigint) IS
    'Cancels a workflow and all that it has started, and they have, in the order of their seqs; the status that each had, null where it had ended. Nothing where the workflow itself has succeeded or failed.';

CREATE FUNCTION {schema}.retry(targets bigint[], attempts integer[], failed_seqs bigint[], failed_positions text[])
RETURNS TABLE (target bigint, status text)
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
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
COMMENT ON FUNCTION {schema}.retry(bigint[], integer[], bigint[], text[]) IS
    'Puts failed workflows at the end of their queues'' lines, without the records of the steps that failed them; the status null. One that is not as it was when those were found is left as it is, and its status is returned.';

CREATE FUNCTION {schema}.first_number(place text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS 'SELECT substring(place from ''^[0-9]+'')::integer';
COMMENT ON FUNCTION {schema}.first_number(text) IS 'Of a position, the number in the workflow''s own task: 3 of 3.1; null of none.';

CREATE FUNCTION {schema}.fork(
    source bigint, from_number integer, new_queue text, new_version text, new_id text, new_secret bigint
) RETURNS TABLE (item integer, outcome text, found bigint, workflow_id text, detail text[])
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
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
COMMENT ON FUNCTION {schema}.fork(bigint, integer, text, text, text, bigint) IS
    'Enqueues a workflow with the input of another and all that this one recorded before a position, but no timeout; as enqueue_items says what came of it, or that the other is gone.';

CREATE FUNCTION {schema}.erase(targets bigint[]) RETURNS void
LANGUAGE sql SET search_path = {schema}, pg_catalog, pg_temp
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
COMMENT ON FUNCTION {schema}.erase(bigint[]) IS
    'Deletes workflows that have ended with all that they recorded. The caller has locked their rows.';

CREATE OR REPLACE FUNCTION {schema}.forget(target bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
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

ALTER TABLE {schema}.queue
    ADD COLUMN retention_succeeded interval CHECK (retention_succeeded > interval '0'),
    ADD COLUMN retention_failed interval CHECK (retention_failed > interval '0');
COMMENT ON COLUMN {schema}.queue.retention_succeeded IS
    'How long its workflows are kept after their SUCCESS; null: as the database''s default says.';
COMMENT ON COLUMN {schema}.queue.retention_failed IS 'The same after any other end.';

CREATE OR REPLACE FUNCTION {schema}.settings(q {schema}.queue) RETURNS jsonb
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

CREATE TABLE {schema}.retention (
    succeeded interval CHECK (succeeded > interval '0'),
    failed interval CHECK (failed > interval '0'),
    round_began timestamptz,
    next_round timestamptz NOT NULL DEFAULT '-infinity',
    looked_until bigint NOT NULL DEFAULT 0,
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row)
);
COMMENT ON TABLE {schema}.retention IS
    'How long ended workflows are kept where their queue does not say; null is for ever. And where the round that deletes the others stands.';
COMMENT ON COLUMN {schema}.retention.looked_until IS 'The last seq that this round has looked at.';
INSERT INTO {schema}.retention DEFAULT VALUES;

CREATE FUNCTION {schema}.delete_kept_long_enough(at_most integer) RETURNS TABLE (looked_at bigint, deleted bigint)
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
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
COMMENT ON FUNCTION {schema}.delete_kept_long_enough(integer) IS
    'Looks at so many ended workflows, oldest first, and deletes those whose retention is over, unless a parent that has not ended may still ask for them. One caller at a time; the others, and everybody between two rounds, look at none.';
