"""Turns what people declared for a cluster into what this machine runs.

Each QueueDatabase becomes a schema of the one local database, reached by a Secret of ours: theirs are
not read. `--app` takes the place of each application, and serves Queues that have no pool.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from towpath_operator.local.manifests import Manifests, Place
from towpath_operator.ports.cluster import (
    QUEUE,
    QUEUE_DATABASE,
    SECRET,
    WORKER_POOL,
    Kind,
    Manifest,
    ObjectKey,
)

OPERATOR_NAMESPACE: Final = "towpath-system"
DEFAULT_DATABASE: Final = "default"
DEFAULT_SCHEMA: Final = "towpath"
URI_SECRET: Final = "towpath-dev-database"  # noqa: S105 - an object's name
APP_POOL: Final = "dev"
LONGEST_IDENTIFIER: Final = 63
HASH_LENGTH: Final = 10

NOT_HERE: Final = frozenset(
    {"connection", "workerCredentialsSecretRef", "operatorUriSecretRef", "pooler", "connections"}
)
"""How a cluster's pods reach its server; here they reach the local one, without anything between."""

Objects = dict[Place, Manifest]


def schema_of(database: ObjectKey) -> str:
    """Return the local schema of a QueueDatabase; a name too long for Postgres ends in its hash."""
    if database.name == DEFAULT_DATABASE:
        return DEFAULT_SCHEMA
    name = f"{database.namespace}_{database.name}".replace(".", "_")
    if name[0].isdigit() or name.startswith("pg_"):  # Postgres or the CRD's rule would refuse it
        name = f"_{name}"
    if len(name.encode()) <= LONGEST_IDENTIFIER:
        return name
    digest = hashlib.sha256(str(database).encode()).hexdigest()[:HASH_LENGTH]
    return f"{name[: LONGEST_IDENTIFIER - HASH_LENGTH - 1]}_{digest}"


def localise(manifests: Manifests, *, url: str, app: str | None) -> Objects:
    """Return the objects to apply, databases first."""
    objects: Objects = {}
    databases = dict(manifests.of(QUEUE_DATABASE))
    default = ObjectKey(OPERATOR_NAMESPACE, DEFAULT_DATABASE)
    databases.setdefault(default, _object(QUEUE_DATABASE, default, {"allowedNamespaces": ["*"]}))
    for key, manifest in databases.items():
        objects[SECRET, ObjectKey(key.namespace, URI_SECRET)] = _secret(key.namespace, url)
        objects[QUEUE_DATABASE, key] = _local_database(key, manifest)
    for kind in (QUEUE, WORKER_POOL):
        for key, manifest in manifests.of(kind):
            objects[kind, key] = _with_application(kind, manifest, app)
    if app is not None:
        objects |= _pools_for_unserved(manifests, app)
    return objects


def _secret(namespace: str, url: str) -> Manifest:
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.name,
        "metadata": {"name": URI_SECRET, "namespace": namespace},
        "stringData": {"uri": url},
    }


def _local_database(key: ObjectKey, manifest: Manifest) -> Manifest:
    kept = {field: value for field, value in manifest["spec"].items() if field not in NOT_HERE}
    return {
        **manifest,
        "spec": {
            **kept,
            "uriSecretRef": {"name": URI_SECRET, "key": "uri"},
            "schema": schema_of(key),
        },
    }


def _with_application(kind: Kind, manifest: Manifest, app: str | None) -> Manifest:
    changed: dict[str, Any] = copy.deepcopy(dict(manifest))
    pool = changed["spec"] if kind == WORKER_POOL else changed["spec"].get("workers")
    if app is not None and pool is not None:
        pool["application"] = app
    return changed


def _pools_for_unserved(manifests: Manifests, app: str) -> Objects:
    """Make a pool for each namespace and database with Queues that no pool serves."""
    served = {
        ObjectKey(key.namespace, queue["name"])
        for key, pool in manifests.of(WORKER_POOL)
        for queue in pool["spec"]["queues"]
    }
    unserved: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key, queue in manifests.of(QUEUE):
        if key not in served and not queue["spec"].get("workers"):
            reference = json.dumps(queue["spec"].get("databaseRef") or {}, sort_keys=True)
            unserved[key.namespace, reference].append(key.name)
    objects: Objects = {}
    for (namespace, reference), names in sorted(unserved.items()):
        taken = {
            key.name for _, key in (*manifests.objects, *objects) if key.namespace == namespace
        }
        key = ObjectKey(namespace, next(name for name in _pool_names() if name not in taken))
        spec = {
            "application": app,
            "queues": [{"name": name} for name in names],
            "databaseRef": json.loads(reference),
        }
        objects[WORKER_POOL, key] = _object(WORKER_POOL, key, spec)
    return objects


def _pool_names() -> Iterator[str]:
    yield APP_POOL
    yield from (f"{APP_POOL}-{number}" for number in itertools.count(2))


def _object(kind: Kind, key: ObjectKey, spec: Mapping[str, Any]) -> Manifest:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {"name": key.name, "namespace": key.namespace},
        "spec": spec,
    }
