-- name: locate_generated
SELECT w.seq, w.secret, w.id, w.codec FROM {schema}.workflow w
WHERE w.seq = %(seq)s::bigint AND w.secret = %(secret)s::bigint AND w.id IS NULL

-- name: locate_chosen
SELECT w.seq, w.secret, w.id, w.codec FROM {schema}.workflow w WHERE w.id = %(id)s

-- name: workflow_status
-- Where workflows stand: those that are named, or a page of what a filter lets through. Seqs are their rows
-- in the order that was asked for; the texts are left out where nobody reads them.
SELECT w.seq, w.id, w.secret, w.queue, w.name, w.codec,
    CASE WHEN %(load_input)s::boolean THEN w.input END, w.created_at,
    CASE
        WHEN r.seq IS NOT NULL THEN r.status
        WHEN d.seq IS NOT NULL THEN 'DELAYED'
        WHEN p.seq IS NOT NULL AND NOT p.fenced THEN 'PENDING'
        ELSE 'ENQUEUED'
    END,
    CASE WHEN %(load_output)s::boolean THEN r.output END, r.completed_at,
    p.started_at, coalesce(r.attempt, p.attempt, y.attempt, 0), k.name,
    (SELECT {schema}.id_of(o) FROM {schema}.workflow o WHERE o.seq = w.parent),
    (SELECT {schema}.id_of(o) FROM {schema}.workflow o WHERE o.seq = w.forked_from),
    coalesce(nullif(-{schema}.fresh_rank(coalesce(y.rank, d.rank, p.rank)), 0), w.priority),
    w.key, w.deduplication_id, d.due,
    coalesce(nullif(w.version, ''), nullif(y.version, ''), p.version, r.version, ''),
    CASE WHEN r.seq IS NULL THEN (SELECT l.due FROM {schema}.deadline l WHERE l.seq = w.seq) END,
    CASE WHEN p.seq IS NOT NULL THEN (
        SELECT jsonb_agg(jsonb_build_object(
            'kind', s.kind, 'topic', s.topic, 'due', s.due,
            'of', (SELECT {schema}.id_of(o) FROM {schema}.workflow o WHERE o.seq = s.target),
            'due_seconds', extract(epoch FROM s.due - (SELECT {schema}.clock()))::float8) ORDER BY s.position)
        FROM (SELECT * FROM {schema}.wait s WHERE s.seq = w.seq ORDER BY s.position LIMIT 4) AS s) END,
    coalesce(p.worker = 0, false)
FROM unnest(coalesce(%(seqs)s::bigint[], {schema}.find_workflows(%(filter)s::jsonb, %(limit)s::integer)))
    WITH ORDINALITY AS f (seq, n)
JOIN {schema}.workflow w ON w.seq = f.seq
LEFT JOIN {schema}.result r ON r.seq = w.seq
LEFT JOIN {schema}.running p ON p.seq = w.seq
LEFT JOIN {schema}.ready y ON y.seq = w.seq
LEFT JOIN {schema}.parked d ON d.seq = w.seq
LEFT JOIN {schema}.worker k ON k.id = p.worker
ORDER BY f.n
