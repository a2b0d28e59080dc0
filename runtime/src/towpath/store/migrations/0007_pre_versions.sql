-- Version 2: application versions; with this file the schema has all of version 2.

UPDATE {schema}.schema_version SET version = 2;
