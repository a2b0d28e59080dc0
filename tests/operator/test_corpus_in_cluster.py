"""A real API server's verdicts on the manifests whose verdict is known: those of the models."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.operator.running import new_namespace
from tests.unit.operator.corpus import BadManifest, bad_manifests, good_manifests
from towpath_operator.adapters.kubernetes import Requests, path_of
from towpath_operator.ports.cluster import (
    QUEUE,
    QUEUE_DATABASE,
    WORKER_POOL,
    ClusterError,
    Manifest,
)

KINDS = {kind.name: kind for kind in (QUEUE, WORKER_POOL, QUEUE_DATABASE)}
STRICT = [("fieldValidation", "Strict")]
DRY_RUN = [*STRICT, ("dryRun", "All")]


class Place:
    """A namespace that nothing reconciles."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self.namespace = new_namespace(requests).namespace

    def make(self, manifest: Mapping[str, Any], *, dry: bool = False) -> Manifest:
        """Make an object, or find out whether it could be made."""
        path = path_of(KINDS[manifest["kind"]], namespace=self.namespace)
        options = DRY_RUN if dry else STRICT
        return self._requests.send("post", path, body=self._here(manifest), query_params=options)

    def admit(self, manifest: Mapping[str, Any], old: Manifest | None) -> None:
        """Find out whether an object could be made, or could take the place of an old one."""
        if old is None:
            self.make(manifest, dry=True)
            return
        body = self._here(manifest)
        body["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        self._requests.send("put", self._path(manifest), body=body, query_params=DRY_RUN)

    def delete(self, manifest: Mapping[str, Any]) -> None:
        """Delete an object."""
        self._requests.send("delete", self._path(manifest))

    def leave(self) -> None:
        """Have the namespace deleted."""
        self._requests.send("delete", f"/api/v1/namespaces/{self.namespace}")

    def _path(self, manifest: Mapping[str, Any]) -> str:
        name = manifest["metadata"]["name"]
        return path_of(KINDS[manifest["kind"]], namespace=self.namespace, name=name)

    def _here(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        return {**manifest, "metadata": {**manifest["metadata"], "namespace": self.namespace}}


@pytest.fixture(scope="module")
def place(administrator: Requests) -> Iterator[Place]:
    """Return a namespace for what is refused, and for what was there before."""
    one = Place(administrator)
    yield one
    one.leave()


@pytest.mark.parametrize("bad", bad_manifests(), ids=lambda bad: bad.name)
def test_a_bad_manifest_is_refused_at_the_same_field(bad: BadManifest, place: Place) -> None:
    """Nothing of it is stored, and the answer has the path that the models give."""
    old = None if bad.old is None else place.make(bad.old)
    try:
        with pytest.raises(ClusterError) as refusal:
            place.admit(bad.manifest, old)
    finally:
        if bad.old is not None:
            place.delete(bad.old)
    assert re.search(rf"(?<![\w.]){re.escape(bad.field)}(?![\w.\[])", refusal.value.message)


@pytest.mark.parametrize("name", good_manifests())
def test_a_good_manifest_is_accepted(name: str, place: Place) -> None:
    """Strictly validated, with no field unknown."""
    place.admit(good_manifests()[name], None)
