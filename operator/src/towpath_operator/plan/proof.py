"""Reads from a Pod what its kubelet has proved of the workers in it: that they run no more.

A kubelet writes that a container is terminated, and that a pod is Succeeded or Failed, only after
the runtime has told it that the processes are gone. Whoever else writes a pod's phase or deletes a
pod by force (the pod garbage collector after the loss of a node, a person) leaves the container as
the kubelet reported it last, running: that proves nothing, and the heartbeat decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from towpath_operator.ports.cluster import Manifest

WORKER: Final = "worker"
ENDED: Final = frozenset({"Succeeded", "Failed"})
_BY_OTHERS: Final = frozenset({"DeletionByPodGC"})
"""Reasons of the condition DisruptionTarget with which another than the kubelet ends a pod."""

_NODE_LOST: Final = "NodeLost"


@dataclass(frozen=True, slots=True)
class Proof:
    """Which workers of a pod run no more.

    Attributes:
        pod_uid: The pod.
        began_before: Those that had begun before this moment, by the clock of their node, which is
            the kubelet's too; None: all of them, and no other will begin in this pod.
    """

    pod_uid: str
    began_before: datetime | None


def proved_by(pod: Manifest) -> Proof | None:
    """Return what a Pod proves, as it is or as it was when it was deleted; None: nothing.

    A container that was started again proves the end of what had begun before the last end: its
    own worker begins later. The kubelet's whole seconds only make that moment earlier.
    """
    status = pod.get("status") or {}
    worker = _worker_status(pod, status)
    state = worker.get("state") or {}
    uid: str = pod["metadata"]["uid"]
    if "terminated" in state and status.get("phase") in ENDED and not _ended_by_others(status):
        return Proof(uid, None)
    ends = _ends(state, worker.get("lastState") or {})
    return Proof(uid, max(ends)) if ends else None


def _worker_status(pod: Manifest, status: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the kubelet says of the container called worker, else of the first one."""
    containers: Sequence[Mapping[str, Any]] = pod["spec"]["containers"]
    names = [container["name"] for container in containers]
    name = WORKER if WORKER in names else names[0]
    statuses: Sequence[Mapping[str, Any]] = status.get("containerStatuses") or ()
    return next((one for one in statuses if one["name"] == name), {})


def _ended_by_others(status: Mapping[str, Any]) -> bool:
    return status.get("reason") == _NODE_LOST or any(
        one.get("type") == "DisruptionTarget"
        and one.get("status") == "True"
        and one.get("reason") in _BY_OTHERS
        for one in status.get("conditions") or ()
    )


def _ends(*states: Mapping[str, Any]) -> list[datetime]:
    """Return when runs of the container ended, as far as that is known."""
    return [moment for state in states for moment in _finished(state.get("terminated") or {})]


def _finished(terminated: Mapping[str, Any]) -> Iterable[datetime]:
    # Without a time where the container was not found any more: nobody knows when it ended.
    text = terminated.get("finishedAt")
    if text:
        yield datetime.fromisoformat(text)
