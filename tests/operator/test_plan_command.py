"""`towpath plan` on a real cluster: it foretells what an apply then brings about, and writes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import Cluster
from tests.operator.running import OPERATOR_NAMESPACE, Api
from tests.operator.test_queue_in_cluster import WORKERS, rows
from towpath_operator.adapters.kubernetes import path_of
from towpath_operator.ports.cluster import DEPLOYMENT, QUEUE, WORKER_POOL


class Planner:
    """Runs the command for one manifest of a namespace."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._file = folder / "queue.yaml"

    def ask(self, spec: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
        """Ask what applying the Queue mail would bring about."""
        metadata = {"name": "mail"}
        api = "towpath.dev/v1alpha1"
        body = {"apiVersion": api, "kind": "Queue", "metadata": metadata, "spec": spec}
        self._file.write_text(yaml.safe_dump(body))
        where = [f"--namespace={self._namespace}", f"--operator-namespace={OPERATOR_NAMESPACE}"]
        return subprocess.run(
            [sys.executable, "-m", "towpath", "plan", f"--filename={self._file}", *where, *options],
            env={**os.environ, "KUBECONFIG": str(self._cluster.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def planner(cluster: Cluster, api: Api, tmp_path: Path) -> Planner:
    """Return the command at work in the test's namespace."""
    return Planner(cluster, api.namespace, tmp_path)


def versions(api: Api) -> dict[str, str]:
    """Return the resource version of everything that an apply could change."""
    return {
        f"{kind.name} {one['metadata']['name']}": one["metadata"]["resourceVersion"]
        for kind in (QUEUE, WORKER_POOL, DEPLOYMENT)
        for one in api.requests.send("get", path_of(kind, namespace=api.namespace))["items"]
    }


def test_a_change_is_foretold_and_nothing_is_written(
    api: Api, planner: Planner, database_url: str
) -> None:
    """The row, the pool and the Deployment, with the old and the new values; then it comes true."""
    api.database(database_url)
    api.queue("mail", concurrency={"global": 2}, workers=WORKERS)
    api.wait_ready(QUEUE, "mail")
    before, row = versions(api), rows(database_url, "SELECT * FROM towpath.queue")

    spec = {"concurrency": {"global": 3}, "workers": {**WORKERS, "slots": 7}}
    told = planner.ask(spec, "--exit-code")

    assert told.returncode == 1, told.stderr
    assert "change queue 'mail' in" in told.stdout
    assert "    concurrency.global: 2 -> 3\n" in told.stdout
    assert f"change WorkerPool {api.namespace}/mail\n    spec.slots: 5 -> 7\n" in told.stdout
    assert f"change Deployment {api.namespace}/mail   the pods are replaced\n" in told.stdout
    assert "env[TOWPATH_SLOTS].value: 5 -> 7" in told.stdout
    assert "Nothing was written.\n" in told.stderr
    assert versions(api) == before
    assert rows(database_url, "SELECT * FROM towpath.queue") == row

    api.merge(QUEUE, "mail", {"spec": spec})
    api.wait_ready(QUEUE, "mail")
    assert rows(
        database_url, "SELECT concurrency_global FROM towpath.queue WHERE name = 'mail'"
    ) == [(3,)]
    again = planner.ask(spec, "--exit-code")
    assert again.returncode == 0, again.stdout
    assert "Nothing would change.\n" in again.stdout


def test_a_new_queue_is_foretold_as_data_for_programs(
    api: Api, planner: Planner, database_url: str
) -> None:
    """What would be made, without any value of a Secret."""
    api.database(database_url)
    told = planner.ask({"workers": WORKERS}, "--output=json")

    assert told.returncode == 0, told.stderr
    changes = json.loads(told.stdout)["changes"]
    made = {one["about"] for one in changes if one["verb"] == "create"}
    place = f"{api.namespace}/mail"
    assert {f"WorkerPool {place}", f"Deployment {place}", f"Secret {place}-database"} <= made
    assert database_url not in told.stdout
    assert api.get(WORKER_POOL, "mail") is None


@pytest.mark.parametrize(
    ("spec", "options", "code", "said"),
    [
        ({"concurrency": {"global": 0}}, (), 2, "spec.concurrency.global"),
        ({"concurrencies": {}}, (), 2, "concurrencies"),
        ({}, ("--kubeconfig=/nowhere",), 5, "kubeconfig"),
        ({}, ("--context=nobody",), 5, "nobody"),
    ],
)
def test_what_cannot_be_planned_is_said_in_a_line(
    planner: Planner, spec: dict[str, Any], options: tuple[str, ...], code: int, said: str
) -> None:
    told = planner.ask(spec, *options)
    assert told.returncode == code, told.stderr
    assert told.stderr.startswith("error: ")
    assert said in told.stderr
    assert "Traceback" not in told.stderr


def test_a_change_that_the_cluster_refuses_is_refused(api: Api, planner: Planner) -> None:
    """An immutable field: the API server's own words."""
    api.queue("mail", queueName="letters")
    told = planner.ask({"queueName": "parcels"})
    assert told.returncode == 1, told.stdout
    assert "queueName cannot be changed" in told.stderr
