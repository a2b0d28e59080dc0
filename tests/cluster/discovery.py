"""Decides which cluster the tests use."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.cluster.access import Cluster
from tests.cluster.commands import say
from tests.cluster.kind import kind_cluster
from tests.cluster.named import VARIABLE, named_cluster
from tests.cluster.node.start import single_node


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Yield a cluster that answers, and end it afterwards unless a person named it.

    KUBECONFIG is never read: it may name a cluster where people work.
    """
    with _chosen() as found:
        say(f"ready: {found.kind}, kubeconfig {found.kubeconfig}")
        yield found


def _chosen() -> AbstractContextManager[Cluster]:
    kubeconfig = os.environ.get(VARIABLE)
    if kubeconfig:
        return named_cluster(kubeconfig)
    if shutil.which("kind") and _engine_runs():
        return kind_cluster()
    return single_node()


def _engine_runs() -> bool:
    """Tell whether a Docker engine answers; the client alone is on many machines."""
    if not shutil.which("docker"):
        return False
    asked = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        done = subprocess.run(asked, capture_output=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
