"""The queues that code declares, written before a worker serves them."""

from __future__ import annotations

import logging

from towpath.domain.queue import UNLIMITED
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
        if declaration.settings is None:
            continue
        if stored.owner is None and stored.before not in (None, UNLIMITED, stored.settings):
            fields = declaration.settings.differences(stored.before)
            logger.warning(
                "queue was declared otherwise before; this declaration is in force now",
                extra={"queue": declaration.name, "fields": list(fields)},
            )
        fields = declaration.settings.differences(stored.settings)
        if stored.owner is not None and fields:
            logger.warning(
                "queue is declared by a manifest; the code's values are not used",
                extra={"queue": declaration.name, "owner": stored.owner, "fields": list(fields)},
            )
