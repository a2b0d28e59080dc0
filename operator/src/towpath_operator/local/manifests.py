"""Reads manifests from files, folders and standard input, and says what is wrong by file and field."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from towpath_operator.model.errors import ManifestError
from towpath_operator.model.parse import PARSERS, any_manifest, check_update
from towpath_operator.ports.cluster import (
    OUR_KINDS,
    Kind,
    Manifest,
    ObjectKey,
)

STDIN: Final = "-"
SUFFIXES: Final = (".yaml", ".yml", ".json")
DEFAULT_NAMESPACE: Final = "default"
OURS: Final = {kind.name: kind for kind in OUR_KINDS}

Place = tuple[Kind, ObjectKey]


class ManifestsError(Exception):
    """Manifests that cannot be used; `problems` has a line for each thing that is wrong."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Manifests:
    """What the files declare, and what in them is not for us."""

    objects: dict[Place, Manifest] = field(default_factory=dict)
    sources: dict[Place, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    def of(self, kind: Kind) -> Iterator[tuple[ObjectKey, Manifest]]:
        """Yield the objects of a kind."""
        for (of, key), manifest in self.objects.items():
            if of == kind:
                yield key, manifest


class Sources:
    """The files, folders and standard input that were named; read again when they change."""

    def __init__(self, names: Sequence[str], *, namespace: str = DEFAULT_NAMESPACE) -> None:
        self.names = tuple(names)
        self._namespace = namespace  # of the manifests that name none
        # Read once: it does not come again.
        self._stdin = sys.stdin.read() if STDIN in self.names else ""
        self._seen = self._signature()

    def changed(self) -> bool:
        """Tell whether a file was written, added or removed since the last call."""
        before, self._seen = self._seen, self._signature()
        return before != self._seen

    def read(self) -> Manifests:
        """Read and check everything.

        Raises:
            ManifestsError: with all that is wrong in all files.
        """
        manifests = Manifests()
        problems: list[str] = []
        skipped: list[str] = []
        for source, text in self._texts(problems):
            for manifest in _documents(source, text, problems):
                if manifest["kind"] not in OURS:
                    name = (manifest.get("metadata") or {}).get("name", "")
                    skipped.append(f"{manifest['kind']} {name} in {source}")
                else:
                    _add(manifests, source, manifest, problems, self._namespace)
        if problems:
            raise ManifestsError(problems)
        return Manifests(manifests.objects, manifests.sources, tuple(skipped))

    def _texts(self, problems: list[str]) -> Iterator[tuple[str, str]]:
        for name in self.names:
            if name == STDIN:
                yield "standard input", self._stdin
                continue
            files = self._files(Path(name))
            if not files:
                what = "holds no manifest" if Path(name).is_dir() else "does not exist"
                problems.append(f"{name}: {what}. Name a file or a folder of .yaml files with -f")
            for file in files:
                try:
                    yield str(file), file.read_text("utf-8")
                except (OSError, UnicodeDecodeError) as error:
                    problems.append(f"{file}: cannot be read: {error}")

    @staticmethod
    def _files(path: Path) -> Sequence[Path]:
        if path.is_dir():
            return sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
        return [path] if path.exists() else []

    def _signature(self) -> object:
        found: dict[Path, tuple[int, int, int]] = {}
        for name in self.names:
            if name != STDIN:
                for file in self._files(Path(name)):
                    try:
                        stat = file.stat()
                    except OSError:
                        continue
                    found[file] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        return found


def refused_updates(old: Manifests, new: Manifests) -> Sequence[str]:
    """Return a line for each object whose change the API server would refuse."""
    refused = []
    for place, manifest in new.objects.items():
        before = old.objects.get(place)
        if before is not None:
            parse = PARSERS[place[0].name]
            try:
                check_update(parse(before), parse(manifest))
            except ManifestError as error:
                refused.append(f"{new.sources[place]}: {error}")
    return refused


def _documents(source: str, text: str, problems: list[str]) -> Iterator[Manifest]:
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        said = " ".join(str(error).replace('"<unicode string>", ', "").split())
        problems.append(f"{source}: is no YAML: {said}")
        return
    for document in _flat(documents):
        try:
            # What JSON has no word for, such as a date, is text to the API server too.
            yield any_manifest(json.loads(json.dumps(document, default=str)))
        except (ManifestError, TypeError, ValueError) as error:
            problems.append(f"{source}: {error}")


def _flat(documents: Iterable[Any]) -> Iterator[Any]:
    for document in documents:
        if isinstance(document, dict) and document.get("kind") == "List":
            yield from _flat(document.get("items") or ())
        elif document is not None:
            yield document


def _add(
    manifests: Manifests, source: str, manifest: Manifest, problems: list[str], namespace: str
) -> None:
    kind = OURS[manifest["kind"]]
    try:
        PARSERS[kind.name](manifest)
    except ManifestError as error:
        problems.append(f"{source}: {error}")
        return
    metadata = {"namespace": namespace, **manifest["metadata"]}
    place = (kind, ObjectKey(metadata["namespace"], metadata["name"]))
    if place in manifests.objects:
        problems.append(
            f"{source}: {kind.name} {place[1]} is declared in {manifests.sources[place]} already"
        )
        return
    manifests.objects[place] = {**manifest, "metadata": metadata}
    manifests.sources[place] = source
