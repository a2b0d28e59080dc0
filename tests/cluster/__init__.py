"""Finds or starts a real Kubernetes cluster for the tests and for `make demo-kubernetes`.

`cluster()` is the whole of it: a context manager that yields a `Cluster`. Which cluster that is,
is decided in `discovery`: one that is named by TOWPATH_TEST_KUBECONFIG, else `kind` where a
container engine runs, else a single node made of Kubernetes' own Go modules. Nothing here imports
Towpath: the cluster knows images and manifests, not what is in them.
"""

from tests.cluster.access import Cluster
from tests.cluster.discovery import cluster
from tests.cluster.errors import ClusterError
from tests.cluster.postgres import PostgresAccess
from tests.cluster.project import build_shop, build_towpath

__all__ = [
    "Cluster",
    "ClusterError",
    "PostgresAccess",
    "build_shop",
    "build_towpath",
    "cluster",
]
