"""A cluster that a person named: it is used as it is, and stays."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.access import Cluster, client_environment
from tests.cluster.commands import run
from tests.cluster.errors import ClusterError
from tests.cluster.forwarding import forwarding
from tests.cluster.images.official import POSTGRES_IMAGE, PYTHON_IMAGE
from tests.cluster.kind import find_program

VARIABLE = "TOWPATH_TEST_KUBECONFIG"
IMAGE_VARIABLE = "TOWPATH_TEST_IMAGE"


@dataclass(frozen=True, slots=True)
class NamedImages:
    """Images that a person has pushed to where the cluster finds them."""

    def build(
        self, name: str, *, dockerfile: Path, context: Path, arguments: Mapping[str, str]
    ) -> str:
        """Return the image that the environment names in place of this one."""
        del context, arguments
        variable = image_variable(name)
        image = os.environ.get(variable)
        if not image:
            reason = f"with {VARIABLE}, build {dockerfile}, push it, and name it by {variable}"
            raise ClusterError("image", reason)
        return image

    def python(self) -> str:
        """Return the official image."""
        return PYTHON_IMAGE

    def postgres(self) -> str:
        """Return the official image."""
        return POSTGRES_IMAGE


@contextmanager
def named_cluster(kubeconfig: str) -> Iterator[Cluster]:
    """Yield the cluster of a kubeconfig once it answers."""
    path = Path(kubeconfig)
    if not path.is_file():
        raise ClusterError("kubeconfig", f"{VARIABLE} names {path}, which is no file")
    kubectl, helm = find_program("kubectl"), find_program("helm")
    run("kube-apiserver", [kubectl, "get", "--raw", "/readyz"], env=client_environment(path))
    with forwarding(kubectl, client_environment(path)) as forwards:
        yield Cluster(
            kind="named",
            kubeconfig=path,
            kubectl_path=kubectl,
            helm_path=helm,
            images=NamedImages(),
            reach=forwards.reach,
        )


def image_variable(name: str) -> str:
    """Return the variable that names an image: the first is Towpath's own, the rest have names.

    >>> image_variable("towpath:test")
    'TOWPATH_TEST_IMAGE'
    >>> image_variable("shop:test")
    'TOWPATH_TEST_IMAGE_SHOP'
    """
    short = name.rpartition("/")[2].partition(":")[0]
    suffix = "" if short == "towpath" else f"_{short.upper().replace('-', '_')}"
    return f"{IMAGE_VARIABLE}{suffix}"
