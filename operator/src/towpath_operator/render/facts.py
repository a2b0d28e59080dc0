"""What a pool's pods depend on beside the pool's own spec, and the hashes that say when they change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.render.environment import PodDatabase
from towpath_operator.render.names import hash_of, without_nulls

BUILD_ID_LENGTH: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """What the operator knows and the pool's spec does not say.

    Attributes:
        queue_names: The queues that the pods serve, by the names that Python says.
        database: What the pods are told of their database.
        default_image: The image of a template that names none; None refuses such a template.
    """

    queue_names: tuple[str, ...]
    database: PodDatabase
    default_image: str | None = None


def build_id(pool: WorkerPool) -> str:
    """Name the user's own template and application: what of a pool is code."""
    code = without_nulls({"template": pool.spec.template, "application": pool.spec.application})
    return hash_of(code)[:BUILD_ID_LENGTH]


def inputs_hash(pool: WorkerPool, facts: PodFacts) -> str:
    """Name everything that decides what the pods are, but the operator's own rendering.

    An absent value adds nothing: what a later operator adds here must be absent by default, or its
    upgrade restarts every pod.
    """
    spec = pool.spec
    inputs = {
        "template": spec.template,
        "application": spec.application,
        "slots": spec.slots,
        "drain": spec.drain.duration.total_seconds(),
        "queues": sorted(facts.queue_names),
        "database": facts.database.environment(),
        "image": facts.default_image if _leaves_image_open(spec.template) else None,
    }
    return hash_of(without_nulls(inputs))


def _leaves_image_open(template: Mapping[str, Any]) -> bool:
    """Tell whether a container of the template, whatever its shape, names no image."""
    spec = template.get("spec")
    containers = spec.get("containers") if isinstance(spec, Mapping) else None
    if not isinstance(containers, list) or not containers:
        return True
    return any(isinstance(one, Mapping) and not one.get("image") for one in containers)
