"""The story on a real node: the same manifests, pods in the place of processes.

The cluster is that of the tests: a kubeconfig that TOWPATH_TEST_KUBECONFIG names, else kind, else a
single node built from Kubernetes' own Go modules.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from examples.demo import page
from examples.demo.errors import DemoError
from examples.demo.page import Proof
from examples.demo.processes import program
from examples.demo.proofs import prove_limit, prove_once, prove_success
from examples.demo.results import show_results
from examples.demo.warehouse import Report
from tests.cluster import Cluster, ClusterError, PostgresAccess, build_shop, build_towpath
from tests.cluster import cluster as running_cluster
from towpath import Client, WorkflowInfo

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop"
CHART = ROOT / "charts" / "towpath"
SYSTEM = "towpath-system"
NAMESPACE = "shop"
SECRET = "towpath-database"  # noqa: S105 - an object's name
DATABASE = "towpath"
IMAGE_IN_MANIFESTS = "shop:test"
REPORT = f"/api/v1/namespaces/{NAMESPACE}/services/warehouse:http/proxy/report"
SINGLE = range(1, 25)
BATCH = range(25, 31)
ORDERS = [*SINGLE, *BATCH]
QUEUE = "queues.towpath.dev/external-api"
SHOWN_KINDS = "queues.towpath.dev,workerpools.towpath.dev"
NEXT = """\
make demo                                  the same on this machine, and a kill -9
make test                                  every test, on a cluster such as this
.venv/bin/python -m tests.cluster up       keeps one running, to try things on"""


def tell() -> list[Proof]:
    """Tell it, and return what it proved."""
    page.say("Towpath on Kubernetes: images, chart, manifests, pods, workflows.")
    page.heading("A Kubernetes cluster")
    page.lines(
        ["Built from source where there is none: 4 to 12 minutes the first time,", "then kept."]
    )
    try:
        with running_cluster() as cluster:
            return _tell(cluster)
    except ClusterError as error:
        raise DemoError(str(error)) from error


def _tell(cluster: Cluster) -> list[Proof]:
    page.heading("Images: Towpath from its Dockerfile, the shop FROM it")
    towpath = build_towpath(cluster)
    shop = build_shop(cluster, towpath)
    page.lines([towpath, shop])
    postgres = _start_postgres(cluster)
    with _installed(cluster, towpath, postgres.uri_for_pods(DATABASE)):
        _apply(cluster, shop)
        _place_orders(postgres.uri(DATABASE))
        with Client(postgres.uri(DATABASE)) as client:
            ends = _wait_for_all(cluster, client)
            report = _report(cluster)
            page.heading("Results")
            show_results(ends, report)
            proofs = [
                prove_success({info.workflow_id: info.status for info in ends}),
                *prove_limit(report),
                prove_once(report, ORDERS),
                *_delete(cluster, client),
            ]
        page.verdict("Proved, by the warehouse's own log and by the API server", proofs)
        page.heading("Removing what was installed")
    page.heading("Try next")
    page.lines(NEXT.splitlines())
    return proofs


def _start_postgres(cluster: Cluster) -> PostgresAccess:
    page.heading("A Postgres, in a pod")
    postgres = cluster.postgres()
    with psycopg.connect(postgres.uri(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")  # a constant
    page.lines([postgres.uri_for_pods(DATABASE)])
    return postgres


@contextmanager
def _installed(cluster: Cluster, image: str, uri: str) -> Iterator[None]:
    """Install the chart as its README says; remove it and the shop's namespace at the end."""
    page.heading("The operator, by its chart")
    repository, _, tag = image.rpartition(":")
    _kubectl(cluster, "create", "namespace", SYSTEM)
    secret = ["create", "secret", "generic", SECRET, f"--namespace={SYSTEM}"]
    page.lines([f"$ kubectl {' '.join(secret)} --from-literal=uri=..."])
    cluster.kubectl(*secret, f"--from-literal=uri={uri}")
    values = {
        "image.repository": repository,
        "image.tag": tag,
        "database.existingSecret": SECRET,
        "database.allowedNamespaces": f"{{{NAMESPACE}}}",
    }
    sets = [f"--set={name}={value}" for name, value in values.items()]
    install = ["install", "towpath", str(CHART), f"--namespace={SYSTEM}", *sets]
    shown = [f"    --set {name}={value}" for name, value in values.items()]
    page.lines([f"$ helm install towpath charts/towpath --namespace={SYSTEM}", *shown])
    cluster.helm(*install)
    try:
        cluster.wait_available("towpath", namespace=SYSTEM)
        yield
    finally:
        cluster.helm("uninstall", "towpath", f"--namespace={SYSTEM}")
        cluster.kubectl("delete", "namespace", NAMESPACE, SYSTEM, "--ignore-not-found")


