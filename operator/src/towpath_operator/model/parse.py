"""Parses manifests into typed objects, with the verdicts that the API server gives by the CRDs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from towpath_operator.model.base import DNS_LABEL, DNS_SUBDOMAIN, Model, Rule
from towpath_operator.model.database import QUEUE_DATABASE_RULES, QueueDatabase, QueueDatabaseSpec
from towpath_operator.model.errors import ManifestError, Problem
from towpath_operator.model.metadata import read_metadata
from towpath_operator.model.openapi import known_fields
from towpath_operator.model.queue import QUEUE_RULES, Queue, QueueSpec
from towpath_operator.model.workerpool import (
    WORKER_POOL_RULES,
    PoolQueue,
    WorkerPool,
    WorkerPoolSpec,
)
from towpath_operator.ports.cluster import QUEUE, QUEUE_DATABASE, WORKER_POOL, Kind, Manifest

Declared = Queue | WorkerPool | QueueDatabase
SpecT = TypeVar("SpecT", bound=Model)

_TOP_LEVEL: Final = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})
_SHOWN_LENGTH = 60


def parse_queue(manifest: Manifest) -> Queue:
    """Parse a Queue; raises `ManifestError` naming each field that is wrong."""
    spec = _parse_spec(QUEUE, QueueSpec, manifest)
    queue = Queue(metadata=read_metadata(manifest), spec=spec, status=manifest.get("status") or {})
    _refuse(QUEUE, manifest, _problems_of(QUEUE_RULES, queue))
    return queue


def parse_worker_pool(manifest: Manifest) -> WorkerPool:
    """Parse a WorkerPool; raises `ManifestError` naming each field that is wrong."""
    spec = _parse_spec(WORKER_POOL, WorkerPoolSpec, manifest)
    status = manifest.get("status") or {}
    pool = WorkerPool(metadata=read_metadata(manifest), spec=spec, status=status)
    _refuse(WORKER_POOL, manifest, _problems_of(WORKER_POOL_RULES, pool))
    return pool


def parse_queue_database(manifest: Manifest) -> QueueDatabase:
    """Parse a QueueDatabase; raises `ManifestError` naming each field that is wrong."""
    spec = _parse_spec(QUEUE_DATABASE, QueueDatabaseSpec, manifest)
    status = manifest.get("status") or {}
    return QueueDatabase(metadata=read_metadata(manifest), spec=spec, status=status)


PARSERS: Final[Mapping[str, Callable[[Manifest], Declared]]] = {
    QUEUE.name: parse_queue,
    WORKER_POOL.name: parse_worker_pool,
    QUEUE_DATABASE.name: parse_queue_database,
}
"""The parser of each of our kinds, by the kind's name."""


_UPDATE_RULES: Final[Mapping[type, tuple[Kind, tuple[Rule, ...]]]] = {
    Queue: (QUEUE, (*QueueSpec.rules, *QUEUE_RULES)),
    WorkerPool: (WORKER_POOL, (*WorkerPoolSpec.rules, *WORKER_POOL_RULES)),
    QueueDatabase: (QUEUE_DATABASE, (*QueueDatabaseSpec.rules, *QUEUE_DATABASE_RULES)),
}


def check_update(old: Declared, new: Declared) -> None:
    """Refuse a change of what cannot be changed; raises `ManifestError`.

    The API server does this by the CRD; `towpath dev` calls it when a file has changed.
    """
    kind, rules = _UPDATE_RULES[type(new)]
    broken = [
        rule for rule in rules if rule.unchanged and rule.unchanged(old) != rule.unchanged(new)
    ]
    problems = [Problem(field=_under_spec(rule.field), reason=rule.message) for rule in broken]
    _refuse(kind, {"metadata": {"name": new.metadata.name}}, problems)


def _parse_spec(kind: Kind, model: type[SpecT], manifest: Manifest) -> SpecT:
    problems = [*_envelope_problems(kind, manifest)]
    spec = manifest.get("spec")
    if spec is None:
        problems.append(Problem(field="spec", reason="required, but not there"))
        _refuse(kind, manifest, problems)
    try:
        parsed = model.model_validate(spec)
    except ValidationError as error:
        problems.extend(_problem(model, details) for details in error.errors(include_url=False))
        _refuse(kind, manifest, problems)
        raise AssertionError from error  # the line above raises
    _refuse(kind, manifest, [*problems, *_broken(parsed, "spec")])
    return parsed


