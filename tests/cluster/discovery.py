"""Decides which cluster the tests use."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.cluster.access import Cluster, Kind
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


def chosen_kind() -> Kind:
    """Return which kind of cluster `cluster` would yield here."""
    if os.environ.get(VARIABLE):
        return "named"
    return "kind" if shutil.which("kind") and _engine_runs() else "node"


def _chosen() -> AbstractContextManager[Cluster]:
    match chosen_kind():
        case "named":
            return named_cluster(os.environ[VARIABLE])
        case "kind":
            return kind_cluster()
        case "node":
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
