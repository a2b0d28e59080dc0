"""A cluster of `kind`, where a container engine runs; images come from its registries."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.access import Cluster, client_environment
from tests.cluster.cache import cache_folder
from tests.cluster.commands import reported, run
from tests.cluster.errors import ClusterError
from tests.cluster.forwarding import forwarding
from tests.cluster.images.official import POSTGRES_IMAGE, PYTHON_IMAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class KindImages:
    """Builds with docker and loads into the nodes of kind."""

    name: str

    def build(
        self, name: str, *, dockerfile: Path, context: Path, arguments: Mapping[str, str]
    ) -> str:
        """Build an image, load it, and return its name."""
        argv = ["docker", "build", f"--file={dockerfile}", f"--tag={name}"]
        argv += [f"--build-arg={key}={value}" for key, value in arguments.items()]
        with reported(f"building the image {name}"):
            run("docker build", [*argv, str(context)], seconds=1200)
            run("kind", ["kind", "load", "docker-image", name, f"--name={self.name}"], seconds=600)
        return name

    def python(self) -> str:
        """Return the official image, which the node pulls."""
        return PYTHON_IMAGE

    def postgres(self) -> str:
        """Return the official image, which the node pulls."""
        return POSTGRES_IMAGE


@contextmanager
def kind_cluster() -> Iterator[Cluster]:
    """Run a cluster of kind as long as the block lasts."""
    kubectl, helm = find_program("kubectl"), find_program("helm")
    name = f"towpath-{os.getpid()}"
    kubeconfig = cache_folder() / f"{name}.kubeconfig"
    create = ["kind", "create", "cluster", f"--name={name}", f"--kubeconfig={kubeconfig}"]
    with _deleted_at_the_end(name, kubeconfig):
        with reported("starting a cluster of kind"):
            run("kind", [*create, "--wait=180s"], seconds=600)
        with forwarding(kubectl, client_environment(kubeconfig)) as forwards:
            yield Cluster(
                kind="kind",
                kubeconfig=kubeconfig,
                kubectl_path=kubectl,
                helm_path=helm,
                images=KindImages(name=name),
                reach=forwards.reach,
            )


def find_program(name: str) -> Path:
    """Return the path of a program that this kind of cluster needs installed."""
    found = shutil.which(name)
    if found is None:
        raise ClusterError(name, "not installed; put it on PATH")
    return Path(found)


@contextmanager
def _deleted_at_the_end(name: str, kubeconfig: Path) -> Iterator[None]:
    """Delete the cluster when this process ends, by SIGKILL too.

    A shell waits for the end of its input, which is ours, and only then deletes.
    """
    script = 'cat; kind delete cluster --name="$1" --kubeconfig="$2"; rm -f "$2"'
    reaper = subprocess.Popen(
        ["sh", "-c", script, "sh", name, str(kubeconfig)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        reaper.communicate()