def _envelope_problems(kind: Kind, manifest: Manifest) -> Iterable[Problem]:
    for field, wanted in (("apiVersion", kind.api_version), ("kind", kind.name)):
        if manifest.get(field) != wanted:
            yield Problem(field=field, reason=f"must be {wanted}")
    for field in sorted(set(manifest) - _TOP_LEVEL):
        yield Problem(
            field=field, reason=f"unknown field; known are {', '.join(sorted(_TOP_LEVEL))}"
        )
    metadata = manifest.get("metadata")
    if not isinstance(metadata, Mapping):
        yield Problem(field="metadata", reason="required, but not there")
        return
    name, namespace = metadata.get("name"), metadata.get("namespace", "default")
    if not _matches(name, DNS_SUBDOMAIN, 253):
        yield Problem(
            field="metadata.name",
            reason="must be a name of lower-case letters, digits, '-' and '.', up to 253 long",
        )
    if not _matches(namespace, DNS_LABEL, 63):
        yield Problem(
            field="metadata.namespace",
            reason="must be a name of lower-case letters, digits and '-', up to 63 long",
        )


def _matches(value: object, pattern: str, longest: int) -> bool:
    return isinstance(value, str) and len(value) <= longest and bool(re.fullmatch(pattern, value))


def _problem(model: type[Model], details: ErrorDetails) -> Problem:
    location = details["loc"]
    field = _path(location)
    if details["type"] == "extra_forbidden":
        known = ", ".join(known_fields(model, location[:-1]))
        return Problem(field=field, reason=f"unknown field; known are {known}")
    if details["type"] == "missing":
        return Problem(field=field, reason="required, but not there")
    reason = re.sub(r"^\w+ should ", "must ", details["msg"])
    value = details["input"]
    if isinstance(value, str | int | float):
        reason = f"is {str(value)[:_SHOWN_LENGTH]!r}; {reason}" if value != "" else reason
    return Problem(field=field, reason=reason)


def _path(location: tuple[str | int, ...]) -> str:
    """Write a location as the API server does: `spec.queues[0].name`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "spec" + "".join(parts)


def _broken(part: Model, path: str) -> Iterable[Problem]:
    """Yield what breaks the rules of a model, of its lists and of the models in it."""
    for rule in part.broken_rules():
        yield Problem(field=f"{path}.{rule.field}", reason=rule.message)
    for name, info in type(part).model_fields.items():
        value = getattr(part, name)
        if isinstance(value, Model):
            yield from _broken(value, f"{path}.{info.alias}")
        elif isinstance(value, tuple):
            yield from _repeated(value, f"{path}.{info.alias}")


def _repeated(entries: tuple[Any, ...], path: str) -> Iterable[Problem]:
    """Yield the entries of a list that were there before: all our lists are sets or have a key."""
    seen = set()
    for index, entry in enumerate(entries):
        key = entry.name if isinstance(entry, PoolQueue) else entry
        if key in seen:
            yield Problem(field=f"{path}[{index}]", reason=f"{key!r} is there twice")
        seen.add(key)


def _problems_of(rules: Iterable[Rule], declared: Declared) -> list[Problem]:
    return [
        Problem(field=rule.field, reason=rule.message)
        for rule in rules
        if rule.holds is not None and not rule.holds(declared)
    ]


def _under_spec(field: str) -> str:
    return field if field.startswith(("spec.", "metadata.")) else f"spec.{field}"


def _refuse(kind: Kind, manifest: Manifest, problems: list[Problem]) -> None:
    if not problems:
        return
    metadata = manifest.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    field = re.sub(r"\[\d+\]", "", problems[0].field)
    explained = kind.name.lower() if field == "apiVersion" else f"{kind.name.lower()}.{field}"
    raise ManifestError(
        subject=f"{kind.name} {name!r}" if isinstance(name, str) else kind.name,
        problems=problems,
        next_step=f"Try: kubectl explain {explained}",
    )


def any_manifest(document: Any) -> Manifest:
    """Return a YAML document as a manifest; raises `ManifestError` where it is no object."""
    if not isinstance(document, Mapping) or not isinstance(document.get("kind"), str):
        raise ManifestError(
            subject="document",
            problems=[Problem(field="kind", reason="required, but not there")],
            next_step="Give each document an apiVersion, a kind and metadata.",
        )
    return document
