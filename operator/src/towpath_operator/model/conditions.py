"""Conditions and their reasons: one enum, each reason with the sentence that the docs show."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class ConditionType(StrEnum):
    """The types of conditions in a status."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    DATABASE_REACHABLE = "DatabaseReachable"
    LEAST_PRIVILEGE = "LeastPrivilege"
    TEMPLATE_VALID = "TemplateValid"
    WORKERS_AVAILABLE = "WorkersAvailable"
    PAUSED = "Paused"
    AUTOSCALING_ACTIVE = "AutoscalingActive"


class Reason(StrEnum):
    """Why a condition is what it is. The words are part of the API: alerts and scripts match them."""

    IN_FORCE = "InForce"
    INVALID_SPEC = "InvalidSpec"
    RETRYING = "Retrying"
    PLAN_ONLY = "PlanOnly"

    DATABASE_NOT_FOUND = "DatabaseNotFound"
    DATABASE_NOT_GRANTED = "DatabaseNotGranted"
    DATABASE_MOVED = "DatabaseMoved"
    DATABASE_UNREACHABLE = "DatabaseUnreachable"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - a reason, no secret
    SECRET_KEY_MISSING = "SecretKeyMissing"  # noqa: S105 - a reason, no secret
    SECRET_INVALID = "SecretInvalid"  # noqa: S105 - a reason, no secret
    CREDENTIALS_REJECTED = "CredentialsRejected"
    POOLER_WITHOUT_DIRECT = "PoolerWithoutDirect"
    SCHEMA_PENDING = "SchemaPending"
    SCHEMA_TOO_NEW = "SchemaTooNew"
    SERVER_TOO_OLD = "ServerTooOld"

    OWN_LOGIN = "OwnLogin"
    SHARED_LOGIN = "SharedLogin"
    MORE_THAN_NEEDED = "MoreThanNeeded"

    ROW_PENDING = "RowPending"
    DELETING = "Deleting"
    QUEUE_CONFLICT = "QueueConflict"
    QUEUE_NOT_FOUND = "QueueNotFound"
    POOL_NOT_READY = "PoolNotReady"
    NAME_TAKEN = "NameTaken"

    TEMPLATE_REJECTED = "TemplateRejected"
    PODS_STARTING = "PodsStarting"
    PODS_REJECTED = "PodsRejected"
    QUOTA_EXCEEDED = "QuotaExceeded"
    IMAGE_PULL = "ImagePull"
    IMPORT_FAILED = "ImportFailed"
    CRASH_LOOP = "CrashLoop"
    UNSCHEDULABLE = "Unschedulable"
    REPLICAS_CONFLICT = "ReplicasConflict"
    SIZE_DECLARED = "SizeDeclared"

    SERVED = "Served"
    NOT_SERVED = "NotServed"
    NOT_SAMPLED = "NotSampled"

    PAUSED_BY_MANIFEST = "PausedByManifest"
    PAUSED_BY_HAND = "PausedByHand"
    PAUSED_TO_DELETE = "PausedToDelete"
    NOT_PAUSED = "NotPaused"

    @property
    def doc(self) -> str:
        """The one sentence that the reference page shows."""
        return REASON_DOCS[self]

    @property
    def stalls(self) -> bool:
        """Whether a person must act: `Stalled` rather than `Reconciling` stands beside Ready=False."""
        return self in STALLING


