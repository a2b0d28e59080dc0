"""One operator a file, with the chart's rights; a namespace and a database for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.operator.running import (
    Api,
    OperatorProcess,
    admin_requests,
    install,
    kubeconfig_of_operator,
    new_namespace,
)
from towpath_operator.adapters.kubernetes import Requests


@pytest.fixture(scope="session")
def administrator(cluster: Cluster) -> Requests:
    """Return a client with every right, after the CRDs and the operator's rights were installed."""
    install(cluster)
    return admin_requests(cluster)


@pytest.fixture(scope="module")
def operator_process(
    cluster: Cluster, administrator: Requests, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """Run the operator for the tests of one file: others bring an operator of their own."""
    del administrator
    folder: Path = tmp_path_factory.mktemp("operator")
    process = OperatorProcess(kubeconfig_of_operator(cluster, folder), folder / "operator.log")
    process.start()
    yield process
    if process.running:
        process.stop()


@pytest.fixture
def operator(operator_process: OperatorProcess) -> Iterator[OperatorProcess]:
    """Return the running operator; afterwards it runs again, and has logged no bug."""
    seen = len(operator_process.log())
    yield operator_process
    if not operator_process.running:
        operator_process.start()
    bugs = [line for line in operator_process.log()[seen:] if line["level"] == "error"]
    assert bugs == []


@pytest.fixture
def new_api(administrator: Requests, operator: OperatorProcess) -> Iterator[Callable[[], Api]]:
    """Return a function that makes a namespace of the test's own; they are deleted afterwards."""
    del operator
    made: list[Api] = []

    def make() -> Api:
        made.append(new_namespace(administrator))
        return made[-1]

    yield make
    for one in made:
        if one.exists():
            administrator.send("delete", f"/api/v1/namespaces/{one.namespace}")


@pytest.fixture
def api(new_api: Callable[[], Api]) -> Api:
    """Return a namespace of the test's own."""
    return new_api()
