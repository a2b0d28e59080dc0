-- Version 2: application versions; with this file the schema has all of version 2.

CREATE TABLE {schema}.version (
    name text COLLATE "C" PRIMARY KEY CHECK (char_length(name) BETWEEN 1 AND 255),
    current boolean NOT NULL DEFAULT false,
    promoted_at timestamptz
);
COMMENT ON TABLE {schema}.version IS
    'Application versions that somebody has promoted; the current one begins what was enqueued without a version.';
CREATE UNIQUE INDEX version_current ON {schema}.version (current) WHERE current;

CREATE FUNCTION {schema}.promote(version text) RETURNS boolean
LANGUAGE plpgsql SET search_path = {schema}, pg_catalog, pg_temp
AS $$
DECLARE
    changed boolean;
BEGIN
    IF char_length(version) NOT BETWEEN 1 AND 255 OR version IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'TP003', MESSAGE = 'a version has 1 to 255 characters.';
    END IF;
    LOCK TABLE version IN SHARE ROW EXCLUSIVE MODE; -- two promotions go one after the other; nobody else waits
    UPDATE version v SET current = false WHERE v.current AND v.name <> promote.version;
    INSERT INTO version AS v (name, current, promoted_at) VALUES (promote.version, true, clock())
    ON CONFLICT (name) DO UPDATE SET current = true, promoted_at = excluded.promoted_at WHERE NOT v.current;
    changed := FOUND;
    IF changed THEN
        PERFORM pg_notify({channel}, '_towpath,version');
    END IF;
    RETURN changed;
END
$$;
COMMENT ON FUNCTION {schema}.promote(text) IS
    'Makes a version the current one, which begins what was enqueued without a version; false where it is already. Every worker is told at commit.';

UPDATE {schema}.schema_version SET version = 2;
