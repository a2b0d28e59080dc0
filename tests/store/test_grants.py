"""The least that workers need: enough for every statement, no right that nothing uses, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from importlib import resources

import psycopg
import pytest

from tests.fixtures.logins import granted, with_login
from towpath.domain.errors import GrantRefusedError, RoleNotFoundError, SchemaMissingError
from towpath.store import grants
from towpath.store.connect import Endpoint, check_schema
from towpath.store.migrate import Migration, migrate, migrations
from towpath.store.statements import Statements, statement_names

OPERATORS = {"delete_queue", "lead", "promote_version", "set_default_retention"}
"""What people and the operator do, by the login that owns the schema."""

INSIDE_FUNCTIONS = {"lead", "promote_version"}
"""Those of them that Postgres refuses once it runs the function that they call."""


def rights(url: str, role: str) -> grants.Rights | None:
    """Compare a login's rights with what workers need."""

    async def look() -> grants.Rights | None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            return await grants.worker_rights(connection, "towpath", role)

    return asyncio.run(look())


def migrated(url: str, *more: Migration, schema: str = "towpath") -> tuple[str, ...]:
    """Migrate, with migrations beyond today's."""

    async def run() -> tuple[str, ...]:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            return await migrate(connection, schema, known=(*migrations(), *more))

    return asyncio.run(run())


@pytest.fixture
def owners(database_url: str) -> Iterator[psycopg.Connection]:
    """Return a connection of the schema's owner."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def workers(workers_url: str) -> Iterator[psycopg.Connection]:
    """Return a connection of the workers' login."""
    with psycopg.connect(workers_url, autocommit=True) as connection:
        yield connection


FORBIDDEN = {
    "make a table in the schema": "CREATE TABLE towpath.mine ()",
    "make a function in the schema": "CREATE FUNCTION towpath.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "make a table in public": "CREATE TABLE public.mine ()",
    "make a schema": "CREATE SCHEMA mine",
    "make a role": "CREATE ROLE mine",
    "change a table": "ALTER TABLE towpath.workflow ADD COLUMN mine int",
    "change a function": "ALTER FUNCTION towpath.clock() RENAME TO mine",
    "drop a table": "DROP TABLE towpath.workflow",
    "drop the schema": "DROP SCHEMA towpath CASCADE",
    "empty a table at once": "TRUNCATE towpath.workflow",
    "hang a trigger on a table": (
        "CREATE TRIGGER mine BEFORE INSERT ON towpath.workflow FOR EACH ROW "
        "EXECUTE FUNCTION towpath.tell_for_older()"
    ),
    "change the schema's version": "UPDATE towpath.schema_version SET serves_from = 99",
    "pretend a migration": "INSERT INTO towpath.migration VALUES (999, 'pre', 'mine', '')",
    "change the default retention": "UPDATE towpath.retention SET succeeded = '1 second'",
    "make a version current": "SELECT towpath.promote('mine')",
    "see the operator's table": "SELECT * FROM towpath.operator",
    "write the operator's table": "INSERT INTO towpath.operator VALUES ('mine', 1)",
    "lead": "SELECT towpath.lead('mine', 1)",
    "delete a queue": "DELETE FROM towpath.queue",
    "see passwords": "SELECT * FROM pg_authid",
    "read a file": "SELECT pg_read_file('PG_VERSION')",
    "run a program": "COPY (SELECT 1) TO PROGRAM 'true'",
    "become its owner": "SET ROLE towpath",
    "see another schema's workflows": "SELECT * FROM other.workflow",
    "enqueue in another schema": "SELECT other.enqueue('q', 'w')",
}


def test_what_workers_may_not_do_is_refused_by_postgres(
    database_url: str, workers: psycopg.Connection
) -> None:
    """Each act is tried; Postgres refuses it, whatever our code would do."""
    migrated(database_url, schema="other")
    done = []
    for act, statement in FORBIDDEN.items():
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
            workers.execute(statement.encode())
            done.append(act)
    assert done == []


def test_workers_pass_on_none_of_their_rights(
    owners: psycopg.Connection, workers: psycopg.Connection
) -> None:
    """Postgres only warns of it."""
    workers.execute("GRANT SELECT ON towpath.workflow TO PUBLIC")
    seen = "SELECT has_table_privilege('pg_monitor', 'towpath.workflow', 'SELECT')"
    assert owners.execute(seen).fetchone() == (False,)


def test_a_workers_login_does_not_migrate(workers_url: str, empty_database_url: str) -> None:
    """It finds a schema that serves it; where there is none, or an older one, it makes none."""
    asyncio.run(check_schema(Endpoint.at(workers_url), "towpath"))
    more = Migration(99, "pre", "more", "CREATE TABLE {schema}.more (n int);")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        migrated(workers_url, more)
    elsewhere = with_login(empty_database_url, "login 1")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        migrated(elsewhere)


def test_every_statement_but_the_operators_may_be_run(workers: psycopg.Connection) -> None:
    """Postgres checks the tables that a statement names, and says so, without running it."""
    refused = {name for name in statement_names() if not allowed(workers, name)}
    assert refused == OPERATORS - INSIDE_FUNCTIONS


