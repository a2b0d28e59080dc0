-- name: hold_schedule
-- Whoever changes a schedule waits for a firing that is under way, and the next one for the change.
SELECT s.name, s.revision, s.workflow, s.queue, s.cron, s.timezone, s.backfill, s.codec, s.args, s.paused,
    s.settled_until
FROM {schema}.schedule s WHERE s.name = %(schedule)s FOR UPDATE

-- name: declare_schedule
-- What is declared now is in force; the ticks of another cron expression begin now.
INSERT INTO {schema}.schedule AS s (name, workflow, queue, cron, timezone, backfill, codec, args, settled_until)
VALUES (%(schedule)s, %(workflow)s, %(queue)s, %(cron)s, %(timezone)s, %(backfill)s, %(codec)s, %(args)s,
    {schema}.clock())
ON CONFLICT (name) DO UPDATE SET
    revision = s.revision + 1,
    workflow = excluded.workflow,
    queue = excluded.queue,
    cron = excluded.cron,
    timezone = excluded.timezone,
    backfill = excluded.backfill,
    codec = excluded.codec,
    args = excluded.args,
    settled_until = CASE
        WHEN (s.cron, s.timezone) = (excluded.cron, excluded.timezone) THEN s.settled_until
        ELSE excluded.settled_until END,
    updated_at = {schema}.clock()
WHERE (s.workflow, s.queue, s.cron, s.timezone, s.backfill, s.codec, s.args)
    <> (excluded.workflow, excluded.queue, excluded.cron, excluded.timezone, excluded.backfill, excluded.codec,
        excluded.args)

-- name: watch_schedules
-- A worker looks after schedules from now on; one whose row is gone does not.
INSERT INTO {schema}.schedule_declaration (worker, schedule, since)
SELECT w.id, s.name, {schema}.clock()
FROM {schema}.worker w CROSS JOIN {schema}.schedule s
WHERE w.id = %(worker)s::bigint AND s.name = ANY (%(schedules)s::text[])
ORDER BY s.name
FOR KEY SHARE OF w
ON CONFLICT (worker, schedule) DO UPDATE SET since = excluded.since

-- name: look_at_schedules
-- The time, and what of the schedules a worker declares. One without a row, or that the worker's row does
-- not declare, is to be declared anew.
SELECT c.now, s.name, s.revision, s.workflow, s.queue, s.cron, s.timezone, s.backfill, s.codec, s.args,
    s.paused, s.settled_until, {schema}.watched_since(s.name), d.worker IS NOT NULL
FROM (SELECT {schema}.clock() AS now) AS c
LEFT JOIN {schema}.schedule s ON s.name = ANY (%(schedules)s::text[])
LEFT JOIN {schema}.schedule_declaration d ON d.worker = %(worker)s::bigint AND d.schedule = s.name

-- name: fire_schedule
SELECT f.item, f.outcome, f.found, f.workflow_id, f.detail
FROM {schema}.fire(
    %(schedule)s, %(worker)s::bigint, %(revision)s::bigint, %(after)s::timestamptz, %(ticks)s::timestamptz[],
    %(ids)s::text[], %(inputs)s::text[], %(secrets)s::bigint[]) AS f

-- name: backfill_schedule
-- Ticks of the past, asked for by a person: whether it is paused or declared does not matter.
SELECT e.item, e.outcome, e.found, e.workflow_id, e.detail
FROM {schema}.schedule s
CROSS JOIN LATERAL {schema}.enqueue_ticks(s, %(ids)s::text[], %(inputs)s::text[], %(secrets)s::bigint[]) AS e
WHERE s.name = %(schedule)s AND s.revision = %(revision)s::bigint

-- name: list_schedules
-- Every one, or the one that is named, with the live workers that declare it.
SELECT s.name, s.revision, s.workflow, s.queue, s.cron, s.timezone, s.backfill, s.codec, s.args, s.paused,
    s.settled_until, s.last_tick,
    ARRAY(
        SELECT w.name FROM {schema}.schedule_declaration d JOIN {schema}.worker w ON w.id = d.worker
        WHERE d.schedule = s.name AND w.lease_until > clock_timestamp()
        ORDER BY w.id),
    {schema}.clock()
FROM {schema}.schedule s
WHERE %(schedule)s::text IS NULL OR s.name = %(schedule)s
ORDER BY s.name

-- name: schedule_names
SELECT s.name FROM {schema}.schedule s ORDER BY s.name LIMIT 1000

-- name: set_schedule_paused
-- What was due while it was paused is let go; hold_schedule went before it.
UPDATE {schema}.schedule s
SET paused = %(paused)s::boolean,
    revision = s.revision + 1,
    settled_until = CASE
        WHEN %(paused)s::boolean THEN s.settled_until
        ELSE greatest(s.settled_until, {schema}.clock()) END,
    updated_at = {schema}.clock()
WHERE s.name = %(schedule)s AND s.paused <> %(paused)s::boolean

-- name: delete_schedule
-- hold_schedule went before it, so that nobody declares it at this moment.
DELETE FROM {schema}.schedule s
WHERE s.name = %(schedule)s AND {schema}.watched_since(s.name) IS NULL
RETURNING s.name
