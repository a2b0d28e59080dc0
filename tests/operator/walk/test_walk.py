"""A random walk ends where the straight way does, whatever was done, undone, killed and restarted on it.

`make walk-operator STEPS=3000` takes a longer one, another each time; a seed that is printed is taken
again with `SEED=`.
"""

from __future__ import annotations

import itertools
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.operator.running import Api, OperatorProcess, eventually, kubeconfig_of_operator
from tests.operator.walk.site import RestartablePostgres, Site, restartable_postgres
from tests.operator.walk.state import differences, state_of, unsettled
from tests.operator.walk.steps import Walk
from towpath_operator.adapters.kubernetes import Requests

STEPS = int(os.environ.get("TOWPATH_WALK_STEPS", "100"))
SEED = int(os.environ.get("TOWPATH_WALK_SEED", "6"))
TEMPLATE = "walked"
DRIFT_STEPS = 20
CONVERGED_SECONDS = 90
RESYNC_SECONDS = 5
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def operator_process(
    cluster: Cluster, administrator: Requests, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """Run an operator that looks at everything every few seconds, for what no event tells of."""
    del administrator
    folder = tmp_path_factory.mktemp("operator")
    often = {"TOWPATH_OPERATOR_RESYNC_SECONDS": str(RESYNC_SECONDS)}
    process = OperatorProcess(
        kubeconfig_of_operator(cluster, folder), folder / "operator.log", often
    )
    process.start()
    yield process
    if process.running:
        process.stop()


@pytest.fixture
def own_postgres() -> Iterator[RestartablePostgres]:
    """Run a server that the walk may restart."""
    with tempfile.TemporaryDirectory(prefix="towpath-walk-") as folder:
        home = Path(folder)
        home.chmod(0o755)  # as root, the server's own user passes through it
        with restartable_postgres(home) as one:
            yield one


def new_site(api: Api, server: RestartablePostgres) -> Site:
    """Make a database with the schema and another cluster's row, for a namespace."""
    site = Site(api, server, f"walk_{next(_numbers)}")
    server.make(site.database, "template0")
    site.migrate()
    site.have_a_foreign_row()
    return site


@pytest.mark.timeout(60 + 4 * STEPS)
def test_a_walk_ends_where_the_straight_way_does(
    cluster: Cluster,
    new_api: Callable[[], Api],
    operator: OperatorProcess,
    own_postgres: RestartablePostgres,
) -> None:
    """Edits, drift, kills and outages leave nothing behind; every object is as if applied once."""
    seed = SEED or random.SystemRandom().randrange(1, 10**6)
    print(f"seed {seed}, {STEPS} steps")  # noqa: T201 - what a person takes the walk again with
    winding = new_site(new_api(), own_postgres)
    winding.apply_secret(own_postgres.url(winding.database))
    winding.apply_database()
    walk = Walk(winding, operator, cluster.restart_api, random.Random(seed))  # noqa: S311 - no secret
    for _ in range(STEPS):
        walk.step()
    walk.wind_up()

    def nothing_is_under_way() -> bool:
        left = unsettled(winding)
        assert left == "", left
        return True

    eventually(nothing_is_under_way, seconds=CONVERGED_SECONDS, what=f"{walk.taken}")
    walk.drift(DRIFT_STEPS)
    straight = new_site(new_api(), own_postgres)
    straight.apply_secret(own_postgres.url(straight.database))
    straight.apply_database()
    for (kind, name), manifest in winding.declared.items():
        if (kind, name) not in straight.declared:
            straight.apply(kind, name, manifest)

    def both_have_come_to_the_same() -> bool:
        left = unsettled(straight) + unsettled(winding)
        assert left == "", left
        left = differences(state_of(winding), state_of(straight))
        assert left == "", left
        return True

    eventually(both_have_come_to_the_same, seconds=CONVERGED_SECONDS, what=f"{walk.taken}")
    walk.check()
