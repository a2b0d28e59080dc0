"""The Databases port over another one: it reads through, and keeps to itself what is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from towpath.domain.deletion import Cleared, Clearing, Walk
from towpath.domain.queue import QueueSettings, Retention
from towpath_operator.plan.observed import DatabaseTarget, HeldBack, Owner, QueueCounts, QueueRow
from towpath_operator.plan.proof import Proof
from towpath_operator.plan.schema_facts import APPLIED, SchemaFacts
from towpath_operator.ports.cluster import ObjectKey
from towpath_operator.ports.database import Databases, Ended, Look
from towpath_operator.what_if.changes import Change, FieldChange, Verb, row_change

Place = tuple[ObjectKey, str]


class WhatIfDatabases:
    """What databases would hold; nothing is written to them (see the port)."""

    def __init__(self, below: Databases) -> None:
        self._below = below
        self._before: dict[Place, QueueRow | None] = {}
        self._now: dict[Place, QueueRow] = {}
        self._migrated: dict[ObjectKey, Change] = {}
        self._schemas: dict[ObjectKey, SchemaFacts] = {}
        self._changed: dict[str, Change] = {}
        self._seen: dict[ObjectKey, Look] = {}

    def changes(self) -> list[Change]:
        """Return what was written: schemas, then rows."""
        rows = (
            row_change(str(key), self._before[key, name], row)
            for (key, name), row in self._now.items()
        )
        schemas = (*self._migrated.values(), *self._changed.values())
        return [*schemas, *(change for change in rows if change is not None)]

    async def look(
        self, target: DatabaseTarget, *, cluster: str, queue_names: Sequence[str]
    ) -> Look:
        """Look at what the database would hold."""
        look = await self._below.look(target, cluster=cluster, queue_names=queue_names)
        self._seen[target.key] = look
        state = look.state
        if target.key in self._migrated:
            state = replace(state, schema_version=state.needed_version)
        state = replace(state, schema=self._schemas.get(target.key, state.schema))
        written = {name: row for (key, name), row in self._now.items() if key == target.key}
        return replace(look, state=state, rows={**look.rows, **written})

    async def count(
        self, target: DatabaseTarget, queue_names: Sequence[str]
    ) -> Mapping[str, QueueCounts]:
        """Count what is there."""
        if target.key in self._migrated:
            return {}
        return await self._below.count(target, queue_names)

    async def explain(
        self, target: DatabaseTarget, queue_names: Sequence[str]
    ) -> Mapping[str, HeldBack]:
        """Say nothing: it is not about what would change."""
        del target, queue_names
        return {}

    async def migrate(self, target: DatabaseTarget) -> None:
        """Let the schema be of this operator's version."""
        seen = self._seen.get(target.key)
        before = None if seen is None else seen.state.schema_version
        after = None if seen is None else seen.state.needed_version
        self._migrated[target.key] = Change(
            about=f"schema {target.schema} in {target.key}",
            verb=Verb.CREATE if before is None else Verb.CHANGE,
            fields=(FieldChange(path="version", before=before, after=after),),
        )
        self._schemas[target.key] = replace(self._facts(target), pre=APPLIED, post=APPLIED)

    async def grant(self, target: DatabaseTarget) -> None:
        """Let the workers' login have what it misses."""
        facts = self._facts(target)
        assert facts.rights is not None  # noqa: S101 - the plan was made from them
        missing = ", ".join(facts.rights.missing)
        self._change(target, f"rights of {target.worker_role}", "granted", None, missing)
        rights = replace(facts.rights, missing=())
        self._schemas[target.key] = replace(facts, rights=rights)

    async def set_retention(self, target: DatabaseTarget, retention: Retention) -> None:
        """Let ended workflows be kept for so long by default."""
        facts = self._facts(target)
        old = facts.retention or Retention()
        for end, before, after in (
            ("succeeded", old.succeeded, retention.succeeded),
            ("failed", old.failed, retention.failed),
        ):
            if before != after:
                said = (None if one is None else str(one) for one in (before, after))
                self._change(target, f"default retention, {end},", end, *said)
        self._schemas[target.key] = replace(facts, retention=retention)

    def _facts(self, target: DatabaseTarget) -> SchemaFacts:
        seen = self._seen.get(target.key)
        return self._schemas.get(target.key, SchemaFacts() if seen is None else seen.state.schema)

    def _change(
        self, target: DatabaseTarget, what: str, path: str, before: str | None, after: str | None
    ) -> None:
        about = f"{what} in schema {target.schema} of {target.key}"
        fields = (FieldChange(path=path, before=before, after=after),)
        self._changed[about] = Change(about=about, verb=Verb.CHANGE, fields=fields)

    async def declare(
        self,
        target: DatabaseTarget,
        *,
        queue_name: str,
        settings: QueueSettings,
        paused: bool | None,
        closed: bool | None,
        owner: Owner,
        replaces: str | None,
    ) -> QueueRow:
        """Let a row say what is declared, unless another owner has it."""
        old = self._row(target, queue_name)
        if old is not None and old.owner is not None and old.owner.uid not in {owner.uid, replaces}:
            return old
        row = QueueRow(
            queue_name=queue_name,
            settings=settings,
            paused=(old.paused if old else False) if paused is None else paused,
            closed=(old.closed if old else False) if closed is None else closed,
            owner=owner,
        )
        return self._keep(target, row)

    async def release(self, target: DatabaseTarget, *, queue_name: str, owner: Owner) -> None:
        """Let a row be free if it records the owner."""
        old = self._row(target, queue_name)
        if old is not None and old.owner is not None and old.owner.uid == owner.uid:
            self._keep(target, replace(old, owner=None))

    async def clear(
        self,
        target: DatabaseTarget,
        *,
        queue_name: str,
        owner: Owner,
        walk: Walk,
        cancels_running: bool,
    ) -> Cleared:
        """Delete nothing: a deletion is no part of an apply."""
        del target, queue_name, owner, cancels_running
        return Cleared(state=Clearing.WAITS, walk=walk)

    async def delete_if_empty(
        self, target: DatabaseTarget, *, queue_name: str, owner: Owner, walk: Walk, reopens: bool
    ) -> Cleared:
        """Delete nothing."""
        del target, queue_name, owner, reopens
        return Cleared(state=Clearing.WAITS, walk=walk)

    async def listen(self, target: DatabaseTarget) -> bool:
        """Hear nothing."""
        del target
        return False

    async def heard(self, target: DatabaseTarget) -> bool:
        """Hear nothing."""
        del target
        return False

    async def ask_for_notify(
        self, target: DatabaseTarget, queue_names: Sequence[str], *, no_longer: Sequence[str]
    ) -> None:
        """Ask nobody."""
        del target, queue_names, no_longer

    async def end_leases(self, target: DatabaseTarget, proofs: Sequence[Proof]) -> Ended:
        """End none."""
        del target, proofs
        return Ended()

    async def forget(self, target: DatabaseTarget) -> None:
        """Leave open what another one uses."""
        del target

    def _row(self, target: DatabaseTarget, name: str) -> QueueRow | None:
        written = self._now.get((target.key, name))
        seen = self._seen.get(target.key)
        return written or (None if seen is None else seen.rows.get(name))

    def _keep(self, target: DatabaseTarget, row: QueueRow) -> QueueRow:
        place = (target.key, row.queue_name)
        self._before.setdefault(place, self._row(target, row.queue_name))
        self._now[place] = row
        return row
