"""The queues that code declares, written before a worker serves them."""

from __future__ import annotations

import logging

from towpath.executor.engine import Engine
from towpath.store import queues
from towpath.store.session import Session

logger = logging.getLogger("towpath.worker")


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
