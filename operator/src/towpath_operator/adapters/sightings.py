"""Keeps each object as it was last seen, whoever saw it: a list, a watch, or the answer to a write.

Of two sights the one with the higher resourceVersion is the later one, in whatever order they come in:
the API server counts every change of everything by one counter.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from towpath_operator.ports.cluster import Kind, Manifest, ObjectKey, key_of
from towpath_operator.render.names import POOL_LABEL

_COMPACT: Final = (",", ":")


@dataclass(frozen=True, slots=True)
class _Sight:
    """One object; as text it takes a fifth of the memory, and nobody can change it."""

    version: int
    pool: str | None
    text: bytes


@dataclass(slots=True)
class _OfKind:
    seen: dict[ObjectKey, _Sight] = field(default_factory=dict)
    gone: dict[ObjectKey, int] = field(default_factory=dict)
    by_pool: dict[ObjectKey, set[ObjectKey]] = field(default_factory=lambda: defaultdict(set))


class Sightings:
    """What was seen of some kinds, by kind and key; any thread may tell and ask.

    What it is told of other kinds it does not keep.
    """

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._kinds = {kind: _OfKind() for kind in kinds}
        self._lock = threading.Lock()

    def saw(self, kind: Kind, manifest: Manifest) -> None:
        """Take in an object as it is, or was a moment ago."""
        known = self._kinds.get(kind)
        if known is not None:
            with self._lock:
                self._take(known, kind, manifest)

    def saw_go(self, kind: Kind, manifest: Manifest) -> None:
        """Take in that an object is gone, as its last event had it."""
        known = self._kinds.get(kind)
        if known is None:
            return
        key, version = key_of(manifest), _version(manifest)
        with self._lock:
            sight = known.seen.get(key)
            if sight is None or sight.version <= version:
                self._drop(known, key)
                known.gone[key] = max(version, known.gone.get(key, 0))

    def saw_all(
        self, kind: Kind, items: Iterable[Manifest], version: str, *, namespace: str | None
    ) -> None:
        """Take in a list of all that there is of a kind, in one namespace or in all."""
        known = self._kinds.get(kind)
        if known is None:
            return
        listed = {key_of(item): item for item in items}
        with self._lock:
            for key, sight in list(known.seen.items()):
                mine = namespace is None or key.namespace == namespace
                if mine and key not in listed and sight.version <= int(version):
                    self._drop(known, key)
            for item in listed.values():
                self._take(known, kind, item)
            # What is older than this list cannot come in by a later one.
            known.gone = {key: at for key, at in known.gone.items() if at > int(version)}

    def forget(self, kind: Kind, key: ObjectKey) -> None:
        """Let nobody go by what was seen of an object: it is about to go."""
        with self._lock:
            self._drop(self._kinds[kind], key)

    def get(self, kind: Kind, key: ObjectKey) -> Manifest | None:
        """Return an object as it was last seen."""
        with self._lock:
            sight = self._kinds[kind].seen.get(key)
        return None if sight is None else _parsed(sight)

    def of_pool(self, kind: Kind, pool: ObjectKey) -> list[Manifest]:
        """Return a pool's objects of a kind, by their label."""
        with self._lock:
            known = self._kinds[kind]
            sights = [known.seen[key] for key in sorted(known.by_pool.get(pool, ()))]
        return [_parsed(sight) for sight in sights]

    def _take(self, known: _OfKind, kind: Kind, manifest: Manifest) -> None:
        key, version = key_of(manifest), _version(manifest)
        before = known.seen.get(key)
        if version <= known.gone.get(key, 0) or (before is not None and before.version >= version):
            return
        self._drop(known, key)
        pool = (manifest["metadata"].get("labels") or {}).get(POOL_LABEL)
        whole = {"apiVersion": kind.api_version, "kind": kind.name, **manifest}
        text = json.dumps(whole, separators=_COMPACT).encode()
        known.seen[key] = _Sight(version, pool, text)
        if pool is not None:
            known.by_pool[ObjectKey(key.namespace, pool)].add(key)

    @staticmethod
    def _drop(known: _OfKind, key: ObjectKey) -> None:
        sight = known.seen.pop(key, None)
        if sight is None or sight.pool is None:
            return
        pool = ObjectKey(key.namespace, sight.pool)
        known.by_pool[pool].discard(key)
        if not known.by_pool[pool]:
            del known.by_pool[pool]


def _version(manifest: Manifest) -> int:
    return int(manifest["metadata"]["resourceVersion"])


def _parsed(sight: _Sight) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(sight.text)
    return parsed
