"""Plans a database's schema: its migrations, the rights of the workers' login, its retention."""

from __future__ import annotations

from typing import Any, Final

from towpath.domain.queue import Retention
from towpath_operator.model.conditions import Reason
from towpath_operator.model.database import QueueDatabase
from towpath_operator.plan.actions import (
    Action,
    GrantWorkers,
    MigrateSchema,
    SetDefaultRetention,
)
from towpath_operator.plan.observed import Blocked, DatabaseState, DatabaseTarget
from towpath_operator.plan.schema_facts import SchemaFacts
from towpath_operator.plan.status import Verdict, no, yes

_NAMED: Final = 3
"""How many rights a message names."""


def schema_pending(target: DatabaseTarget, state: DatabaseState) -> Blocked:
    """Say that the schema is still to be migrated, and by whom."""
    found = "is not there" if state.schema_version is None else f"has {state.schema_version}"
    needed = (
        f"Schema {target.schema} of QueueDatabase {target.key} {found}, wanted is version "
        f"{state.needed_version}"
    )
    if target.migration == "Manual":
        return Blocked(
            reason=Reason.SCHEMA_PENDING,
            message=f"{needed}. spec.migration is Manual: as a login that owns the schema, run "
            f"towpath db migrate --schema {target.schema}; it is noticed within seconds.",
        )
    if state.schema.failure is not None:
        reason, why = state.schema.failure
        return Blocked(reason=reason, message=f"{needed}. {why} The migration is tried again.")
    return Blocked(reason=Reason.SCHEMA_PENDING, message=f"{needed}; it is being migrated.")


def schema_migrations(target: DatabaseTarget, state: DatabaseState) -> list[Action]:
    """Migrate what may be migrated now, unless a person does it or it is under way."""
    due = not state.migrated or "Pending" in (state.schema.pre.state, state.schema.post.state)
    if target.migration == "Manual" or state.schema.migrating or not due:
        return []
    return [MigrateSchema(target=target)]


def schema_repairs(
    database: QueueDatabase, target: DatabaseTarget, facts: SchemaFacts
) -> list[Action]:
    """Grant what the workers' login misses, and put back the retention that is declared."""
    actions: list[Action] = []
    if facts.rights is not None and facts.rights.exists and facts.rights.missing:
        actions.append(GrantWorkers(target=target))
    wanted = _retention(database, facts.retention)
    if wanted != facts.retention and wanted is not None:
        actions.append(SetDefaultRetention(target=target, retention=wanted))
    return actions


def _retention(database: QueueDatabase, found: Retention | None) -> Retention | None:
    """Return what the database is to say: what is declared, beside what is decided elsewhere."""
    declared = database.spec.retention
    if declared is None or found is None:
        return found
    wanted = declared.settings
    return Retention(
        succeeded=found.succeeded if wanted.succeeded is None else wanted.succeeded,
        failed=found.failed if wanted.failed is None else wanted.failed,
    )


def schema_verdict(target: DatabaseTarget, state: DatabaseState) -> Verdict:
    """Say whether a migrated schema is in force: workers need a login that exists, and its rights."""
    rights = state.schema.rights
    if rights is not None and not rights.exists:
        return no(
            Blocked(
                reason=Reason.CREDENTIALS_REJECTED,
                message=f"Postgres has no role {target.worker_role}, by which the workers are to log "
                "in. Have it made by whoever administers the server: CREATE ROLE ... LOGIN PASSWORD "
                "..., as the Secret of workerCredentialsSecretRef says.",
            )
        )
    if state.workers_refused is not None:
        return no(
            Blocked(
                reason=state.workers_refused.reason,
                message=f"To the workers: {state.workers_refused.message}",
            )
        )
    if rights is not None and rights.missing:
        return no(
            Blocked(
                reason=Reason.SCHEMA_PENDING,
                message=f"{target.worker_role} has not yet {_listed(rights.missing)}; it is being "
                "granted.",
            )
        )
    said = f"Schema {target.schema} is at version {state.schema_version}."
    for phase in (state.schema.pre, state.schema.post):
        if phase.state == "Waits":
            said += f" {phase.message}."
        elif phase.state == "Pending" and target.migration == "Manual":
            said += f" {phase.message}: towpath db migrate --schema {target.schema}."
    return yes(Reason.IN_FORCE, said)


def least_privilege(target: DatabaseTarget, facts: SchemaFacts) -> Verdict:
    """Say whether the pods' login may do no more than workers need."""
    if target.worker_role is None:
        return no(
            Blocked(
                reason=Reason.SHARED_LOGIN,
                message="The pods use the operator's login, which may change and drop the schema. "
                "Name a login of their own in workerCredentialsSecretRef.",
            )
        )
    if facts.rights is not None and facts.rights.excess:
        return no(
            Blocked(
                reason=Reason.MORE_THAN_NEEDED,
                message=f"The pods log in as {target.worker_role}, which {_listed(facts.rights.excess)}. "
                "Take that from it, or name another login.",
            )
        )
    message = f"The pods log in as {target.worker_role}, not as the operator does."
    return yes(Reason.OWN_LOGIN, message)


def schema_status(database: QueueDatabase, state: DatabaseState | None) -> dict[str, Any] | None:
    """Return `status.schema`.

    What is not known now is not forgotten: the last version stays while the server is away.
    """
    said: dict[str, Any] = dict(database.status.get("schema") or {})
    if state is not None:
        said["target"] = state.needed_version
        if state.schema_version is not None:
            said["version"] = state.schema_version
        if state.problem is None:
            said |= {
                "pre": state.schema.pre.to_status(),
                "post": state.schema.post.to_status(),
            }
    return said or None


def _listed(words: tuple[str, ...]) -> str:
    named = ", ".join(words[:_NAMED])
    left = len(words) - _NAMED
    return named if left <= 0 else f"{named} and {left} more"
