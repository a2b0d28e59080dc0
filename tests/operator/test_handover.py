"""Two operators run, one leads: whatever happens to it, the other leads within 15 s and converges.

Each reaches the API server through a proxy of its own, whose log is the audit of who asked for what.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.operator import api_proxy as proxies
from tests.operator.proxied import ProxiedOperator, proxy_of
from tests.operator.running import (
    Api,
    OperatorProcess,
    eventually,
    kubeconfig_of_operator,
    new_namespace,
)
from towpath_operator.adapters.kubernetes import Requests
from towpath_operator.ports.cluster import QUEUE

WITHIN = 15.0
LEADERSHIP_LOST = 3
MANY = 30

Note = Callable[[str, object], None]


@dataclass(slots=True)
class Replicas:
    """Two operators, of which one leads; who has ended is started again."""

    all: list[ProxiedOperator]
    exits: list[int] = field(default_factory=list)

    def ready(self) -> tuple[ProxiedOperator, ProxiedOperator]:
        """Return the one that leads and the one that stands by, once there are both."""
        for one in self.all:
            if not one.process.running:
                one.process.begin()
        return eventually(self._pair, what="a leader and a standby") or (self.all[0], self.all[1])

    def _pair(self) -> tuple[ProxiedOperator, ProxiedOperator] | None:
        by_role = {one.process.role(): one for one in self.all}
        if by_role.keys() != {"leader", "standby"}:
            return None
        return by_role["leader"], by_role["standby"]


@pytest.fixture(scope="module")
def replicas(
    cluster: Cluster, administrator: Requests, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Replicas]:
    """Run two operators."""
    del administrator
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("replicas")
        config = kubeconfig_of_operator(cluster, folder)
        made = [_replica(stack, config, folder, number) for number in (1, 2)]
        yield Replicas(made)
        for one in made:
            if one.process.running:
                one.process.stop(signal.SIGKILL)


def _replica(stack: ExitStack, config: Path, folder: Path, number: int) -> ProxiedOperator:
    own = folder / f"kubeconfig-{number}.yaml"
    own.touch(mode=0o600)
    own.write_bytes(config.read_bytes())
    proxy = stack.enter_context(proxy_of(own))
    return ProxiedOperator(OperatorProcess(own, folder / f"operator-{number}.log"), proxy)


@pytest.fixture
def api(administrator: Requests, database_url: str) -> Iterator[Api]:
    """Return a namespace with a database."""
    made = new_namespace(administrator)
    made.database(database_url)
    yield made
    administrator.send("delete", f"/api/v1/namespaces/{made.namespace}")


@pytest.fixture
def note(record_property: Note) -> Note:
    """Return the function that puts a measured time into the test's report."""
    return record_property


def declare_many(api: Api) -> list[str]:
    """Declare so many queues that the leader is at it for a while."""
    names = [f"queue-{number}" for number in range(MANY)]
    for name in names:
        api.queue(name)
    return names


def follows(standby: ProxiedOperator, api: Api, since: float, note: Note) -> float:
    """Wait until the standby leads and a Queue that was declared meanwhile is Ready; return the time."""
    api.queue("meanwhile", concurrency={"global": 3})
    eventually(lambda: standby.process.role() == "leader", what="the standby leads")
    api.wait_ready(QUEUE, "meanwhile", seconds=20)
    took = time.monotonic() - since
    note("handed over and converged after s", round(took, 1))
    assert took < WITHIN
    return took


def test_a_leader_that_is_told_to_stop_hands_over_at_once(
    replicas: Replicas, api: Api, note: Note
) -> None:
    """It gives its Lease up after its last write."""
    leader, standby = replicas.ready()
    began = time.monotonic()
    assert leader.process.stop() == 0
    assert follows(standby, api, began, note) < 8.0


def test_a_leader_that_is_killed_is_followed(replicas: Replicas, api: Api, note: Note) -> None:
    """In the middle of its work, which the other one does."""
    leader, standby = replicas.ready()
    names = declare_many(api)
    began = time.monotonic()
    leader.process.stop(signal.SIGKILL)
    follows(standby, api, began, note)
    for name in names:
        api.wait_ready(QUEUE, name)


def test_a_frozen_leader_is_followed_and_begins_no_request_when_it_wakes(
    replicas: Replicas, api: Api, note: Note
) -> None:
    """It has much to do when it is stopped; it wakes when that is done, and ends."""
    leader, standby = replicas.ready()
    names = declare_many(api)
    eventually(lambda: api.condition(QUEUE, names[0]), what="the leader is at it")
    began = time.monotonic()
    leader.process.send(signal.SIGSTOP)
    follows(standby, api, began, note)
    for name in names:
        api.wait_ready(QUEUE, name)
    woken_at = time.monotonic()
    leader.process.send(signal.SIGCONT)
    assert leader.process.wait(seconds=5) == LEADERSHIP_LOST
    note("ended after waking s", round(time.monotonic() - woken_at, 2))
    assert [one for one in leader.proxy.seen() if one.write and one.at >= woken_at] == []
    assert leader.process.log()[-1]["event"] == "leadership lost"


def test_a_leader_that_is_cut_off_ends_and_is_followed(
    replicas: Replicas, api: Api, note: Note
) -> None:
    """The API server neither answers it nor refuses it; it ends before the other one begins."""
    leader, standby = replicas.ready()
    began = time.monotonic()
    with leader.proxy.fault(proxies.wait_before(3600), lambda _: True):
        assert leader.process.wait(seconds=12) == LEADERSHIP_LOST
        ended = time.monotonic() - began
        assert standby.process.role() == "standby"
        follows(standby, api, began, note)
    note("ended after the cut s", round(ended, 1))
