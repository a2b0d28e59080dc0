"""Reads from pods and their Deployment why workers do not come up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from towpath_operator.model.conditions import Reason
from towpath_operator.plan.observed import Blocked
from towpath_operator.ports.cluster import Manifest

IMPORT_FAILURE: Final = "cannot import application"
"""How the worker begins to say that it cannot import the application."""

_WAITING: Final[Mapping[str, Reason]] = {
    "ErrImagePull": Reason.IMAGE_PULL,
    "ImagePullBackOff": Reason.IMAGE_PULL,
    "InvalidImageName": Reason.IMAGE_PULL,
    "ErrImageNeverPull": Reason.IMAGE_PULL,
    "ImageInspectError": Reason.IMAGE_PULL,
    "RegistryUnavailable": Reason.IMAGE_PULL,
    "CreateContainerConfigError": Reason.PODS_REJECTED,
    "CreateContainerError": Reason.PODS_REJECTED,
    "RunContainerError": Reason.PODS_REJECTED,
    "CrashLoopBackOff": Reason.CRASH_LOOP,
}
_GRAVEST_FIRST: Final = (
    Reason.IMPORT_FAILED,
    Reason.QUOTA_EXCEEDED,
    Reason.PODS_REJECTED,
    Reason.IMAGE_PULL,
    Reason.CRASH_LOOP,
    Reason.UNSCHEDULABLE,
)
_MESSAGE_LENGTH: Final = 500


def pods_trouble(pods: Sequence[Manifest], deployment: Manifest) -> Blocked | None:
    """Return the gravest reason why pods of a pool do not come up; None where there is none."""
    found = [trouble for pod in pods for trouble in _pod_troubles(pod)]
    found += _deployment_troubles(deployment)
    by_reason = {trouble.reason: trouble for trouble in reversed(found)}
    return next((by_reason[reason] for reason in _GRAVEST_FIRST if reason in by_reason), None)


def _pod_troubles(pod: Manifest) -> Iterable[Blocked]:
    if pod["metadata"].get("deletionTimestamp"):
        return
    status = pod.get("status") or {}
    name = pod["metadata"].get("name")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            yield _trouble(Reason.UNSCHEDULABLE, f"pod {name}: {condition.get('message', '')}")
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(kind) or ():
            yield from _container_troubles(f"pod {name}", container)


def _container_troubles(pod: str, container: Mapping[str, Any]) -> Iterable[Blocked]:
    if container.get("ready"):
        return
    state = container.get("state") or {}
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    lines = [line.strip() for line in str(ended.get("message") or "").splitlines() if line.strip()]
    import_failure = next((line for line in reversed(lines) if IMPORT_FAILURE in line), None)
    waiting = state.get("waiting") or {}
    reason = _WAITING.get(str(waiting.get("reason")))
    if import_failure is not None:
        yield _trouble(Reason.IMPORT_FAILED, f"{pod}: {import_failure}")
    elif reason is Reason.CRASH_LOOP:
        last = lines[-1] if lines else "it printed nothing"
        code = ended.get("exitCode", "unknown")
        said = f"container {container.get('name')} exits again and again (code {code}): {last}"
        yield _trouble(reason, f"{pod}: {said}")
    elif reason is not None:
        yield _trouble(reason, f"{pod}: {waiting.get('message') or waiting.get('reason')}")


def _deployment_troubles(deployment: Manifest) -> Iterable[Blocked]:
    for condition in (deployment.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            message = str(condition.get("message") or condition.get("reason"))
            yield _trouble(refusal_reason(message) or Reason.PODS_REJECTED, message)


def refusal_reason(message: str) -> Reason | None:
    """Tell a quota from other refusals by the API server's words."""
    return Reason.QUOTA_EXCEEDED if "exceeded quota" in message else None


def _trouble(reason: Reason, message: str) -> Blocked:
    return Blocked(reason=reason, message=message[:_MESSAGE_LENGTH])
