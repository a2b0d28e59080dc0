"""What a plan consists of. `execute` runs the actions in order and stops at the first that fails.

Every action is safe to run again: after a failure the object is observed and planned anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from towpath.domain.deletion import Walk
from towpath.domain.queue import QueueSettings, Retention
from towpath_operator.model.conditions import Reason
from towpath_operator.plan.observed import DatabaseTarget, Owner
from towpath_operator.ports.cluster import Kind, Manifest, ObjectKey


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateSchema:
    """Bring the schema to this operator's version."""

    target: DatabaseTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantWorkers:
    """Give the workers' login the least that it needs in the schema."""

    target: DatabaseTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class SetDefaultRetention:
    """Say how long ended workflows are kept where their queue does not say."""

    target: DatabaseTarget
    retention: Retention


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclareQueue:
    """Write a queue's row, if its recorded owner still is the one that was observed.

    Attributes:
        target: The database.
        queue_name: The row's name.
        settings: What the row is to say.
        owner: Whom the row is to record.
        paused: Whether nothing may start; None leaves it as it is.
        closed: Whether enqueueing is refused; None leaves it as it is.
        replaces: The uid of the owner that was observed; None where the row was free or missing.
            A row that meanwhile records another uid is left as it is, without an error.
    """

    target: DatabaseTarget
    queue_name: str
    settings: QueueSettings
    paused: bool | None
    closed: bool | None
    owner: Owner
    replaces: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseQueue:
    """Free a queue's row for code and other Queues, if it still records this owner."""

    target: DatabaseTarget
    queue_name: str
    owner: Owner


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearQueue:
    """Delete a batch of the workflows of an owner's queue, and its row when none is left.

    `cancels_running` has those deleted too that workers have in memory; without it they end first.
    """

    target: DatabaseTarget
    queue_name: str
    owner: Owner
    walk: Walk
    cancels_running: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteEmptyQueue:
    """Look on whether an owner's queue has any workflow, and delete its row if it has none.

    `reopens` has it open again where it is kept: it is closed while it is looked at.
    """

    target: DatabaseTarget
    queue_name: str
    owner: Owner
    walk: Walk
    reopens: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFinalizers:
    """Make an object's finalizers others, if they still are as they were read."""

    kind: Kind
    key: ObjectKey
    uid: str
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckObject:
    """Ask whether the cluster would take a child, before anything of the plan is done."""

    kind: Kind
    key: ObjectKey
    manifest: Manifest = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveFields:
    """Give up fields of a child that are to keep their values: the next apply leaves them out."""

    kind: Kind
    key: ObjectKey
    manifest: Manifest = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateObject:
    """Make a child by POST. The manifest never shows in a repr, nor its hash: it may be a Secret."""

    kind: Kind
    key: ObjectKey
    manifest: Manifest = field(repr=False)
    applied: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyObject:
    """Apply a child that is ours already. Neither the manifest nor its hash shows in a repr.

    `contested_by` is the field manager whose spec.replicas this undoes, or leaves for a while; None
    where there is none.
    """

    kind: Kind
    key: ObjectKey
    manifest: Manifest = field(repr=False)
    applied: str = field(repr=False)
    contested_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteObject:
    """Delete a child of ours, only the one with this uid."""

    kind: Kind
    key: ObjectKey
    uid: str


ClusterAction = (
    CheckObject | LeaveFields | CreateObject | ApplyObject | DeleteObject | SetFinalizers
)
QueueAction = DeclareQueue | ReleaseQueue | ClearQueue | DeleteEmptyQueue
SchemaAction = MigrateSchema | GrantWorkers | SetDefaultRetention
Action = SchemaAction | QueueAction | ClusterAction


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A Kubernetes Event about the object itself; made on transitions only."""

    reason: str
    message: str
    warning: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an action failed. Without a reason it is a passing trouble, to be tried again.

    Before `retry_after` seconds have passed, the cluster does not want to be asked again.
    """

    reason: Reason | None
    message: str
    retry_after: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do for one object, and what its status is to say.

    Attributes:
        actions: To be run in order.
        status: The whole status, valid if every action succeeds (else see `plan.status.failed`).
        status_changed: Whether the status is worth a write.
        numbers_changed: Whether that write carries new numbers (for `numbers_written_at`).
        events: To be published after the actions.
        requeue_after: When to look again, without any event; None waits for one, or the resync.
    """

    actions: tuple[Action, ...] = ()
    status: dict[str, Any] = field(default_factory=dict)
    status_changed: bool = False
    numbers_changed: bool = False
    events: tuple[Event, ...] = ()
    requeue_after: timedelta | None = None
