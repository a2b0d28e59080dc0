"""What the Databases port knows and does of a schema itself, on a real Postgres."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.fixtures.logins import with_login
from tests.operator.test_postgres_adapter import declared, execute, migrated, run, target_of
from towpath.domain.queue import QueueSettings, Retention
from towpath.store.grants import worker_rights
from towpath.store.migrate import Migration, migrations
from towpath.store.schema_lock import hold_schema
from towpath_operator.adapters import postgres_migrate, postgres_schema
from towpath_operator.adapters.postgres import PostgresDatabases
from towpath_operator.model.conditions import Reason
from towpath_operator.plan.observed import DatabaseState, DatabaseTarget
from towpath_operator.plan.schema_facts import APPLIED, WorkerRights
from towpath_operator.ports.database import DatabaseError

WEEK = timedelta(days=7)


async def state_of(opened: PostgresDatabases, target: DatabaseTarget) -> DatabaseState:
    """Look, and return the state."""
    return (await opened.look(target, cluster="here", queue_names=["mail"])).state


@pytest.fixture
def comparisons(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the roles whose rights were compared with what is listed, in order."""
    seen: list[str] = []

    async def noting(connection: psycopg.AsyncConnection[Any], schema: str, role: str) -> Any:
        seen.append(role)
        return await worker_rights(connection, schema, role)

    monkeypatch.setattr(postgres_schema, "worker_rights", noting)
    return seen


def test_rights_are_compared_again_only_when_somebodys_have_changed(
    database_url: str, login: str, comparisons: list[str]
) -> None:
    """Missing, granted, taken by a hand, granted again; at rest nothing is asked."""
    target = replace(target_of(database_url), worker_role=login)

    async def scenario(opened: PostgresDatabases) -> None:
        rights = (await state_of(opened, target)).schema.rights
        assert rights is not None
        assert "INSERT on queue" in rights.missing
        for taken in (
            "INSERT ON towpath.queue",
            "UPDATE (next_round) ON towpath.retention",
            "USAGE ON SCHEMA towpath",
            "EXECUTE ON FUNCTION towpath.clock()",
        ):
            await opened.grant(target)
            assert (await state_of(opened, target)).schema.rights == WorkerRights()
            execute(database_url, f'REVOKE {taken} FROM PUBLIC, "{login}"')
            rights = (await state_of(opened, target)).schema.rights
            assert rights is not None
            assert len(rights.missing) == 1
        await opened.grant(target)
        await state_of(opened, target)
        before = len(comparisons)
        for _ in range(3):
            assert (await state_of(opened, target)).schema.rights == WorkerRights()
        assert len(comparisons) == before

    run(scenario)


def test_a_login_that_does_not_exist_is_seen_once_it_is_made(
    database_url: str, new_login: Callable[[], str]
) -> None:
    """To grant it anything is refused in words until then."""
    role = new_login()
    target = replace(target_of(database_url), worker_role="nobody yet")

    async def scenario(opened: PostgresDatabases) -> None:
        assert (await state_of(opened, target)).schema.rights == WorkerRights(exists=False)
        with pytest.raises(DatabaseError, match="CREATE ROLE") as refused:
            await opened.grant(target)
        assert refused.value.blocked.reason is Reason.CREDENTIALS_REJECTED
        execute(database_url, f'ALTER ROLE "{role}" RENAME TO "nobody yet"')
        rights = (await state_of(opened, target)).schema.rights
        assert rights is not None
        assert rights.exists

    run(scenario)


def test_an_operator_that_does_not_own_the_schema_works_and_says_who_has_to_grant(
    database_url: str, login: str, new_login: Callable[[], str]
) -> None:
    """With rights on the tables it does the rest; it may pass none of them on."""
    mine = new_login()
    execute(
        database_url,
        f'GRANT USAGE ON SCHEMA towpath TO "{mine}";'
        f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA towpath TO "{mine}"',
    )
    target = replace(target_of(with_login(database_url, mine)), worker_role=login)

    async def scenario(opened: PostgresDatabases) -> None:
        assert (await declared(opened, target, QueueSettings(concurrency=2))).owner is not None
        await opened.set_retention(target, Retention(WEEK, WEEK))
        await opened.ask_for_notify(target, ["mail"], no_longer=[])
        assert (await state_of(opened, target)).schema.retention == Retention(WEEK, WEEK)
        with pytest.raises(DatabaseError, match="towpath db grants --schema towpath --role") as one:
            await opened.grant(target)
        assert one.value.blocked.reason is Reason.CREDENTIALS_REJECTED

    run(scenario)


