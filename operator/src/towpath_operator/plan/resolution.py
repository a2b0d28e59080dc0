"""Finds the database of an object: which QueueDatabase, and whether it is granted.

`observe` calls these before it can look at a server; the answers are part of what it observes.
"""

from __future__ import annotations

from collections.abc import Mapping

from towpath_operator.model.conditions import Reason
from towpath_operator.model.database import QueueDatabase
from towpath_operator.model.queue import Queue
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.observed import Blocked
from towpath_operator.ports.cluster import ObjectKey


def find_database(
    subject: Queue | WorkerPool,
    databases: Mapping[ObjectKey, QueueDatabase],
    operator_namespace: str,
) -> QueueDatabase | Blocked:
    """Find the QueueDatabase that an object's databaseRef names and that grants its namespace.

    Once found it is kept in the object's status. Another answer later is never followed: the rows
    and the running workflows are in the first one.
    """
    candidates = _candidates(subject, operator_namespace)
    found = next((databases[key] for key in candidates if key in databases), None)
    if found is None:
        places = " or ".join(str(key) for key in candidates)
        return Blocked(
            reason=Reason.DATABASE_NOT_FOUND,
            message=f"there is no QueueDatabase {places}. Make one, or name another in databaseRef.",
        )
    kept = subject.status.get("database")
    if kept and dict(kept) != database_status(found):
        return Blocked(
            reason=Reason.DATABASE_MOVED,
            message=f"databaseRef finds {_described(database_status(found))} now, but this object is "
            f"in {_described(kept)}. Restore that one, or delete this object and make it anew.",
        )
    if not found.grants(subject.metadata.namespace):
        return Blocked(
            reason=Reason.DATABASE_NOT_GRANTED,
            message=f"QueueDatabase {found.metadata.key} does not list namespace "
            f"{subject.metadata.namespace!r} in allowedNamespaces. Ask its owner to add it.",
        )
    return found


def database_status(database: QueueDatabase) -> dict[str, str]:
    """Return what `status.database` keeps of a database."""
    return {
        "namespace": database.metadata.namespace,
        "name": database.metadata.name,
        "schema": database.spec.schema_name,
    }


def _candidates(subject: Queue | WorkerPool, operator_namespace: str) -> list[ObjectKey]:
    reference = subject.spec.database_ref
    if reference.namespace is not None:
        return [ObjectKey(reference.namespace, reference.name)]
    places = dict.fromkeys((subject.metadata.namespace, operator_namespace))
    return [ObjectKey(namespace, reference.name) for namespace in places]


def _described(database: Mapping[str, str]) -> str:
    place = f"{database.get('namespace')}/{database.get('name')}"
    return f"QueueDatabase {place} (schema {database.get('schema')})"
