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
