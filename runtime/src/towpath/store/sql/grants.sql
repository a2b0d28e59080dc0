-- What logins may do in the schema; `store/grants.py` lists what they should.

-- name: worker_logins
-- Whoever was granted to register workers, beside the schema's owner.
SELECT r.rolname
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN aclexplode(c.relacl) AS a
JOIN pg_roles r ON r.oid = a.grantee
WHERE n.nspname = %(schema)s AND c.relname = 'worker' AND a.privilege_type = 'INSERT' AND a.grantee <> c.relowner
ORDER BY r.rolname

-- name: worker_rights
-- What a login may not do of what is listed, and what it may do beyond; no row where there is no such login.
SELECT
    ARRAY(
        SELECT 'USAGE on the schema' WHERE NOT has_schema_privilege(r.oid, n.oid, 'USAGE')
        UNION ALL
        SELECT 'EXECUTE on ' || min(p.proname) FROM pg_proc p
        WHERE p.pronamespace = n.oid AND NOT has_function_privilege(r.oid, p.oid, 'EXECUTE')
        HAVING count(*) > 0
        UNION ALL
        SELECT format('%%s on %%s', g.privilege, g.object)
        FROM unnest(%(objects)s::text[], %(columns)s::text[], %(privileges)s::text[])
            WITH ORDINALITY AS g (object, col, privilege, place)
        JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = g.object
        WHERE NOT CASE
            WHEN c.relkind = 'S' THEN has_sequence_privilege(r.oid, c.oid, g.privilege)
            WHEN g.col IS NULL THEN has_table_privilege(r.oid, c.oid, g.privilege)
            ELSE has_column_privilege(r.oid, c.oid, g.col, g.privilege)
        END),
    ARRAY(
        SELECT 'is a superuser' WHERE r.rolsuper
        UNION ALL
        SELECT 'may make roles' WHERE r.rolcreaterole AND NOT r.rolsuper
        UNION ALL
        SELECT 'may act as ' || o.rolname || ', who owns the schema' FROM pg_roles o
        WHERE o.oid = n.nspowner AND NOT r.rolsuper AND pg_has_role(r.oid, o.oid, 'MEMBER')
        UNION ALL
        SELECT 'may create in the schema'
        WHERE has_schema_privilege(r.oid, n.oid, 'CREATE')
          AND NOT r.rolsuper AND NOT pg_has_role(r.oid, n.nspowner, 'MEMBER'))
FROM pg_roles r JOIN pg_namespace n ON n.nspname = %(schema)s
WHERE r.rolname = %(role)s
