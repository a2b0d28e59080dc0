-- Version 2: cron schedules and debouncing.

CREATE TABLE {schema}.schedule (
    name text COLLATE "C" PRIMARY KEY CHECK (char_length(name) BETWEEN 1 AND 200),
    revision bigint NOT NULL DEFAULT 1,
    workflow text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    cron text NOT NULL,
    timezone text NOT NULL,
    backfill boolean NOT NULL,
    codec text NOT NULL,
    args text NOT NULL,
    paused boolean NOT NULL DEFAULT false,
    settled_until timestamptz NOT NULL,
    last_tick timestamptz,
    created_at timestamptz NOT NULL DEFAULT {schema}.clock(),
    updated_at timestamptz NOT NULL DEFAULT {schema}.clock()
);
COMMENT ON TABLE {schema}.schedule IS
    'Cron schedules as code declares them. Whoever fires, pauses, changes or deletes one locks its row.';
COMMENT ON COLUMN {schema}.schedule.revision IS 'Rises at every change; what was computed under another one does not fire.';
COMMENT ON COLUMN {schema}.schedule.args IS 'The arguments after the tick, as the codec writes a call''s.';
COMMENT ON COLUMN {schema}.schedule.settled_until IS 'Every tick up to here has fired, or was let go.';
COMMENT ON COLUMN {schema}.schedule.last_tick IS 'The last one that fired.';

CREATE TABLE {schema}.schedule_declaration (
    worker bigint NOT NULL REFERENCES {schema}.worker (id) ON DELETE CASCADE,
    schedule text COLLATE "C" NOT NULL REFERENCES {schema}.schedule (name) ON DELETE CASCADE,
    since timestamptz NOT NULL,
    PRIMARY KEY (worker, schedule)
);
COMMENT ON TABLE {schema}.schedule_declaration IS
    'Which workers declare a schedule: it fires while one of them lives. The rows go with either.';
COMMENT ON COLUMN {schema}.schedule_declaration.since IS
    'The worker has looked after it from here on: an earlier tick was missed, unless another one did.';
CREATE INDEX schedule_declaration_schedule ON {schema}.schedule_declaration (schedule);

CREATE FUNCTION {schema}.watched_since(of_schedule text) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = {schema}, pg_catalog, pg_temp
AS $$
SELECT min(d.since)
FROM schedule_declaration d JOIN worker w ON w.id = d.worker
WHERE d.schedule = of_schedule AND w.lease_until > clock_timestamp()
$$;
COMMENT ON FUNCTION {schema}.watched_since(text) IS
    'Since when live workers have declared a schedule without a gap; null where none does.';

CREATE FUNCTION {schema}.enqueue_ticks(s {schema}.schedule, ids text[], inputs text[], secrets bigint[])
RETURNS TABLE (item integer, outcome text, found bigint, workflow_id text, detail text[])
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
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
COMMENT ON FUNCTION {schema}.enqueue_ticks({schema}.schedule, text[], text[], bigint[]) IS
    'Enqueues the workflow of ticks, each by itself; a tick whose id is taken has fired before.';

CREATE FUNCTION {schema}.fire(
    of_schedule text, by_worker bigint, at_revision bigint, after timestamptz,
    ticks timestamptz[], ids text[], inputs text[], secrets bigint[]
) RETURNS TABLE (item integer, outcome text, found bigint, workflow_id text, detail text[])
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
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
COMMENT ON FUNCTION {schema}.fire IS
    'Fires ticks in one transaction, by a worker that declares the schedule; no row where somebody else was faster, or it was paused or changed meanwhile.';

CREATE TABLE {schema}.debounce (
    queue text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    latest timestamptz NOT NULL,
    PRIMARY KEY (queue, name, key)
);
COMMENT ON TABLE {schema}.debounce IS
    'The last workflow that was enqueued under a key: while it is DELAYED, the next call replaces what it was given.';
COMMENT ON COLUMN {schema}.debounce.latest IS 'It joins the line by then, however often it is called; after that the row is of no use.';
CREATE INDEX debounce_latest ON {schema}.debounce (latest);

CREATE FUNCTION {schema}.bounce(
    new_queue text, new_name text, new_codec text, new_version text, new_input text, new_secret bigint,
    new_priority bigint, new_key text, bounce_key text, delay float8, at_most float8,
    parent_seq bigint, parent_attempt integer, parent_position text, new_timeout float8
) RETURNS TABLE (item integer, outcome text, found bigint, workflow_id text, detail text[])
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
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
            PERFORM pg_notify({channel}, new_queue || ',due'); -- a shorter delay may have come
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
COMMENT ON FUNCTION {schema}.bounce IS
    'One DELAYED workflow a key: a call replaces the input of the one that is there and puts its start off, no later than at_most seconds after the first; where none is, it makes one.';
