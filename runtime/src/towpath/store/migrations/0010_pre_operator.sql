-- Version 3: which of a cluster's operators may write here.

CREATE TABLE {schema}.operator (
    lease text COLLATE "C" PRIMARY KEY CHECK (char_length(lease) BETWEEN 1 AND 512),
    epoch bigint NOT NULL
);
COMMENT ON TABLE {schema}.operator IS
    'By the Lease that operators hold in a cluster, the epoch of the last one that wrote here: an earlier one, which may have been frozen or cut off, changes nothing any more.';

CREATE FUNCTION {schema}.lead(lease text, epoch bigint) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
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
COMMENT ON FUNCTION {schema}.lead(text, bigint) IS
    'Holds the right to write until the transaction ends, as the leader of that epoch; an error, TP007, where a later one has written. The first call of an epoch ends the right of all before it, once their open transactions have ended.';

-- Rows of an older library have none.
ALTER TABLE {schema}.worker ADD COLUMN node_started_at timestamptz;
COMMENT ON COLUMN {schema}.worker.node_started_at IS
    'When the row was written, by the clock of the worker''s own node: its kubelet''s times are compared with it. started_at is the same moment by the clock of Postgres.';

UPDATE {schema}.schema_version SET version = 3;
