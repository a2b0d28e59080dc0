"""Writes the CRDs and their reference page from the models.

`python -m towpath_operator.crdgen` in the repository's root writes them; with `--check` it only
tells which files are not as they would be written.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from towpath_operator.model.base import Model, Rule
from towpath_operator.model.database import (
    QUEUE_DATABASE_RULES,
    QueueDatabaseSpec,
    QueueDatabaseStatus,
)
from towpath_operator.model.openapi import Schema, structural_schema
from towpath_operator.model.queue import QUEUE_RULES, QueueSpec
from towpath_operator.model.queue_status import QueueStatus
from towpath_operator.model.reference import reference_page
from towpath_operator.model.workerpool import WORKER_POOL_RULES, WorkerPoolSpec, WorkerPoolStatus
from towpath_operator.ports.cluster import QUEUE, QUEUE_DATABASE, WORKER_POOL, Kind

HEADER: Final = (
    "# Written by `python -m towpath_operator.crdgen` from towpath_operator/model; do not edit.\n"
)
FOLDERS: Final = ("crds", "charts/towpath/crds")
REFERENCE: Final = "docs/reference/crds.md"


SCALE: Final = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": ".status.selector",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of `kubectl get`; those with priority 1 show with `-o wide` only."""

    name: str
    type: str
    path: str
    description: str
    priority: int = 0

    def to_manifest(self) -> dict[str, Any]:
        """Write the column as additionalPrinterColumns has it."""
        entry: dict[str, Any] = {
            "name": self.name,
            "type": self.type,
            "jsonPath": self.path,
            "description": self.description,
        }
        return {**entry, "priority": self.priority} if self.priority else entry


READY: Final = Column(
    name="Ready",
    type="string",
    path='.status.conditions[?(@.type=="Ready")].status',
    description="Whether what is declared is in force.",
)
REASON: Final = Column(
    name="Reason",
    type="string",
    path='.status.conditions[?(@.type=="Ready")].reason',
    description="Why it is Ready or not.",
)
MESSAGE: Final = Column(
    name="Message",
    type="string",
    path='.status.conditions[?(@.type=="Ready")].message',
    description="Why, as a sentence.",
    priority=1,
)
DATABASE: Final = Column(
    name="Database",
    type="string",
    path=".status.database.name",
    description="The QueueDatabase.",
    priority=1,
)
AGE: Final = Column(
    name="Age", type="date", path=".metadata.creationTimestamp", description="Since when it exists."
)


def _number(name: str, path: str, description: str) -> Column:
    return Column(name=name, type="integer", path=path, description=description)


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """Everything that a CRD says about a kind."""

    kind: Kind
    short_name: str
    description: str
    spec: type[Model]
    status: type[Model]
    rules: tuple[Rule, ...]
    scale: bool = False
    """Whether /scale leads to spec.replicas."""
    columns: tuple[Column, ...]

    @property
    def file_name(self) -> str:
        """The file that the CRD is written to."""
        return f"towpath.dev_{self.kind.plural}.yaml"


