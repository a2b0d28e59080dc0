"""Loads the manifests whose verdict is known, for the models and for a real API server alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "manifests"


@dataclass(frozen=True, slots=True, kw_only=True)
class BadManifest:
    """A manifest that must be refused.

    Attributes:
        name: What is bad about it.
        manifest: The manifest.
        field: The path that the refusal names.
        old: For a rule about a change: what was applied before.
    """

    name: str
    manifest: Mapping[str, Any]
    field: str
    old: Mapping[str, Any] | None


def bad_manifests() -> list[BadManifest]:
    """Return every manifest that must be refused."""
    return [
        BadManifest(
            name=path.stem,
            manifest=case["manifest"],
            field=case["field"],
            old=case.get("old"),
        )
        for path, case in _documents("bad")
    ]


def good_manifests() -> dict[str, Mapping[str, Any]]:
    """Return every manifest that must be accepted, by what it is about."""
    return {path.stem: manifest for path, manifest in _documents("good")}


def _documents(folder: str) -> list[tuple[Path, dict[str, Any]]]:
    paths = sorted((FOLDER / folder).glob("*.yaml"))
    return [(path, yaml.safe_load(path.read_text(encoding="utf-8"))) for path in paths]