def test_the_default_retention_is_read_and_written(database_url: str) -> None:
    """As the command line writes it."""
    target = target_of(database_url)

    async def scenario(opened: PostgresDatabases) -> None:
        assert (await state_of(opened, target)).schema.retention == Retention()
        await opened.set_retention(target, Retention(WEEK, None))
        assert (await state_of(opened, target)).schema.retention == Retention(WEEK, None)

    run(scenario)


def test_a_long_migration_holds_up_no_call_and_is_told_until_it_is_done(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call returns, looks go on and say so, a second call begins no other one."""
    monkeypatch.setattr(postgres_migrate, "PROMPT_SECONDS", 0.1)
    target = target_of(empty_database_url)

    async def scenario(opened: PostgresDatabases) -> None:
        async with await psycopg.AsyncConnection.connect(empty_database_url) as other:
            await hold_schema(other, "towpath")
            await opened.migrate(target)
            await opened.migrate(target)
            state = await state_of(opened, target)
            assert (state.schema_version, state.schema.migrating) == (None, True)
            assert state.schema.pre.state == "Pending"
            await other.rollback()
        await migrated(opened, target)
        assert (await state_of(opened, target)).migrated
        facts = (await state_of(opened, target)).schema
        assert (facts.pre, facts.post, facts.failure) == (APPLIED, APPLIED, None)

    run(scenario)


def test_a_migration_that_fails_is_told_by_the_call_and_by_later_looks(database_url: str) -> None:
    """Until one succeeds."""
    target = target_of(database_url)
    execute(database_url, "UPDATE towpath.schema_version SET version = 2")
    execute(
        database_url, "UPDATE towpath.migration SET checksum = 'x' || checksum WHERE number = 1"
    )

    async def scenario(opened: PostgresDatabases) -> None:
        with pytest.raises(DatabaseError, match="another text"):
            await opened.migrate(target)
        failure = (await state_of(opened, target)).schema.failure
        assert failure is not None
        assert "another text" in failure[1]
        execute(database_url, "UPDATE towpath.migration SET checksum = ltrim(checksum, 'x')")
        await opened.migrate(target)
        assert (await state_of(opened, target)).schema.failure is None

    run(scenario)


def test_a_post_phase_is_told_with_the_pools_that_it_waits_for(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without numbers, which would be news at every restart of a pod; it is asked until it is applied."""
    take = Migration(90, "post", "take", "-- since 0.4.0\nSELECT 1;\n")
    known = (*migrations(), take)
    monkeypatch.setattr("towpath.store.migrate.migrations", lambda: known)
    execute(
        database_url,
        "INSERT INTO towpath.worker (name, pool, library, queues, names, max_recoveries, slots,"
        " started_at, lease_until) SELECT 'w', 'shop/mail', '0.3.9', '{}', '{}', '{}', 1, now(),"
        " now() + interval '1 h' FROM generate_series(1, 3)",
    )
    target = target_of(database_url)

    async def scenario(opened: PostgresDatabases) -> None:
        state = await state_of(opened, target)
        assert state.migrated
        assert state.schema.post.state == "Waits"
        assert state.schema.post.message == (
            "0090_post_take waits until the older workers of pool shop/mail (towpath 0.3.9) are gone"
        )
        await opened.migrate(target)
        assert (await state_of(opened, target)).schema.post.state == "Waits"
        execute(database_url, "DELETE FROM towpath.worker")
        assert (await state_of(opened, target)).schema.post.state == "Pending"
        await opened.migrate(target)
        assert (await state_of(opened, target)).schema.post == APPLIED

    run(scenario)