REASON_DOCS: Final[dict[Reason, str]] = {
    Reason.IN_FORCE: "What the manifest declares is in force.",
    Reason.INVALID_SPEC: "The spec breaks a rule of its CRD; the message names the field.",
    Reason.RETRYING: "A request failed for a passing reason and is tried again.",
    Reason.PLAN_ONLY: "The annotation towpath.dev/plan-only holds the object as it is; status.plan says "
    "what would be done.",
    Reason.DATABASE_NOT_FOUND: "No QueueDatabase has the name that databaseRef gives.",
    Reason.DATABASE_NOT_GRANTED: "The QueueDatabase's allowedNamespaces does not list this namespace.",
    Reason.DATABASE_MOVED: "databaseRef now finds another database than the one in status.database.",
    Reason.DATABASE_UNREACHABLE: "Postgres does not answer; it is tried again.",
    Reason.SECRET_NOT_FOUND: "A Secret that the QueueDatabase names does not exist, or may not "
    "be read.",
    Reason.SECRET_KEY_MISSING: "A Secret that the QueueDatabase names has no value under its key.",
    Reason.SECRET_INVALID: "A Secret's value is none that Towpath accepts; the message names its key.",
    Reason.CREDENTIALS_REJECTED: "Postgres refuses the login in the Secret, or what it may do.",
    Reason.POOLER_WITHOUT_DIRECT: "The database is behind a transaction pooler, and no "
    "operatorUriSecretRef leads to the server itself.",
    Reason.SCHEMA_PENDING: "The database's schema is not yet migrated to this operator's version.",
    Reason.SCHEMA_TOO_NEW: "The database's schema no longer serves an operator this old.",
    Reason.SERVER_TOO_OLD: "The Postgres server is older than version 15.",
    Reason.OWN_LOGIN: "The pods log in as another role than the operator.",
    Reason.SHARED_LOGIN: "The pods use the operator's login, which may do more than they need.",
    Reason.MORE_THAN_NEEDED: "The workers' login may do more than workers need; the message says what.",
    Reason.ROW_PENDING: "The queue's row in the database is not yet as declared.",
    Reason.DELETING: "The Queue is being deleted, and its row before it; the message says what is left.",
    Reason.QUEUE_CONFLICT: "Another Queue holds the row of this queueName; the message names it.",
    Reason.QUEUE_NOT_FOUND: "The WorkerPool names a Queue that does not exist or is of another database.",
    Reason.POOL_NOT_READY: "The Queue's own WorkerPool is not Ready; the message says why.",
    Reason.NAME_TAKEN: "An object of the child's name exists and belongs to something else.",
    Reason.TEMPLATE_REJECTED: "The pod template cannot be used; the message says which part.",
    Reason.PODS_STARTING: "Not all wanted pods are available yet, or older ones are still being replaced.",
    Reason.PODS_REJECTED: "The API server refuses to create the pods.",
    Reason.QUOTA_EXCEEDED: "A ResourceQuota of the namespace leaves no room for the pods.",
    Reason.IMAGE_PULL: "The kubelet cannot pull the image of a pod.",
    Reason.IMPORT_FAILED: "A worker cannot import its application; the message ends with the error.",
    Reason.CRASH_LOOP: "A container of the pods exits again and again.",
    Reason.UNSCHEDULABLE: "The scheduler finds no node for a pod.",
    Reason.REPLICAS_CONFLICT: "Something else keeps writing the Deployment's spec.replicas.",
    Reason.SIZE_DECLARED: "The number of pods is spec.replicas, as autoscaling.mode says.",
    Reason.SERVED: "At least one live worker serves the queue.",
    Reason.NOT_SERVED: "No live worker serves the queue.",
    Reason.NOT_SAMPLED: "The database could not be asked; the last known state is kept.",
    Reason.PAUSED_BY_MANIFEST: "Nothing of the queue starts, since the manifest says paused: true.",
    Reason.PAUSED_BY_HAND: "Nothing of the queue starts, by `towpath queue pause`; the manifest leaves "
    "it open.",
    Reason.PAUSED_TO_DELETE: "Nothing of the queue starts any more, since the Queue is being deleted.",
    Reason.NOT_PAUSED: "Workflows of the queue start as its limits allow.",
}

STALLING: Final = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.PLAN_ONLY,
        Reason.DATABASE_NOT_GRANTED,
        Reason.DATABASE_MOVED,
        Reason.SECRET_KEY_MISSING,
        Reason.SECRET_INVALID,
        Reason.CREDENTIALS_REJECTED,
        Reason.POOLER_WITHOUT_DIRECT,
        Reason.SCHEMA_TOO_NEW,
        Reason.SERVER_TOO_OLD,
        Reason.QUEUE_CONFLICT,
        Reason.NAME_TAKEN,
        Reason.TEMPLATE_REJECTED,
        Reason.PODS_REJECTED,
        Reason.QUOTA_EXCEEDED,
        Reason.IMAGE_PULL,
        Reason.IMPORT_FAILED,
        Reason.CRASH_LOOP,
        Reason.REPLICAS_CONFLICT,
    }
)
"""Reasons that do not go away by waiting. A missing object may still come, so it is not one."""
