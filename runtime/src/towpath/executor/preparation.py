"""What a worker does once it is connected and before it registers: the schema, the declared queues."""

from __future__ import annotations

import logging
from typing import Any

import psycopg

from towpath.domain.errors import SchemaMissingError, SchemaOlderError
from towpath.executor.engine import Engine
from towpath.store import queues
from towpath.store.migrate import migrate as migrate_schema
from towpath.store.migrate import schema_state
from towpath.store.session import Session

logger = logging.getLogger("towpath.worker")


async def prepare_schema(
    connection: psycopg.AsyncConnection[Any], schema: str, *, migrate: bool
) -> None:
    """Make sure that the schema serves this library; migrate it where that is allowed.

    Raises:
        SchemaError: it is missing or older and may not be migrated, or is too new.
    """
    state = await schema_state(connection, schema)
    try:
        state.check()
    except (SchemaMissingError, SchemaOlderError):
        if not migrate:
            raise
        applied = await migrate_schema(connection, schema)
        logger.info("schema migrated", extra={"schema": schema, "applied": list(applied)})


async def declare_queues(session: Session, engine: Engine) -> None:
    """Write every queue that code declares; say where a manifest's settings hold instead."""
    for declaration in engine.registry.queues():
        stored = await queues.declare(
            session, engine.statements, declaration.name, declaration.settings
        )
        if declaration.settings is None or stored.owner is None:
            continue
        fields = declaration.settings.differences(stored.settings)
        if fields:
            logger.warning(
                "queue is declared by a manifest; the code's values are not used",
                extra={"queue": declaration.name, "owner": stored.owner, "fields": list(fields)},
            )
