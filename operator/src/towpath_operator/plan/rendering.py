"""Chooses the pod template of a pool: the one that was rendered once, as long as its inputs are the same.

So an operator that would render another template today restarts nobody's pods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from towpath_operator.model.metadata import read_metadata
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.actions import DeleteObject
from towpath_operator.plan.observed import Child, WorkerPoolObserved
from towpath_operator.ports.cluster import CONTROLLER_REVISION
from towpath_operator.render.facts import PodFacts, inputs_hash
from towpath_operator.render.names import (
    INPUTS_ANNOTATION,
    REVISION_ANNOTATION,
    annotation,
    hash_of,
    without_nulls,
)
from towpath_operator.render.revision import Revision, read_revision
from towpath_operator.render.template import render_template

KEPT_BESIDE_THE_PRESENT: int = 2
"""Older revisions that stay: a manifest that goes back finds its pods' template as it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """The pod template to apply.

    Attributes:
        revision: The template, and what it is named after.
        kept: The live ControllerRevision that holds it; None where that is to be made.
        unproven: Whether the API server has never seen this template.
    """

    revision: Revision
    kept: Child | None = None
    unproven: bool = False


def choose_rendering(pool: WorkerPool, observed: WorkerPoolObserved, facts: PodFacts) -> Rendering:
    """Return the kept template of these inputs, or the Deployment's own, or one that is rendered now.

    Raises:
        TemplateError: the user's template cannot be used.
    """
    inputs = inputs_hash(pool, facts)
    kept = _kept(pool, observed)
    for revision, child in kept:
        if revision.inputs == inputs:
            return Rendering(revision=revision, kept=child)
    number = max((revision.number for revision, _ in kept), default=0) + 1
    adopted = _adopted(pool, observed, inputs)
    if adopted is not None:
        return Rendering(revision=Revision(number=number, inputs=inputs, template=adopted))
    template = render_template(pool, facts)
    revision = Revision(number=number, inputs=inputs, template=template)
    return Rendering(revision=revision, unproven=True)


def applied_revision(pool: WorkerPool, observed: WorkerPoolObserved) -> Revision | None:
    """Return the revision that the Deployment has now, if it is known."""
    if observed.deployment is None:
        return None
    name = annotation(observed.deployment.live, REVISION_ANNOTATION)
    known = {revision.name(pool): revision for revision, _ in _kept(pool, observed)}
    return known.get(name)


def template_hash(deployment: Child) -> str:
    """Return the hash of a Deployment's pod template as the API server has it."""
    return hash_of(without_nulls((deployment.live.get("spec") or {}).get("template")))


def forged(pool: WorkerPool, observed: WorkerPoolObserved) -> list[DeleteObject]:
    """Return the deletions of revisions of ours that a hand made anew with another content."""
    return [
        _delete(child) for child in _ours(pool, observed) if read_revision(pool, child.live) is None
    ]


def outlived(
    pool: WorkerPool, observed: WorkerPoolObserved, present: Revision
) -> list[DeleteObject]:
    """Return the deletions of older revisions, but of the last two."""
    others = [
        child for revision, child in _kept(pool, observed) if revision.inputs != present.inputs
    ]
    return [_delete(child) for child in others[KEPT_BESIDE_THE_PRESENT:]]


def _ours(pool: WorkerPool, observed: WorkerPoolObserved) -> Sequence[Child]:
    live = [(read_metadata(child.live), child) for child in observed.revisions]
    return [
        child
        for metadata, child in live
        if metadata.controller_uid == pool.metadata.uid and not metadata.being_deleted
    ]


def _kept(pool: WorkerPool, observed: WorkerPoolObserved) -> Sequence[tuple[Revision, Child]]:
    """Return the pool's revisions, the newest first."""
    read = [(read_revision(pool, child.live), child) for child in _ours(pool, observed)]
    known = [(revision, child) for revision, child in read if revision is not None]
    return sorted(known, key=lambda one: (one[0].number, one[0].name(pool)), reverse=True)


def _adopted(
    pool: WorkerPool, observed: WorkerPoolObserved, inputs: str
) -> dict[str, object] | None:
    """Return the live Deployment's template where its revision is lost and nobody has changed it."""
    deployment = observed.deployment
    if deployment is None or annotation(deployment.live, INPUTS_ANNOTATION) != inputs:
        return None
    if read_metadata(deployment.live).controller_uid != pool.metadata.uid:
        return None
    if pool.status.get("templateHash") != template_hash(deployment):
        return None
    template: dict[str, object] = without_nulls(deployment.live["spec"]["template"])
    return template


def _delete(child: Child) -> DeleteObject:
    metadata = read_metadata(child.live)
    return DeleteObject(kind=CONTROLLER_REVISION, key=metadata.key, uid=metadata.uid)
