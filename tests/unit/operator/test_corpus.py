"""The models' verdicts on manifests; a real API server is held to the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.unit.operator.corpus import BadManifest, bad_manifests, good_manifests
from towpath_operator.model.errors import ManifestError
from towpath_operator.model.parse import PARSERS, check_update


@pytest.mark.parametrize("bad", bad_manifests(), ids=lambda bad: bad.name)
def test_a_bad_manifest_is_refused_at_the_field_that_is_wrong(bad: BadManifest) -> None:
    with pytest.raises(ManifestError) as refusal:
        _admit(bad)
    assert refusal.value.field == bad.field
    assert bad.field in str(refusal.value)
    assert "Try: kubectl explain" in str(refusal.value)


@pytest.mark.parametrize("name", good_manifests())
def test_a_good_manifest_is_accepted(name: str) -> None:
    manifest: Mapping[str, Any] = good_manifests()[name]
    declared = PARSERS[manifest["kind"]](manifest)
    check_update(declared, declared)
    assert declared.metadata.name == manifest["metadata"]["name"]


def test_every_kind_has_good_and_bad_manifests() -> None:
    assert {bad.manifest["kind"] for bad in bad_manifests()} == set(PARSERS)
    assert {good["kind"] for good in good_manifests().values()} == set(PARSERS)


def test_an_unknown_field_is_refused_with_the_known_ones() -> None:
    queue = {
        "apiVersion": "towpath.dev/v1alpha1",
        "kind": "Queue",
        "metadata": {"name": "mail"},
        "spec": {"concurrency": {"globl": 3}},
    }
    with pytest.raises(
        ManifestError, match=r"known are global, perPartition, perWorker"
    ) as refusal:
        PARSERS["Queue"](queue)
    assert refusal.value.next_step == "Try: kubectl explain queue.spec.concurrency.globl"


def test_all_that_is_wrong_is_said_at_once() -> None:
    pool = {
        "apiVersion": "towpath.dev/v1",
        "kind": "WorkerPool",
        "metadata": {"name": "mailers"},
        "spec": {"application": "shop", "slots": 0, "queues": [{"name": "a"}]},
    }
    with pytest.raises(ManifestError) as refusal:
        PARSERS["WorkerPool"](pool)
    assert [problem.field for problem in refusal.value.problems] == ["apiVersion", "spec.slots"]


def _admit(bad: BadManifest) -> None:
    parse = PARSERS[bad.manifest["kind"]]
    new = parse(bad.manifest)
    if bad.old is not None:
        check_update(parse(bad.old), new)
