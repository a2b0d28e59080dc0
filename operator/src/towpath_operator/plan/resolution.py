"""Finds the database of an object: which QueueDatabase, whether it is granted, and its URI.

`observe` calls these before it can look at a server; the answers are part of what it observes.
"""

from __future__ import annotations

from collections.abc import Mapping

from towpath_operator.model.database import QueueDatabase
from towpath_operator.model.queue import Queue
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.observed import Blocked, DatabaseTarget
from towpath_operator.ports.cluster import Manifest, ObjectKey


def find_database(
    subject: Queue | WorkerPool,
    databases: Mapping[ObjectKey, QueueDatabase],
    operator_namespace: str,
) -> QueueDatabase | Blocked:
    """Find the QueueDatabase that an object's databaseRef names and that grants its namespace."""
    raise NotImplementedError


def read_secret(database: QueueDatabase, secret: Manifest | None) -> DatabaseTarget | Blocked:
    """Read the URI in the Secret that a QueueDatabase names (None: there is no such Secret)."""
    raise NotImplementedError
