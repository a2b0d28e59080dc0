"""Measures the operator and prints Markdown: `python -m bench.in_cluster [--counts 1,100,1000]`.

Best on a quiet machine; with a thousand queues it takes about ten minutes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from bench.in_cluster.place import Place, operator_process, place
from bench.in_cluster.reaction import (
    Delays,
    bare_kopf_at_once,
    deployments_at_once,
    first_pod,
    queues_at_once,
)
from towpath_operator.ports.cluster import QUEUE

REST_SECONDS = 60.0


def main() -> None:
    """Measure for each number of queues in turn."""
    parser = argparse.ArgumentParser(prog="python -m bench.in_cluster", description=__doc__)
    parser.add_argument("--counts", default="1,100,1000", help="how many queues, each in turn")
    parser.add_argument("--rest-seconds", type=float, default=REST_SECONDS)
    options = parser.parse_args()
    counts = [int(count) for count in options.counts.split(",")]
    with place() as here:
        print("| queues at once | | p50 s | p99 s | all s |\n|---|---|---|---|---|")
        rest = [_measure(here, count, options.rest_seconds) for count in counts]
    print("\n| queues | first pod s | of a bare Deployment s | RSS MB | CPU % at rest |")
    print("|---|---|---|---|---|")
    print("\n".join(rest))


def _measure(here: Place, count: int, rest_seconds: float) -> str:
    """Measure with one number of queues; the pod is started beside them."""
    floor, bare = here.namespace(), here.namespace()
    _row(count, "Deployment applied by hand", deployments_at_once(floor, count))
    _row(count, "Deployment by a bare kopf handler", bare_kopf_at_once(here, bare, count))
    api = here.namespace()
    with here.database() as url, here.operator():
        api.database(url)
        api.queue("warm")  # the schema is migrated with the first
        api.wait_ready(QUEUE, "warm")
        for what, measured in queues_at_once(api, url, count).items():
            _row(count, f"{what} by Towpath", measured)
        took = first_pod(here, api)
        process = operator_process()
        before = process.cpu_times()
        time.sleep(rest_seconds)
        after = process.cpu_times()
        busy = after.user + after.system - before.user - before.system
        memory = process.memory_info().rss / 1e6
        _delete(here, [floor.namespace, bare.namespace, api.namespace])
    cells: Sequence[object] = (
        count,
        f"{took['towpath']:.2f}",
        f"{took['bare']:.2f}",
        f"{memory:.0f}",
        f"{100 * busy / rest_seconds:.1f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def _row(count: int, what: str, measured: Delays) -> None:
    p50, p99 = measured.percentile(50), measured.percentile(99)
    print(f"| {count} | {what} | {p50:.2f} | {p99:.2f} | {measured.all_seconds:.2f} |", flush=True)


def _delete(here: Place, namespaces: Sequence[str]) -> None:
    for name in namespaces:
        here.requests.send("delete", f"/api/v1/namespaces/{name}")


if __name__ == "__main__":
    main()