def allowed(connection: psycopg.Connection, name: str) -> bool:
    """Tell whether a login may use the tables of a statement."""
    text = Statements("towpath")[name].decode()
    order = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", text)))
    for number, parameter in enumerate(order, 1):
        text = text.replace(f"%({parameter})s", f"${number}")
    try:
        connection.execute(f"PREPARE {name} AS {text.replace('%%', '%')}".encode())
        found = connection.execute(
            "SELECT unnest(parameter_types)::text FROM pg_prepared_statements WHERE name = %s",
            [name],
        )
        # a limit without a number is no statement
        given = ", ".join("1" if kind == "integer" else "NULL" for (kind,) in found.fetchall())
        connection.execute(f"EXPLAIN EXECUTE {name}{f'({given})' if order else ''}".encode())
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def test_no_right_is_granted_that_nothing_uses() -> None:
    """Each one is found in a statement or a function; a row lock, or an upsert, needs UPDATE."""
    used = uses()
    assert {
        (table, right)
        for table, listed in grants.TABLES.items()
        for right in listed
        if right not in used[table]
    } == set()


VERBS = {
    "INSERT": r"INSERT INTO {0}\b",
    "DELETE": r"DELETE FROM {0}\b",
    "UPDATE": r"\bUPDATE {0}\b|\b{0}\b[^;]*(?:FOR (?:NO KEY |KEY )?(?:UPDATE|SHARE)|DO UPDATE)",
    "SELECT": r"(?:FROM|JOIN|USING|,|INTO) {0}\b",
}


def uses() -> Mapping[str, set[str]]:
    """Return which rights the statements and functions use, by table, as far as their text tells."""
    dump = resources.files("towpath.store").joinpath("schema.sql").read_text("utf-8")
    functions = re.findall(r"CREATE FUNCTION .*?(?=\nCREATE |\nCOMMENT )", dump, re.DOTALL)
    statements = (
        Statements("towpath")[name].decode() for name in statement_names() if name not in OPERATORS
    )
    texts = [t.replace('"towpath".', "").replace("towpath.", "") for t in (*functions, *statements)]
    state = "SELECT version FROM schema_version; SELECT number FROM migration"
    found: defaultdict[str, set[str]] = defaultdict(set)
    for text in (*texts, state):
        for table in grants.TABLES:
            for right, pattern in VERBS.items():
                if re.search(pattern.format(table), text):
                    found[table].add(right)
    return found


def test_functions_run_with_the_rights_of_their_caller(owners: psycopg.Connection) -> None:
    """None lends its owner's: one that did would need a search_path of its own, and a reason."""
    found = owners.execute(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'towpath'::regnamespace AND prosecdef"
    )
    assert found.fetchall() == []


def test_what_is_missing_or_too_much_is_said(
    database_url: str, owners: psycopg.Connection, login: str
) -> None:
    """Nothing yet; then all; a right that a hand took is named, and so is what goes beyond."""
    assert rights(database_url, "nobody") is None
    nothing = rights(database_url, login)
    assert nothing is not None
    assert nothing.missing[0] == "USAGE on the schema"
    assert len(nothing.missing) > 60
    asyncio.run(granted(database_url, login))
    assert rights(database_url, login) == grants.Rights()
    for taken in (
        "REVOKE INSERT ON towpath.queue",
        "REVOKE UPDATE (next_round) ON towpath.retention",
        "REVOKE USAGE ON SEQUENCE towpath.workflow_seq",
    ):
        owners.execute(f'{taken} FROM "{login}"'.encode())
    found = rights(database_url, login)
    assert found is not None
    missing = ("INSERT on queue", "USAGE on workflow_seq", "UPDATE on retention")
    assert found == grants.Rights(missing=missing)
    owners.execute(f'GRANT CREATE ON SCHEMA towpath TO "{login}"'.encode())
    asyncio.run(granted(database_url, login))
    assert rights(database_url, login) == grants.Rights()
    owners.execute(f'ALTER ROLE "{login}" CREATEROLE; GRANT towpath TO "{login}"'.encode())
    found = rights(database_url, login)
    assert found is not None
    assert found.excess == ("may make roles", "may act as towpath, who owns the schema")


def test_a_role_or_a_schema_that_is_not_there_and_a_schema_of_another_are_named(
    database_url: str, login: str, new_login: Callable[[], str]
) -> None:
    """Each with what to do."""
    with pytest.raises(RoleNotFoundError, match=r"no role 'nobody'.*CREATE ROLE"):
        asyncio.run(granted(database_url, "nobody"))
    with pytest.raises(SchemaMissingError, match="towpath db migrate"):
        asyncio.run(granted(database_url, login, "nowhere"))
    stranger = with_login(database_url, new_login())
    with pytest.raises(GrantRefusedError, match=r"towpath db grants --schema towpath --role"):
        asyncio.run(granted(stranger, login))


def test_a_migration_grants_what_it_brings_in_its_own_transaction(
    database_url: str, workers: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function that a migration replaces may use a table that it makes, from the first call on."""
    monkeypatch.setattr(grants, "TABLES", {**grants.TABLES, "more": ("SELECT",)})
    text = (
        "CREATE TABLE {schema}.more (n int);\n"
        "CREATE FUNCTION {schema}.count_more() RETURNS bigint LANGUAGE sql "
        "SET search_path = {schema} AS 'SELECT count(*) FROM more';\n"
        "REVOKE EXECUTE ON FUNCTION {schema}.count_more() FROM PUBLIC;"
    )
    assert migrated(database_url, Migration(99, "pre", "more", text)) == ("0099_pre_more",)
    assert workers.execute("SELECT towpath.count_more()").fetchone() == (0,)
