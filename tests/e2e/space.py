"""A namespace of a test: what is applied there, what is waited for, and what is to be seen there."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import psycopg

from tests.cluster import Cluster, ClusterError
from tests.e2e.manifests import Manifest
from tests.e2e.release import Release

T = TypeVar("T")
POLL_SECONDS: Final = 0.2
OURS: Final = "queues.towpath.dev,workerpools.towpath.dev,queuedatabases.towpath.dev"
SHOWN: Final = f"{OURS},deployments,replicasets,pods"
WORKERS: Final = "--selector=towpath.dev/pool"
RESTRICTED: Final = "pod-security.kubernetes.io/enforce=restricted"
_numbers = itertools.count(1)


@dataclass(slots=True)
class Space:
    """A namespace; every wait has a deadline and fails with the state of all that is in it."""

    release: Release
    namespace: str

    @property
    def cluster(self) -> Cluster:
        """The cluster that it is in."""
        return self.release.cluster

    def kubectl(self, *arguments: str, seconds: float = 60) -> str:
        """Run kubectl here."""
        return self.cluster.kubectl(f"--namespace={self.namespace}", *arguments, seconds=seconds)

    def apply(self, *manifests: Manifest) -> str:
        """Apply objects as `kubectl apply` does, strictly validated."""
        text = "\n---\n".join(map(json.dumps, manifests))
        return self.cluster.apply(text, namespace=self.namespace)

    def patch(self, kind: str, name: str, change: Mapping[str, Any]) -> None:
        """Change an object by a merge patch."""
        self.kubectl("patch", kind, name, "--type=merge", f"--patch={json.dumps(change)}")

    def delete(self, kind: str, name: str, *options: str) -> None:
        """Delete an object, and return when it is gone, within a minute."""
        self.kubectl("delete", kind, name, "--timeout=60s", *options, seconds=70)

    def get(self, kind: str, name: str) -> Manifest:
        """Return an object that is there."""
        found: Manifest = json.loads(self.kubectl("get", kind, name, "--output=json"))
        return found

    def names(self, kinds: str, *options: str) -> list[str]:
        """Return what there is of some kinds, as kind/name."""
        return self.kubectl("get", kinds, "--output=name", *options).split()

    def pods(self) -> list[Manifest]:
        """Return the workers' pods that are not about to go."""
        return [pod for pod in self._all_pods() if "deletionTimestamp" not in pod["metadata"]]

    def _all_pods(self) -> list[Manifest]:
        said: Manifest = json.loads(self.kubectl("get", "pods", WORKERS, "--output=json"))
        return list(said["items"])

    def ready_pods(self) -> list[str]:
        """Return the names of the workers' pods that are ready."""
        return [
            pod["metadata"]["name"]
            for pod in self.pods()
            if {"type": "Ready", "status": "True"}.items()
            <= {
                k: v
                for c in pod["status"].get("conditions", ())
                if c["type"] == "Ready"
                for k, v in c.items()
            }.items()
        ]

    def condition(self, kind: str, name: str, of: str = "Ready") -> dict[str, Any]:
        """Return a condition that speaks of an object's present generation; empty without one."""
        found = self.get(kind, name)
        conditions = found.get("status", {}).get("conditions", [])
        match = [one for one in conditions if one["type"] == of]
        if not match or match[0]["observedGeneration"] != found["metadata"]["generation"]:
            return {}
        return dict(match[0])

    def until(self, look: Callable[[], T], what: str, *, seconds: float = 60) -> T:
        """Return the first true answer; past the deadline show what there is."""
        deadline = time.monotonic() + seconds
        last: object = None
        while time.monotonic() < deadline:
            try:
                found = look()
            except (ClusterError, psycopg.OperationalError, AssertionError, LookupError) as error:
                last = error
            else:
                if found:
                    return found
                last = found
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"{what}: not within {seconds:.0f} s, but {last!r}\n{self.state()}")

    def until_ready(self, kind: str, name: str, *, seconds: float = 60) -> None:
        """Wait until an object is Ready as it is now."""
        self.until(
            lambda: self.condition(kind, name).get("status") == "True",
            f"{kind} {name} Ready",
            seconds=seconds,
        )

    def until_alone(self, name: str) -> None:
        """Wait until the pods of a Queue, the only one here with workers, are as declared and no others.

        Ready does not wait for pods that were told to go. Until the kubelet's SIGTERM reaches one it
        may take a workflow, so that whoever counts on who does it waits for this.
        """
        self.until(lambda: self._is_alone(name), f"no other pods than those of {name}")
        for kind in ("workerpool", "queue"):
            self.until_ready(kind, name)

    def _is_alone(self, name: str) -> bool:
        deployment = self.get("deployment", name)
        wanted, status = deployment["spec"]["replicas"], deployment["status"]
        fields = ("replicas", "updatedReplicas", "availableReplicas")
        return (
            status["observedGeneration"] == deployment["metadata"]["generation"]
            and {status.get(field, 0) for field in fields} == {wanted}
            and len(self._all_pods()) == wanted
        )

    def until_reason(self, kind: str, name: str, reason: str, *, seconds: float = 60) -> str:
        """Wait until an object is not Ready for a reason, and return the message."""

        def look() -> str | None:
            ready = self.condition(kind, name)
            assert (ready.get("status"), ready.get("reason")) == ("False", reason), ready
            message: str = ready["message"]
            return message

        return self.until(look, f"{kind} {name} {reason}", seconds=seconds) or ""

    def texts(self) -> str:
        """Return all that our objects, their events and the pods here say."""
        said = [self.kubectl("get", f"{OURS},events,pods", "--output=json")]
        said += [self.log_of(pod) for pod in self.names("pods")]
        return "\n".join(said)

    def log_of(self, pod: str, *options: str) -> str:
        """Return a pod's log; nothing for one that never began or has gone."""
        with contextlib.suppress(ClusterError):
            return self.kubectl("logs", pod, "--all-containers", "--ignore-errors", *options)
        return ""

    def state(self) -> str:
        """Show what there is, for whoever reads of a failure."""
        pods = self.names("pods")
        parts = [
            self.kubectl("get", SHOWN, "--output=wide"),
            self.kubectl(
                "get",
                OURS,
                "--output=jsonpath={range .items[*]}{.kind} "
                "{.metadata.name}: {.status}{'\\n'}{end}",
            ),
            self.kubectl("get", "events", "--sort-by=.metadata.creationTimestamp"),
            *(f"{pod}:\n{self.log_of(pod, '--tail=15')}" for pod in pods),
        ]
        if self.release.installed:
            lines = map(json.dumps, self.release.log()[-25:])
            parts.append("operator:\n" + "\n".join(lines))
        return "\n".join(parts)

    def leave(self) -> None:
        """Have the namespace deleted; nobody waits for it."""
        self.cluster.kubectl(
            "delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found"
        )


def new_space(release: Release, *labels: str) -> Space:
    """Make a namespace."""
    name = f"e2e-{os.getpid()}-{next(_numbers)}"
    release.cluster.kubectl("create", "namespace", name)
    if labels:
        release.cluster.kubectl("label", "namespace", name, *labels)
    return Space(release, name)
