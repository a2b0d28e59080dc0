-- Moves the clock, never back (the first time from real time to a standstill), and has every process look again at what it waits for.
WITH moved AS (
    UPDATE {schema}.test_clock SET reads = greatest(reads, %(to)s::timestamptz)
    RETURNING reads
), kept AS (
    -- whoever waits outside of workflows waits in real time
    UPDATE {schema}.wait w SET due = m.reads + interval '1 minute' FROM moved m WHERE w.seq = 0
), told AS (
    SELECT pg_notify({waits}, 'clock,0,')
    UNION ALL
    SELECT pg_notify({channel}, q.name || ',due') FROM {schema}.queue q
)
SELECT m.reads, (SELECT count(*) FROM told) FROM moved m
