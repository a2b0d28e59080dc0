"""Where it is measured: a cluster, a database on this machine's Postgres, the operator as a process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from tests.cluster import Cluster, cluster
from tests.operator.running import (
    Api,
    OperatorProcess,
    admin_requests,
    install,
    kubeconfig_of_operator,
    new_namespace,
)
from towpath_operator.adapters.kubernetes import Requests


@dataclass(slots=True)
class Place:
    """A cluster with the operator's rights and kinds, and no operator yet."""

    cluster: Cluster
    requests: Requests
    folder: Path

    def namespace(self) -> Api:
        """Make a namespace."""
        return new_namespace(self.requests)

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yield the URI of an empty database."""
        postgres = self.cluster.postgres()
        name = f"bench_{os.getpid()}_{len(list(self.folder.iterdir()))}"
        (self.folder / name).touch()
        with psycopg.connect(postgres.uri(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            yield postgres.uri(name)
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
            connection.execute(drop.format(sql.Identifier(name)))

    @contextmanager
    def operator(self) -> Iterator[OperatorProcess]:
        """Run the operator, with the chart's rights, on this machine."""
        kubeconfig = kubeconfig_of_operator(self.cluster, self.folder)
        process = OperatorProcess(kubeconfig, self.folder / "operator.log")
        process.start()
        try:
            yield process
        finally:
            if process.running:
                process.stop()


@contextmanager
def place() -> Iterator[Place]:
    """Find or start a cluster."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        running = stack.enter_context(cluster())
        install(running)
        yield Place(running, admin_requests(running), folder)


def operator_process() -> psutil.Process:
    """Return this process's running operator, to ask what it costs."""
    for child in psutil.Process().children(recursive=True):
        if "towpath_operator" in child.cmdline():
            return child
    raise LookupError("no operator runs")
