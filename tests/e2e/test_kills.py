"""Workers that die in the middle: seen by the warehouse, which knows nothing of Towpath."""

from __future__ import annotations

from collections import Counter

import pytest
import yaml

from examples.demo.warehouse import ACTIONS, Call, Outcome, Report
from tests.cluster.cache import ROOT
from tests.e2e.release import Release
from tests.e2e.space import Space
from towpath import Client, WorkflowHandle

SHOP = ROOT / "examples" / "shop"
ORDERS = range(1, 16)
KILL = "import os, signal; os.kill({pid}, signal.SIGKILL)"


@pytest.fixture
def shop(space: Space, shop_image: str) -> Space:
    """Open the example's shop: its warehouse, which allows three calls at a time, and its queue.

    A call takes a second, so that an order outlasts what the kubelet gives a pod that is deleted by
    force. The containers of a pod share their process ids: the first process of its own namespace
    would be none that a SIGKILL from within can end.
    """
    warehouse, service = yaml.safe_load_all((SHOP / "warehouse.yaml").read_text("utf-8"))
    (served,) = warehouse["spec"]["template"]["spec"]["containers"]
    served |= {"image": shop_image, "command": [*served["command"], "--seconds", "1"]}
    queue = yaml.safe_load((SHOP / "queue.yaml").read_text("utf-8"))
    pod = queue["spec"]["workers"]["template"]["spec"]
    pod |= {"shareProcessNamespace": True}
    pod["containers"][0] |= {"image": shop_image}
    space.apply(warehouse, service, queue)
    space.cluster.wait_available("warehouse", namespace=space.namespace)
    space.until_ready("queue", "external-api")
    return space


def report(shop: Space) -> Report:
    """Ask the warehouse, by way of the API server."""
    path = f"/api/v1/namespaces/{shop.namespace}/services/warehouse:http/proxy/report"
    return Report.of_text(shop.cluster.kubectl("get", "--raw", path))


def in_flight(shop: Space, *but: str) -> Call:
    """Return a call that is being made, by a pod that is none of those."""

    def look() -> Call | None:
        calls = report(shop).calls
        now = (c for c in calls if c.outcome is Outcome.IN_FLIGHT and c.pod not in but)
        return next(now, None)

    found = shop.until(look, f"a call in flight, not of {but}")
    assert found is not None
    return found


def test_orders_end_once_while_a_pod_is_deleted_by_force_and_a_process_is_killed(
    shop: Space, client: Client, release: Release
) -> None:
    """Three at a time over all pods, as counted outside; each goes on at the step where it stood."""
    handles: list[WorkflowHandle[list[str]]] = [
        client.enqueue("external-api", "fulfil_order", number) for number in ORDERS
    ]
    forced = in_flight(shop)
    shop.kubectl("delete", "pod", forced.pod, "--grace-period=0", "--force")
    killed = in_flight(shop, forced.pod)
    shop.kubectl("exec", killed.pod, "--", "python3", "-c", KILL.format(pid=killed.pid))
    shop.until(lambda: _running(shop) > 0, "running workflows in the columns")
    results = [handle.get_result(timeout=100) for handle in handles]
    assert results == [[f"{action}-{number}" for action in ACTIONS] for number in ORDERS]
    seen = report(shop)
    assert seen.most_at_once == 3
    assert Outcome.REFUSED not in {call.outcome for call in seen.calls}
    pods = {call.pod for call in seen.calls}
    assert len(pods) >= 3, "the limit holds over several pods"
    assert {forced.pod, killed.pod} <= pods
    _assert_no_recorded_step_ran_again(seen)
    _assert_attempts(release, seen)


def _running(shop: Space) -> int:
    head, line = shop.kubectl("get", "queues").splitlines()
    return int(line.split()[head.split().index("RUNNING")])


def _assert_no_recorded_step_ran_again(seen: Report) -> None:
    """A step is begun only when those before it are recorded: after it none of them is called."""
    for number in ORDERS:
        stages = [ACTIONS.index(call.action) for call in seen.of(number)]
        assert stages == sorted(stages), seen.of(number)
    again = Counter((c.order, c.action) for c in seen.calls)
    repeated = sum(again.values()) - len(again)
    # Each of the two workers had two slots.
    assert 1 <= repeated <= 4, [name for name, count in again.items() if count > 1]


def _assert_attempts(release: Release, seen: Report) -> None:
    """Only what was with a worker that died was handed out again, once a death."""
    rows = release.rows(
        "SELECT ((w.input::json)->'args'->>0)::int, r.attempt FROM towpath.result r"
        " JOIN towpath.workflow w USING (seq) WHERE w.queue = 'external-api'"
    )
    for number, attempt in rows:
        workers = len({call.worker for call in seen.of(number)})
        assert workers <= attempt <= 3, (number, attempt, workers)
    assert 1 <= sum(attempt - 1 for _, attempt in rows) <= 4
