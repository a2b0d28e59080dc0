"""Rules about a change: what a manifest says for ever once it is applied."""

from __future__ import annotations

from typing import Final

from towpath_operator.model.base import Rule

UNCHANGED_DATABASE: Final = Rule(
    field="databaseRef",
    message="databaseRef cannot be changed; delete the object and make it anew",
    cel="self.databaseRef == oldSelf.databaseRef",
    unchanged=lambda declared: declared.spec.database_ref,
)
UNCHANGED_SCHEMA: Final = Rule(
    field="schema",
    message="schema cannot be changed; make another QueueDatabase",
    cel="self.schema == oldSelf.schema",
    unchanged=lambda declared: declared.spec.schema_name,
)
