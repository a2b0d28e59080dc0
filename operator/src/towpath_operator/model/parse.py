"""Parses manifests into typed objects."""

from __future__ import annotations

from towpath_operator.model.database import QueueDatabase
from towpath_operator.model.queue import Queue
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.ports.cluster import Manifest


def parse_queue(manifest: Manifest) -> Queue:
    """Parse a Queue; raises `ManifestError` naming each field that is wrong."""
    raise NotImplementedError


def parse_worker_pool(manifest: Manifest) -> WorkerPool:
    """Parse a WorkerPool; raises `ManifestError` naming each field that is wrong."""
    raise NotImplementedError


def parse_queue_database(manifest: Manifest) -> QueueDatabase:
    """Parse a QueueDatabase; raises `ManifestError` naming each field that is wrong."""
    raise NotImplementedError