def _apply(cluster: Cluster, image: str) -> None:
    """Apply the manifests of `towpath dev`, and wait until pods serve the queue."""
    page.heading("The shop, by the manifests that towpath dev runs too")
    _kubectl(cluster, "create", "namespace", NAMESPACE)
    for name in ("warehouse.yaml", "queue.yaml"):
        page.lines([f"$ kubectl apply --namespace={NAMESPACE} --filename=examples/shop/{name}"])
        # The same text, but where a cluster of somebody's own has the image under another name.
        text = (SHOP / name).read_text().replace(f"image: {IMAGE_IN_MANIFESTS}", f"image: {image}")
        page.lines(cluster.apply(text, namespace=NAMESPACE).splitlines())
    cluster.wait_available("warehouse", namespace=NAMESPACE)
    page.until(
        lambda: _is_ready(cluster) or None,
        what="the Queue ready",
        seconds=180,
        so_far=lambda: _pods_so_far(cluster),
    )
    _kubectl(cluster, "get", "pods", f"--namespace={NAMESPACE}")


def _is_ready(cluster: Cluster) -> bool:
    conditions = _queue_status(cluster).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _queue_status(cluster: Cluster) -> dict[str, Any]:
    said = cluster.kubectl("get", QUEUE, f"--namespace={NAMESPACE}", "--output=json")
    status: dict[str, Any] = json.loads(said).get("status", {})
    return status


def _pods_so_far(cluster: Cluster) -> str:
    said = cluster.kubectl("get", "pods", f"--namespace={NAMESPACE}", "--output=json")
    phases = [pod["status"]["phase"] for pod in json.loads(said)["items"]]
    return f"pods: {', '.join(sorted(phases)) or 'none yet'}"


def _place_orders(url: str) -> None:
    page.heading(f"Orders 1 to {SINGLE[-1]} are placed, and a batch of {len(BATCH)}")
    script = str(SHOP / "place_orders.py")
    with tempfile.TemporaryDirectory(prefix="towpath-demo-") as folder:
        for numbers, how in ((SINGLE, []), (BATCH, ["--as-batch"])):
            arguments = [script, str(numbers[0]), str(numbers[-1]), *how]
            env = {"TOWPATH_DATABASE_URL": url}
            with program("placing orders", arguments, folder=Path(folder), env=env) as placing:
                placing.ends(seconds=60)


def _wait_for_all(cluster: Cluster, client: Client) -> list[WorkflowInfo]:
    page.heading("At work")
    shown = False

    def look() -> list[WorkflowInfo] | None:
        nonlocal shown
        # The operator writes numbers at most every ten seconds.
        if not shown and _queue_status(cluster).get("running"):
            shown = True
            _kubectl(cluster, "get", SHOWN_KINDS, f"--namespace={NAMESPACE}")
        found = client.list_workflows(limit=2 * len(ORDERS))
        done = len(found) > len(ORDERS) and all(info.status.ended for info in found)
        return found if done else None

    return page.until(
        look, what="the end of all workflows", seconds=180, so_far=lambda: _report(cluster).so_far()
    )


def _report(cluster: Cluster) -> Report:
    """Ask the warehouse, by way of the API server."""
    return Report.of_text(cluster.kubectl("get", "--raw", REPORT))


def _delete(cluster: Cluster, client: Client) -> Iterator[Proof]:
    """Delete the Queue: its workers go, its workflows stay."""
    page.heading("The Queue is deleted")
    where = f"--namespace={NAMESPACE}"
    _kubectl(cluster, "delete", where, QUEUE, "--timeout=30s")

    def gone() -> bool | None:
        pods = ["get", "pods", where, "--selector=towpath.dev/pool", "--output=name"]
        return True if not cluster.kubectl(*pods).strip() else None

    page.until(gone, what="the end of its pods", seconds=60, so_far=lambda: _pods_so_far(cluster))
    left = cluster.kubectl("get", where, SHOWN_KINDS, "--output=name").split()
    kept = client.list_workflows(limit=2 * len(ORDERS))
    yield Proof(not left, "kubectl delete left no Queue, no WorkerPool and no worker's pod")
    yield Proof(len(kept) == len(ORDERS) + 1, f"{len(kept)} workflows are still to be read")


def _kubectl(cluster: Cluster, *arguments: str) -> None:
    """Run kubectl, and show the command and what it says."""
    page.lines([f"$ kubectl {' '.join(arguments)}"])
    page.lines(cluster.kubectl(*arguments).splitlines())
