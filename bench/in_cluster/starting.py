"""Measures a start beside what is in force already, and the rest after it: `python -m bench.in_cluster.starting`.

The operator brings Queues into force, half of them with workers at `min: 0`, is stopped, and started
again: from the start of its process until every object was reconciled, and what that asked of the API
server. Then nothing happens for a while, and what it asks meanwhile is counted. Prints Markdown.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.request import urlopen

import psutil

from bench.in_cluster.place import Place, operator_process, place
from bench.in_cluster.reaction import NO_IMAGE, apply_all, workers
from tests.operator.running import Api, OperatorProcess, eventually
from towpath_operator.adapters.kubernetes import path_of
from towpath_operator.ports.cluster import QUEUE, WORKER_POOL

PATIENCE_SECONDS = 1800.0
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_SAMPLE = re.compile(r"^(?P<name>\w+?)(_total|_count)?(\{(?P<labels>.*)\})? (?P<value>\S+)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Counts:
    """What the operator has counted so far."""

    requests: Counter[str]
    reconciled: Counter[str]
    statements: float
    waiting: float

    def since(self, before: Counts) -> Counter[str]:
        """Return the requests since an earlier moment, by verb and resource."""
        return self.requests - before.requests


def counts(process: OperatorProcess) -> Counts:
    """Read the operator's metrics."""
    with urlopen(f"http://127.0.0.1:{process.port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    requests: Counter[str] = Counter()
    reconciled: Counter[str] = Counter()
    statements = waiting = 0.0
    for line in text.splitlines():
        found = _SAMPLE.match(line)
        if found is None:
            continue
        labels: Mapping[str, str] = dict(_LABEL.findall(found["labels"] or ""))
        value = float(found["value"])
        match found["name"], line.partition("{")[0].rpartition("_")[2]:
            case "towpath_operator_api_request_duration_seconds", "count":
                requests[f"{labels['verb']} {labels['resource']}"] += int(value)
            case "towpath_operator_reconcile_duration_seconds", "count":
                if labels["outcome"] == "done":
                    reconciled[labels["kind"]] += int(value)
            case "towpath_operator_sql_duration_seconds", "count":
                statements += value
            case "towpath_operator_workqueue_depth", _:
                waiting = value
    return Counts(requests, reconciled, statements, waiting)


def main() -> None:
    """Measure with one number of queues."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.in_cluster.starting", description=__doc__
    )
    parser.add_argument("--queues", type=int, default=1000, help="half of them with workers")
    parser.add_argument("--rest-seconds", type=float, default=120.0)
    options = parser.parse_args()
    with place() as here, here.database() as url:
        _measure(here, url, options.queues, options.rest_seconds)


def _measure(here: Place, url: str, queues: int, rest_seconds: float) -> None:
    api = here.namespace()
    api.database(url)
    with here.operator():
        took = _bring_into_force(api, queues)
        print(
            f"{queues} Queues, half of them with workers, in force after {took:.1f} s", flush=True
        )
    before = _versions(api)
    began = time.monotonic()
    with here.operator() as process:
        leads = time.monotonic() - began
        eventually(lambda: _all_seen(process, queues), seconds=PATIENCE_SECONDS)
        started = time.monotonic() - began
        asked, system = counts(process), operator_process()
        memory, cpu = system.memory_info().rss / 1e6, system.cpu_times()
        changed = sum(before[name] != version for name, version in _versions(api).items())
        print("\n| leads s | all reconciled s | CPU s | objects changed | RSS MB |")
        print("|---|---|---|---|---|")
        busy = cpu.user + cpu.system
        print(f"| {leads:.1f} | {started:.1f} | {busy:.1f} | {changed} | {memory:.0f} |\n")
        _print_requests("start", asked.requests)
        time.sleep(30.0)
        _rest(process, system, rest_seconds)


def _bring_into_force(api: Api, queues: int) -> float:
    spec = {"workers": workers(NO_IMAGE, 0)}
    names = [f"queue-{number}" for number in range(queues)]
    began = time.monotonic()
    apply_all(names[::2], lambda name: api.queue(name, **spec))
    apply_all(names[1::2], api.queue)
    eventually(lambda: _ready(api) == queues + queues // 2, seconds=PATIENCE_SECONDS)
    return time.monotonic() - began


def _objects(api: Api) -> list[dict[str, object]]:
    paths = (path_of(kind, namespace=api.namespace) for kind in (QUEUE, WORKER_POOL))
    return [one for path in paths for one in api.requests.pages(path, label_selector="")[0]]


def _ready(api: Api) -> int:
    """Count the objects that are Ready; every few seconds, so that it costs the server little."""
    time.sleep(5.0)
    return sum(
        any(
            (one["type"], one["status"]) == ("Ready", "True")
            for one in found.get("status", {}).get("conditions", ())  # type: ignore[attr-defined]
        )
        for found in _objects(api)
    )


def _versions(api: Api) -> dict[str, str]:
    return {
        f"{one['kind']} {one['metadata']['name']}": one["metadata"]["resourceVersion"]  # type: ignore[index]
        for one in _objects(api)
    }


def _all_seen(process: OperatorProcess, queues: int) -> bool:
    """Tell whether each object was reconciled; to ask costs the operator more than to say."""
    time.sleep(1.0)
    found = counts(process)
    pools = queues // 2
    seen = found.reconciled["Queue"] >= queues and found.reconciled["WorkerPool"] >= pools
    return seen and found.waiting == 0


def _rest(process: OperatorProcess, system: psutil.Process, seconds: float) -> None:
    before, cpu = counts(process), system.cpu_times()
    time.sleep(seconds)
    after, later = counts(process), system.cpu_times()
    busy = later.user + later.system - cpu.user - cpu.system
    asked = after.since(before)
    per_minute = Counter({what: round(60 * n / seconds) for what, n in asked.items()})
    _print_requests("a minute at rest", per_minute)
    memory = system.memory_info().rss / 1e6
    sql = 60 * (after.statements - before.statements) / seconds
    print(
        f"| CPU {100 * busy / seconds:.1f} % | RSS {memory:.0f} MB | {sql:.1f} pieces of SQL a minute |"
    )


def _print_requests(when: str, asked: Counter[str]) -> None:
    writes = sum(n for what, n in asked.items() if what.split()[0] in WRITES)
    print(f"| {when}: request | times |\n|---|---|")
    for what, times in asked.most_common():
        print(f"| {what} | {times} |")
    print(f"| all | {asked.total()} |\n| writes | {writes} |\n", flush=True)


if __name__ == "__main__":
    main()
