"""Plans the children of a pool: Secret, PodDisruptionBudget, ControllerRevisions and Deployment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.actions import Action, ApplyObject, CheckObject, CreateObject
from towpath_operator.plan.children import plan_child
from towpath_operator.plan.observed import Blocked, Child, DatabaseTarget, WorkerPoolObserved
from towpath_operator.plan.rendering import Rendering, applied_revision, forged, outlived
from towpath_operator.plan.replicas import Replicas
from towpath_operator.ports.cluster import (
    CONTROLLER_REVISION,
    DEPLOYMENT,
    POD_DISRUPTION_BUDGET,
    SECRET,
    Kind,
)
from towpath_operator.render.pool import (
    render_deployment,
    render_disruption_budget,
    render_secret,
)
from towpath_operator.render.revision import Revision, render_revision

ChildAction = CreateObject | ApplyObject


class ChildBlockedError(Exception):
    """A child cannot be made: its name is another's."""

    def __init__(self, blocked: Blocked) -> None:
        super().__init__(blocked.message)
        self.blocked = blocked


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildrenPlanner:
    """What the children of one pool are planned from.

    Its methods raise `ChildBlockedError`.
    """

    pool: WorkerPool
    observed: WorkerPoolObserved
    target: DatabaseTarget
    replicas: Replicas

    def plan(self, rendering: Rendering) -> Sequence[Action]:
        """Return what makes the children as they should be; nothing where they are.

        A template that the API server has never seen is checked before anything else of it is done:
        a bad one leaves the Deployment and its pods as they are, and their number goes on following.
        """
        lost = forged(self.pool, self.observed)
        if lost:
            return lost
        revision = rendering.revision
        kept = self._child(
            CONTROLLER_REVISION, rendering.kept, render_revision(self.pool, revision)
        )
        beside, deployment = self._beside(revision.build_id), self._deployment(revision)
        if not (rendering.unproven and deployment):
            present = [*kept, *beside, *deployment]
            return present or outlived(self.pool, self.observed, revision)
        checked = [_check(deployment[0]), *kept]
        return [*self.plan_as_before(), *checked, *beside, *deployment]

    def plan_as_before(self) -> Sequence[Action]:
        """Return what keeps all up to date but for a template that cannot be used."""
        revision = applied_revision(self.pool, self.observed)
        if revision is None:
            return []
        return [*self._beside(revision.build_id), *self._deployment(revision)]

    def _beside(self, build: str) -> Sequence[ChildAction]:
        """Plan what depends on no template."""
        secret = render_secret(self.pool, build, uri=self.target.pods_uri, ca=self.target.ca)
        budget = render_disruption_budget(self.pool, build)
        return [
            *self._child(SECRET, self.observed.secret, secret),
            *self._child(POD_DISRUPTION_BUDGET, self.observed.disruption_budget, budget),
        ]

    def _deployment(self, revision: Revision) -> Sequence[ChildAction]:
        manifest = render_deployment(self.pool, revision, replicas=self.replicas.number)
        return [
            replace(one, contested_by=self.replicas.contested_by)
            if isinstance(one, ApplyObject)
            else one
            for one in self._child(DEPLOYMENT, self.observed.deployment, manifest)
        ]

    def _child(
        self, kind: Kind, child: Child | None, manifest: dict[str, Any]
    ) -> Sequence[ChildAction]:
        action = plan_child(kind, child, manifest, self.pool.metadata.uid)
        if isinstance(action, Blocked):
            raise ChildBlockedError(action)
        return [] if action is None else [action]


def _check(action: ChildAction) -> CheckObject:
    return CheckObject(kind=action.kind, key=action.key, manifest=action.manifest)
