"""Whether the cluster's CRDs have every field that this operator knows: helm does not upgrade them.

Fields are only ever added, so a CRD that lacks one is older than the operator; what is written into
such a field, the API server drops. The operator works on, and says so on /readyz and in its metrics.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from towpath_operator import metrics
from towpath_operator.crdgen import DEFINITIONS, Definition, root_schema
from towpath_operator.ports.cluster import (
    CUSTOM_RESOURCE_DEFINITION,
    Cluster,
    ClusterError,
    Manifest,
    ObjectKey,
)

logger = logging.getLogger(__name__)

UPGRADE: Final = "towpath crds | kubectl apply --server-side --force-conflicts -f -"
LOOK_EVERY: Final = 600.0
LOOK_AGAIN: Final = 30.0
"""While something is amiss: somebody is about to mend it."""
MOST_NAMED: Final = 3
FORBIDDEN: Final = 403


class DefinitionsCheck:
    """Looks at the cluster's CRDs now and then; `verdict` is for people."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.verdict = "not looked at yet"

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Look at them while the block runs."""
        task = asyncio.create_task(self._follow(), name="definitions")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def look(self) -> bool:
        """Look once; tell whether there is no need to look again soon."""
        try:
            missing = [field for one in DEFINITIONS for field in await self._missing(one)]
        except ClusterError as error:
            self.verdict = f"unknown: {error.message}"
            return error.status == FORBIDDEN  # an operator without a ClusterRole works all the same
        metrics.CRDS_OUTDATED.set(bool(missing))
        verdict = _verdict(missing)
        if missing and verdict != self.verdict:
            logger.warning("crds outdated", extra={"missing": missing[:20], "try": UPGRADE})
        self.verdict = verdict
        return not missing

    async def _follow(self) -> None:
        while True:  # noqa: ASYNC110 - no event tells of a CRD
            await asyncio.sleep(LOOK_EVERY if await self.look() else LOOK_AGAIN)

    async def _missing(self, definition: Definition) -> list[str]:
        name = f"{definition.kind.plural}.{definition.kind.api_version.partition('/')[0]}"
        live = await self._cluster.get(CUSTOM_RESOURCE_DEFINITION, ObjectKey("", name))
        schema = schema_of(live, definition.kind.api_version.partition("/")[2])
        if schema is None:
            return [definition.kind.plural]
        fields = missing_fields(root_schema(definition), schema)
        return [f"{definition.kind.plural} {field}" for field in fields]


def schema_of(definition: Manifest | None, version: str) -> Mapping[str, Any] | None:
    """Return the schema of a version that a CRD serves, or None."""
    for one in (definition or {}).get("spec", {}).get("versions", ()):
        if one["name"] == version and one["served"]:
            found: Mapping[str, Any] = one["schema"]["openAPIV3Schema"]
            return found
    return None


def missing_fields(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], path: str = ""
) -> Iterator[str]:
    """Yield the path of each field that our schema has and theirs has not; what is below it is left out."""
    for name, schema in ours.get("properties", {}).items():
        field = f"{path}.{name}" if path else name
        found = theirs.get("properties", {}).get(name)
        if found is None:
            yield field
        else:
            yield from missing_fields(schema, found, field)
    if "items" in ours and "items" in theirs:
        yield from missing_fields(ours["items"], theirs["items"], f"{path}[]")


def _verdict(missing: list[str]) -> str:
    if not missing:
        return "current"
    named = ", ".join(missing[:MOST_NAMED])
    more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
    return f"older than this operator, without {named}{more}. Try: {UPGRADE}"
