"""The handle of a running cluster: what tests and the demo may do with it."""

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from tests.cluster.cache import cache_folder, digest
from tests.cluster.commands import run
from tests.cluster.errors import ClusterError
from tests.cluster.postgres import NAMESPACE, SERVICE, PostgresAccess, manifest

# A cluster that a person named, one of `kind`, or the node made of Go modules.
Kind = Literal["named", "kind", "node"]


class Images(Protocol):
    """Builds images for a cluster and makes them known to it."""

    def build(
        self, name: str, *, dockerfile: Path, context: Path, arguments: Mapping[str, str]
    ) -> str:
        """Build an image, load it into the cluster, and return the name for manifests."""

    def python(self) -> str:
        """Return the name of a loaded image with python3 and nothing of ours."""

    def postgres(self) -> str:
        """Return the name of an image that takes POSTGRES_PASSWORD and PGDATA."""


@dataclass(slots=True, kw_only=True)
class Cluster:
    """A cluster that answers, with the programs to use it."""

    kind: Kind
    kubeconfig: Path
    kubectl_path: Path
    helm_path: Path
    images: Images
    # How the host gets at a port of a Service: from (namespace, service, node port) to host, port.
    reach: Callable[[str, str, int], tuple[str, int]]
    # Why the cluster itself no longer works, if it does not: asked after a failed command.
    check: Callable[[], object] = lambda: None
    # Kills the API server and returns once it answers again; None where that cannot be done.
    restart_api: Callable[[], None] | None = None
    _postgres: PostgresAccess | None = field(default=None, init=False)

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
        """Run kubectl on this cluster and return its stdout."""
        return self._run("kubectl", self.kubectl_path, arguments, stdin, seconds)

    def helm(self, *arguments: str, stdin: str | None = None, seconds: float = 300) -> str:
        """Run helm on this cluster and return its stdout."""
        return self._run("helm", self.helm_path, arguments, stdin, seconds)

    def apply(self, text: str, *, namespace: str | None = None) -> str:
        """Apply a manifest that is given as text; a namespace must be that of all its objects."""
        where = [f"--namespace={namespace}"] if namespace else []
        return self.kubectl("apply", *where, "--filename=-", stdin=text)

    def wait_available(
        self, deployment: str, *, namespace: str = "default", seconds: float = 120
    ) -> None:
        """Return when a Deployment is rolled out; past the deadline say what its pods say."""
        where = f"--namespace={namespace}"
        status = ["rollout", "status", f"deployment/{deployment}", where]
        try:
            self.kubectl(*status, f"--timeout={seconds:.0f}s", seconds=seconds + 20)
        except ClusterError as error:
            part = f"deployment/{deployment}"
            raise ClusterError(part, error.log, self._describe(namespace)) from error

    def build_image(
        self,
        name: str,
        *,
        dockerfile: Path,
        context: Path,
        arguments: Mapping[str, str] | None = None,
    ) -> str:
        """Build `name` from a Dockerfile, load it, and return the name to use in manifests.

        The name has a tag (`shop:test`), so that the kubelet takes what is there and pulls nothing.
        The Dockerfile's argument PYTHON_IMAGE is set where its default cannot be pulled.
        """
        return self.images.build(
            name, dockerfile=dockerfile, context=context, arguments=arguments or {}
        )

    def postgres(self) -> PostgresAccess:
        """Return a Postgres that pods and this process reach, started at the first call."""
        if self._postgres is None:
            self.apply(manifest(self.images.postgres()))
            self.wait_available(SERVICE, namespace=NAMESPACE)
            self._postgres = PostgresAccess.reached_by(self.reach)
        return self._postgres

    def environment(self) -> dict[str, str]:
        """Return what a child process needs to talk to this cluster by `kubectl` and `helm`."""
        folders = dict.fromkeys([str(self.kubectl_path.parent), str(self.helm_path.parent)])
        path = os.pathsep.join([*folders, os.environ.get("PATH", "")])
        return {**client_environment(self.kubeconfig), "PATH": path}

    def _describe(self, namespace: str) -> str:
        """Collect what tells a person why pods of a namespace do not work."""
        where = f"--namespace={namespace}"
        texts = [self.kubectl("get", "pods", where, "--output=wide")]
        texts.append(self.kubectl("get", "events", where, "--sort-by=.lastTimestamp"))
        for pod in self.kubectl("get", "pods", where, "--output=name").split():
            # A container that never began has no log; its event has said why.
            with contextlib.suppress(ClusterError):
                texts.append(self.kubectl("logs", where, pod, "--all-containers", "--tail=10"))
        return "\n".join(texts)

    def _run(
        self,
        name: str,
        program: Path,
        arguments: tuple[str, ...],
        stdin: str | None,
        seconds: float,
    ) -> str:
        env = client_environment(self.kubeconfig)
        try:
            return run(name, [program, *arguments], stdin=stdin, env=env, seconds=seconds)
        except ClusterError:
            self.check()
            raise


def client_environment(kubeconfig: Path) -> dict[str, str]:
    """Return the settings of kubectl and helm for a cluster.

    What they remember of an API is kept a cluster: another one at the same address has other kinds.
    """
    ours = cache_folder() in kubeconfig.parents
    memory = (kubeconfig.parent if ours else cache_folder()) / f"kubectl-{digest([kubeconfig])}"
    return {"KUBECONFIG": str(kubeconfig), "KUBECACHEDIR": str(memory)}
