"""What the running operator tells of itself: metrics, probes, and a trace that is asked for."""

from __future__ import annotations

from typing import Any
from urllib.request import urlopen

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster import Cluster
from tests.operator.running import (
    Api,
    OperatorProcess,
    eventually,
)
from towpath_operator.model.annotations import TRACE
from towpath_operator.ports.cluster import QUEUE, QUEUE_DATABASE, WORKER_POOL

WORKERS: dict[str, Any] = {
    "application": "shop.workflows",
    "autoscaling": {"min": 0, "max": 3},
    "template": {"spec": {"containers": [{"name": "worker", "image": "registry.invalid/shop:1"}]}},
}
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def page(operator: OperatorProcess, path: str) -> str:
    """Return a page of the operator's own server."""
    started = [line for line in operator.log() if line["event"] == "operator started"][-1]
    with urlopen(f"http://127.0.0.1:{started['port']}{path}", timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def scrape(operator: OperatorProcess) -> Series:
    """Return every series as Prometheus would read it."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page(operator, "/metrics"))
        for sample in family.samples
    }


def of_object(series: Series, metric: str, /, **labels: str) -> float | None:
    """Return the value of one series, or None where it is not served."""
    return series.get((metric, frozenset(labels.items())))


def test_queues_pools_and_databases_are_metrics_as_long_as_they_exist(
    api: Api, operator: OperatorProcess, empty_database_url: str
) -> None:
    """And the operator's own work beside them; what is deleted is not served for ever."""
    api.database(empty_database_url)
    api.queue("mail", workers=WORKERS)
    api.wait_ready(QUEUE, "mail")
    here = {"namespace": api.namespace}

    def complete() -> Series | None:
        found = scrape(operator)
        waiting = of_object(found, "towpath_queue_waiting", **here, queue="mail")
        desired = of_object(found, "towpath_pool_pods_desired", **here, pool="mail")
        return found if waiting == desired == 0.0 else None

    series = eventually(complete, what="the series of queue and pool")
    assert series is not None
    assert of_object(series, "towpath_queue_workers", **here, queue="mail") == 0.0
    assert of_object(series, "towpath_database_up", **here, database="default") == 1.0
    assert of_object(series, "towpath_operator_leader") == 1.0
    assert of_object(series, "towpath_operator_crds_outdated") == 0.0
    for kind, name in ((QUEUE, "mail"), (WORKER_POOL, "mail"), (QUEUE_DATABASE, "default")):
        ready = {"kind": kind.name, "name": name, **here}
        assert of_object(series, "towpath_object_ready", **ready) == 1.0
    work = {"kind": "Queue", "outcome": "done"}
    reconciles = of_object(series, "towpath_operator_reconcile_duration_seconds_count", **work)
    assert reconciles is not None
    assert reconciles > 0
    asked = {"verb": "PATCH", "resource": "queues/status", "code": "200"}
    assert of_object(series, "towpath_operator_api_request_duration_seconds_count", **asked)
    api.delete(QUEUE, "mail")
    mine = {*here.items(), ("queue", "mail")}
    eventually(
        lambda: not any(mine <= labels for _, labels in scrape(operator)),
        what="the series of the deleted Queue gone",
    )


def test_readyz_tells_who_leads_and_that_the_crds_are_current(operator: OperatorProcess) -> None:
    """For a person who asks; the kubelet looks at the status alone."""
    told = eventually(
        lambda: (t := yaml.safe_load(page(operator, "/readyz")))["crds"] == "current" and t
    )
    assert told["role"] == "leader"
    assert all(told.values())


def test_kubectl_waits_for_all_three_kinds(
    cluster: Cluster, api: Api, empty_database_url: str
) -> None:
    """As a pipeline does after its apply, without knowing anything of us."""
    api.database(empty_database_url)
    api.queue("mail", workers=WORKERS)
    # In this order: kubectl refuses to wait for what is not there, and the pool comes before its Queue.
    for name in ("queuedatabases/default", "queues/mail", "workerpools/mail"):
        kind, _, rest = name.partition("/")
        wait = ("wait", f"{kind}.towpath.dev/{rest}", "--for=condition=Ready", "--timeout=30s")
        cluster.kubectl(*wait, f"--namespace={api.namespace}")


def test_a_trace_of_one_reconcile_is_written_for_each_new_value_of_the_annotation(
    api: Api, operator: OperatorProcess, empty_database_url: str
) -> None:
    """What was observed, planned and done, with times, and without the database's password."""
    api.database(empty_database_url)
    api.queue("mail", workers=WORKERS)
    api.wait_ready(QUEUE, "mail")

    def traced(value: str) -> list[dict[str, Any]]:
        return [line for line in operator.log() if line.get("trace") == value]

    def ask(value: str) -> list[dict[str, Any]]:
        api.merge(WORKER_POOL, "mail", {"metadata": {"annotations": {TRACE: value}}})
        eventually(
            lambda: "trace ended" in [line["event"] for line in traced(value)],
            what=f"the trace {value}",
        )
        return traced(value)

    lines = ask(f"{api.namespace}-1")
    assert [line["event"] for line in lines] == [
        "trace began",
        "trace observed",
        "trace planned",
        "trace executed",
        "trace ended",
    ]
    assert {line["object"] for line in lines} == {f"WorkerPool {api.namespace}/mail"}
    assert lines[1]["observed"]["database"]["target"]["key"]["name"] == "default"
    assert lines[2]["ready"]["status"] == "True"
    assert lines[4]["outcome"] == "done"
    assert empty_database_url not in str(lines)
    ask(f"{api.namespace}-2")
    assert len(traced(f"{api.namespace}-1")) == len(lines)
    api.wait_ready(WORKER_POOL, "mail")
