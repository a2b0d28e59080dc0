"""Workers that end under their workflows, and a lease that is too long to be what helps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cluster import ClusterError
from tests.e2e.manifests import Manifest, application, queue, workers
from tests.e2e.release import Release
from tests.e2e.space import Space
from towpath import Client

LEASE = timedelta(minutes=10)
SOON = 60.0
"""Seconds. Without proof it would take the lease."""

KILL = """
import glob, os, signal
for file in glob.glob("/proc/[0-9]*/cmdline"):
    if b"worker\\0run" in open(file, "rb").read():
        os.kill(int(file.split("/")[2]), signal.SIGKILL)
"""
HOLDER = (
    "SELECT w.name, r.attempt, w.node_started_at, w.lease_until FROM towpath.running r"
    " JOIN towpath.worker w ON w.id = r.worker WHERE r.queue = %s"
)


@pytest.fixture(scope="module")
def pools(new_module_space: Callable[..., Space], release: Release) -> Space:
    """Open two queues with two pods each: what they run is killed from within, or eats too much.

    The containers of a pod share their process ids in the first: the first process of its own
    namespace would be none that a SIGKILL from within can end.
    """
    space = new_module_space()
    killed = _with_long_lease(workers(release.image, slots=1, pods=(2, 2)))
    killed["template"]["spec"]["shareProcessNamespace"] = True
    hungry = _with_long_lease(workers(release.image, module="eating", slots=1, pods=(2, 2)))
    hungry["template"]["spec"]["containers"][0]["resources"]["limits"] = {"memory": "128Mi"}
    space.apply(
        application(),
        queue("killed", queueName="killed-recovery", workers=killed),
        queue("hungry", queueName="hungry-recovery", workers=hungry),
    )
    for name in ("killed", "hungry"):
        space.until_ready("queue", name)
    return space


def _with_long_lease(pool: Manifest) -> Manifest:
    (worker,) = pool["template"]["spec"]["containers"]
    worker["env"] = [{"name": "TOWPATH_LEASE_SECONDS", "value": str(LEASE.total_seconds())}]
    return pool


def _holder(release: Release, name: str) -> tuple[Any, ...]:
    return release.rows(HOLDER, name)[0]


def test_what_a_killed_process_ran_goes_on_in_another_pod(
    pools: Space, client: Client, release: Release
) -> None:
    """At the step where it stood, though the dead worker's lease has minutes left."""
    handle = client.enqueue("killed-recovery", "walk", 60, 1.0)
    dead, _, began, until = pools.until(lambda: _holder(release, "killed-recovery"), "a worker")
    # The kubelet tells the end in whole seconds: of a worker that lives for less nothing is proved.
    pools.until(lambda: datetime.now(UTC) - began > timedelta(seconds=2), "two seconds")
    with contextlib.suppress(ClusterError):  # whoever kills may end with the container
        pools.kubectl("exec", dead, "--", "python3", "-c", KILL)

    def goes_on() -> bool:
        name, attempt, _, _ = _holder(release, "killed-recovery")
        return (name != dead, attempt) == (True, 2)

    pools.until(goes_on, "the second attempt in the other pod", seconds=SOON)
    assert datetime.now(UTC) < until - timedelta(minutes=5)
    client.cancel_workflow(handle.workflow_id)


def test_a_worker_that_ate_too_much_gives_its_place_to_another(
    pools: Space, client: Client
) -> None:
    """The kernel kills it, its kubelet says so, and the second attempt needs less."""
    handle = client.enqueue("hungry-recovery", "feast", 400)
    outlived = handle.get_result(timeout=SOON)
    reasons = {
        container["lastState"].get("terminated", {}).get("reason")
        for pod in pools.pods()
        for container in pod["status"]["containerStatuses"]
    }
    assert "OOMKilled" in reasons
    assert outlived.startswith("hungry-")
