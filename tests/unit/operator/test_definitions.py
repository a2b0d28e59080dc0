"""CRDs that are older than the operator are found by the fields that they lack."""

from __future__ import annotations

import asyncio
import copy
from typing import Any, cast

import pytest

from towpath_operator.crdgen import DEFINITIONS, definition_manifest
from towpath_operator.definitions import UPGRADE, DefinitionsCheck, missing_fields
from towpath_operator.ports.cluster import (
    CUSTOM_RESOURCE_DEFINITION,
    Cluster,
    ClusterError,
    Kind,
    Manifest,
    ObjectKey,
)


class Crds:
    """A cluster that has CRDs alone."""

    def __init__(self) -> None:
        manifests = [copy.deepcopy(definition_manifest(one)) for one in DEFINITIONS]
        self.live: dict[str, Any] = {one["metadata"]["name"]: one for one in manifests}
        self.error: ClusterError | None = None

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest | None:
        """Return a CRD."""
        assert kind == CUSTOM_RESOURCE_DEFINITION
        if self.error is not None:
            raise self.error
        return cast("Manifest | None", self.live.get(key.name))

    def properties(self, name: str) -> dict[str, Any]:
        """Return the fields of a kind's spec."""
        (version,) = self.live[name]["spec"]["versions"]
        found: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        return found

    def verdict(self) -> tuple[bool, str]:
        """Look once."""
        check = DefinitionsCheck(cast("Cluster", self))
        return asyncio.run(check.look()), check.verdict


def test_the_crds_of_this_version_are_current() -> None:
    """Also with fields that a later version has added: the additive rule makes them no trouble."""
    crds = Crds()
    assert crds.verdict() == (True, "current")
    crds.properties("queues.towpath.dev")["properties"]["later"] = {"type": "string"}
    assert crds.verdict() == (True, "current")


def test_a_crd_that_lacks_a_field_is_older_and_the_field_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What people write there is dropped by the API server: the command that mends it is told."""
    crds = Crds()
    pools = crds.properties("workerpools.towpath.dev")["properties"]
    del pools["queues"]["items"]["properties"]["name"]
    del crds.properties("queues.towpath.dev")["properties"]["retention"]
    well, verdict = crds.verdict()
    assert not well
    assert "queues spec.retention" in verdict
    assert "workerpools spec.queues[].name" in verdict
    assert verdict.endswith(f"Try: {UPGRADE}")
    assert [record.getMessage() for record in caplog.records] == ["crds outdated"]


def test_a_kind_that_is_not_there_is_named() -> None:
    """Somebody deleted it, or installed the operator alone."""
    crds = Crds()
    del crds.live["queuedatabases.towpath.dev"]
    assert "without queuedatabases" in crds.verdict()[1]


def test_where_it_may_not_be_read_it_is_unknown_and_no_trouble() -> None:
    """An operator without a ClusterRole cannot look, and works all the same."""
    crds = Crds()
    crds.error = ClusterError("forbidden", status=403)
    assert crds.verdict() == (True, "unknown: forbidden")
    crds.error = ClusterError("no answer", status=0)
    assert crds.verdict() == (False, "unknown: no answer")


def test_what_lies_below_a_missing_field_is_not_listed_beside_it() -> None:
    """One line for one thing."""
    ours: dict[str, Any] = {"properties": {"a": {"properties": {"b": {}, "c": {}}}}}
    assert list(missing_fields(ours, {"properties": {}})) == ["a"]
    assert list(missing_fields(ours, {"properties": {"a": {}}})) == ["a.b", "a.c"]