DEFINITIONS: Final = (
    Definition(
        kind=QUEUE,
        short_name="tq",
        description="A Queue is a named line of workflows with limits, and optionally the pods that "
        "serve it.",
        spec=QueueSpec,
        status=QueueStatus,
        rules=QUEUE_RULES,
        columns=(
            READY,
            _number("Waiting", ".status.waiting", "Workflows that wait, counted to 10,000."),
            _number("Running", ".status.running", "Workflows that run."),
            _number(
                "Limit", ".spec.concurrency.global", "How many may run in all workers together."
            ),
            REASON,
            AGE,
            Column(
                name="Oldest",
                type="integer",
                path=".status.oldestWaitSeconds",
                description="For how many seconds the first in line has waited.",
                priority=1,
            ),
            Column(
                name="Paused",
                type="string",
                path='.status.conditions[?(@.type=="Paused")].status',
                description="Whether nothing of the queue starts.",
                priority=1,
            ),
            Column(
                name="Why",
                type="string",
                path=".status.why",
                description="What holds back the workflows that wait.",
                priority=1,
            ),
            DATABASE,
            MESSAGE,
        ),
    ),
    Definition(
        kind=WORKER_POOL,
        short_name="twp",
        description="A WorkerPool is the pods that serve some queues: image, slots and autoscaling.",
        spec=WorkerPoolSpec,
        status=WorkerPoolStatus,
        rules=WORKER_POOL_RULES,
        scale=True,
        columns=(
            READY,
            _number("Pods", ".status.readyReplicas", "Pods that are ready."),
            _number("Desired", ".status.autoscaling.desired", "Pods that are wanted."),
            _number("Waiting", ".status.waiting", "Workflows that wait in the pool's queues."),
            _number("Running", ".status.running", "Workflows that run in the pool's queues."),
            REASON,
            AGE,
            Column(
                name="Limited",
                type="string",
                path=".status.autoscaling.limitedBy",
                description="What keeps the number of pods from following the work.",
                priority=1,
            ),
            DATABASE,
            MESSAGE,
        ),
    ),
    Definition(
        kind=QUEUE_DATABASE,
        short_name="tqdb",
        description="A QueueDatabase is a Postgres database and schema that queues live in.",
        spec=QueueDatabaseSpec,
        status=QueueDatabaseStatus,
        rules=QUEUE_DATABASE_RULES,
        columns=(
            READY,
            Column(
                name="Schema",
                type="string",
                path=".spec.schema",
                description="The Postgres schema.",
            ),
            _number("Version", ".status.schema.version", "The version that the schema has."),
            REASON,
            AGE,
            MESSAGE,
        ),
    ),
)


def definition_manifest(definition: Definition) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a kind."""
    group, _, version = definition.kind.api_version.partition("/")
    singular = definition.kind.name.lower()
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{definition.kind.plural}.{group}"},
        "spec": {
            "group": group,
            "names": {
                "kind": definition.kind.name,
                "listKind": f"{definition.kind.name}List",
                "plural": definition.kind.plural,
                "singular": singular,
                "shortNames": [definition.short_name],
                "categories": ["towpath"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}} | ({"scale": SCALE} if definition.scale else {}),
                    "additionalPrinterColumns": [c.to_manifest() for c in definition.columns],
                    "schema": {"openAPIV3Schema": root_schema(definition)},
                }
            ],
        },
    }


def root_schema(definition: Definition) -> Schema:
    """Return the schema of the whole object."""
    schema: Schema = {
        "type": "object",
        "description": definition.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "The version of this kind's API."},
            "kind": {"type": "string", "description": "The name of this kind."},
            # A rule may name metadata.name as its field only if the schema knows it.
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": {**structural_schema(definition.spec), "description": "What is declared."},
            "status": {
                **structural_schema(definition.status),
                "description": "What the operator says about it.",
            },
        },
    }
    if definition.rules:
        schema["x-kubernetes-validations"] = [rule.to_cel() for rule in definition.rules]
    return schema


class _WithoutAliases(yaml.SafeDumper):
    """Writes what occurs twice twice: a person reads it, and some tools know no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Make an alias of nothing."""
        del data
        return True


def definition_texts() -> Mapping[str, str]:
    """Return the text of each CRD by its file's name."""
    return {
        definition.file_name: HEADER
        + yaml.dump(
            definition_manifest(definition),
            Dumper=_WithoutAliases,
            sort_keys=True,
            width=100,
            allow_unicode=True,
        )
        for definition in DEFINITIONS
    }


def generated_files() -> Mapping[str, str]:
    """Return every generated file by its path in the repository."""
    texts = definition_texts()
    files = {f"{folder}/{name}": text for folder in FOLDERS for name, text in texts.items()}
    pages = [(d.kind, d.short_name, root_schema(d)) for d in DEFINITIONS]
    return {**files, REFERENCE: reference_page(pages)}


def stale_files(root: Path) -> Iterable[str]:
    """Yield the paths whose text is not what would be written."""
    for path, text in generated_files().items():
        file = root / path
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            yield path


def main(arguments: list[str]) -> int:
    """Write the files below the working directory, or tell which are stale."""
    root = Path.cwd()
    stale = list(stale_files(root))
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(
                f"{path} is not as generated. Try: python -m towpath_operator.crdgen\n"
            )
        return 1 if stale else 0
    files = generated_files()
    for path in stale:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(files[path], encoding="utf-8")
        sys.stderr.write(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
