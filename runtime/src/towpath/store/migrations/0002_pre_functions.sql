-- The functions of the schema: what several statements share, and what any SQL client may call.
--
-- Each sets its own search_path, so that a caller's cannot turn its names to other tables.

CREATE FUNCTION {schema}.fresh_rank(rank bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS 'SELECT CASE WHEN rank < -2147483648 THEN rank + 4294967296 ELSE rank END';
COMMENT ON FUNCTION {schema}.fresh_rank(bigint) IS
    'The rank without the precedence of what has begun in its partition: minus the priority.';

CREATE FUNCTION {schema}.id_of(w {schema}.workflow) RETURNS text
LANGUAGE sql STABLE
AS $$
SELECT coalesce(w.id, 'wf-' || w.seq || '-' || lpad(to_hex(w.secret), 16, '0'))
$$;
COMMENT ON FUNCTION {schema}.id_of({schema}.workflow) IS 'The id as its users know it, chosen or generated.';

CREATE FUNCTION {schema}.tokens(of_queue text, of_key text, at_most integer, period interval) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = {schema}, pg_catalog, pg_temp
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
COMMENT ON FUNCTION {schema}.tokens(text, text, integer, interval) IS
    'How many starts a limiter allows now: two index probes, whatever the limit. Starts that were trimmed count as made at the oldest known.';

CREATE FUNCTION {schema}.opens_at(of_queue text, of_key text, at_most integer, period interval)
RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = {schema}, pg_catalog, pg_temp
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
COMMENT ON FUNCTION {schema}.opens_at(text, text, integer, interval) IS
    'When the start before the last `at_most` leaves the window; null where fewer were ever made.';

CREATE FUNCTION {schema}.room(q {schema}.queue, for_worker bigint, asked bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = {schema}, pg_catalog, pg_temp
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
COMMENT ON FUNCTION {schema}.room({schema}.queue, bigint, bigint) IS
    'How many workflows a worker may take from a queue now. The caller holds the gate where the limit is shared.';

CREATE FUNCTION {schema}.line_up(given bigint[], of_attempts integer[], new_recoveries integer[]) RETURNS bigint
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
    PERFORM pg_notify({channel}, c.queue) FROM unnest(called) AS c (queue);
    RETURN returned;
END
$$;
COMMENT ON FUNCTION {schema}.line_up(bigint[], integer[], integer[]) IS
    'Takes attempts from their places. They return to their place in the line, in a partition before what has not begun; fenced ones only if they were resumed, at their new place. Null recoveries: as they were.';

CREATE FUNCTION {schema}.waiting(of_queue text) RETURNS bigint
LANGUAGE sql STABLE SET search_path = {schema}, pg_catalog, pg_temp
AS $$
SELECT least(
    (SELECT count(*) FROM (SELECT FROM ready r WHERE r.queue = of_queue AND r.key IS NULL LIMIT 10001) AS plain)
    + (SELECT count(*) FROM (SELECT FROM ready r WHERE r.queue = of_queue AND r.key IS NOT NULL LIMIT 10001) AS keyed),
    10001)
$$;
COMMENT ON FUNCTION {schema}.waiting(text) IS 'ENQUEUED workflows of a queue, counted to 10,001.';

CREATE FUNCTION {schema}.oldest_waiting(of_queue text) RETURNS bigint
LANGUAGE sql STABLE SET search_path = {schema}, pg_catalog, pg_temp
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
COMMENT ON FUNCTION {schema}.oldest_waiting(text) IS
    'The seq of the oldest at the heads of the first 100 names'' lines and the first 100 partitions, so that the backlog''s size costs nothing.';

CREATE FUNCTION {schema}.nearest_queues(asked text) RETURNS text[]
LANGUAGE sql STABLE SET search_path = {schema}, pg_catalog, pg_temp
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
COMMENT ON FUNCTION {schema}.nearest_queues(text) IS
    'Up to three names that are most like the one asked for, by the letters and pairs of letters that they share.';

CREATE FUNCTION {schema}.status_of(target bigint) RETURNS text
LANGUAGE sql STABLE SET search_path = {schema}, pg_catalog, pg_temp
AS $$
SELECT coalesce(
    (SELECT r.status FROM result r WHERE r.seq = target),
    (SELECT 'DELAYED' FROM parked p WHERE p.seq = target),
    (SELECT 'PENDING' FROM running p WHERE p.seq = target AND NOT p.fenced),
    (SELECT 'ENQUEUED' FROM workflow w WHERE w.seq = target))
$$;
COMMENT ON FUNCTION {schema}.status_of(bigint) IS 'The status of a workflow by its seq; null where there is none.';

CREATE FUNCTION {schema}.withdraw(target bigint) RETURNS text
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
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
        PERFORM pg_notify({channel}, of_queue);
    END IF;
    IF status = 'PENDING' THEN
        PERFORM pg_notify({channel}, of_queue || ',cancelled');
    END IF;
    RETURN status;
END
$$;
COMMENT ON FUNCTION {schema}.withdraw(bigint) IS
    'Cancels a workflow that has not ended, and returns the status that it had; null where it has ended. Running code keeps its place until it ends, and can write nothing.';

CREATE FUNCTION {schema}.cancel(targets bigint[]) RETURNS TABLE (target bigint, was text)
LANGUAGE sql SET search_path = {schema}, pg_catalog, pg_temp
AS $$
SELECT t.seq, withdraw(t.seq) FROM (SELECT DISTINCT g.seq FROM unnest(targets) AS g (seq) ORDER BY g.seq) AS t
$$;
COMMENT ON FUNCTION {schema}.cancel(bigint[]) IS 'Cancels workflows in the order of their seq, so that no two calls deadlock.';

CREATE FUNCTION {schema}.resume(target bigint) RETURNS text
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
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
        PERFORM pg_notify({channel}, w.queue);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION {schema}.resume(bigint) IS
    'Puts a cancelled or dead-lettered workflow at the end of its queue''s line and returns null; any other is left as it is, and its status is returned; gone where there is none.';

CREATE FUNCTION {schema}.forget(target bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
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
COMMENT ON FUNCTION {schema}.forget(bigint) IS
    'Deletes a workflow with all that it recorded; code that still runs keeps its place until it ends.';

CREATE FUNCTION {schema}.set_priority(target bigint, new_rank bigint) RETURNS text
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
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
COMMENT ON FUNCTION {schema}.set_priority(bigint, bigint) IS
    'Moves a workflow that waits to another rank and returns null; else its status.';
