"""The steps of a walk: what people, hands, kills and outages do to a site, chosen by a seed."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.operator.running import OperatorProcess, eventually
from tests.operator.walk.site import ELSEWHERE, FOREIGN, SECRET_NAME, Site
from tests.operator.walk.state import listed, unread
from towpath_operator.ports.cluster import (
    DEPLOYMENT,
    POD_DISRUPTION_BUDGET,
    QUEUE,
    QUEUE_DATABASE,
    SECRET,
    WORKER_POOL,
    Kind,
)

QUEUES = ("orders", "mail", "bulk")
POOLS = ("crew", "night")
CATCH_UP_SECONDS = 60
OUTAGES_EVERY = 100
DELETE_ROWS = "towpath.dev/delete-rows"
GOOD_TEMPLATES: tuple[Mapping[str, Any], ...] = (
    {"spec": {"containers": [{"name": "worker", "image": "registry.invalid/shop:1"}]}},
    {
        "metadata": {"labels": {"team": "shop"}},
        "spec": {
            "containers": [
                {
                    "name": "worker",
                    "image": "registry.invalid/shop:2",
                    "env": [{"name": "MODE", "value": "fast"}],
                }
            ]
        },
    },
)
BAD_TEMPLATE: Mapping[str, Any] = {
    "spec": {"containers": [{"name": "worker", "image": "x", "imagePullPolicy": "Perhaps"}]}
}

Step = Callable[[], None]


@dataclass(slots=True)
class Walk:
    """Takes steps. What is written down of each makes a walk readable that went wrong."""

    site: Site
    operator: OperatorProcess
    restart_api: Callable[[], None] | None
    chance: random.Random
    taken: list[str] = field(default_factory=list)
    outages: dict[int, Step] = field(default_factory=dict)
    away_for: int = 0

    def step(self) -> None:
        """Take one step, and look whether what must always hold does."""
        number = len(self.taken) % OUTAGES_EVERY
        if number == 0:
            self._choose_outages()
        steps = self._weighted()
        chosen = self.chance.choices(list(steps), weights=list(steps.values()))[0]
        chosen = self.outages.get(number, chosen)
        self.taken.append(chosen.__name__.strip("_"))
        chosen()
        self._tend_operator()
        self.check()

    def wind_up(self) -> None:
        """Bring about that the end does not hang on the way.

        What cannot be brought into force keeps what was in force before, by design: so nothing is left
        that cannot, but for the queue that another cluster has.
        """
        if not self.operator.running:
            self.operator.start()
        self._rotate_secret()
        self.site.apply_database()
        self._drop_rival()
        for kind, name in [*self.site.declared, (QUEUE, QUEUES[0])]:
            if "Perhaps" in str(self.site.declared.get((kind, name), "Perhaps")):
                self._apply_again(kind, name)

    def drift(self, steps: int) -> None:
        """Have hands change what nobody applies again: the operator alone can put it back."""
        hands = (
            self._edit_deployment,
            self._delete_deployment,
            self._edit_pool_secret,
            self._delete_pool_secret,
            self._edit_disruption_budget,
            self._edit_row,
            self._edit_owned_pool,
        )
        for _ in range(steps):
            hand = self.chance.choice(hands)
            self.taken.append(hand.__name__.strip("_"))
            hand()

    def check(self) -> None:
        """Look at what holds after every step."""
        for kind in (QUEUE_DATABASE, QUEUE, WORKER_POOL):
            for name, one in listed(self.site, kind).items():
                metadata = one["metadata"]
                assert metadata.get("finalizers", []) == [], f"{kind.name} {name}: {metadata}"
                ours = [a for a in metadata.get("annotations", {}) if "kopf" in a]
                assert ours == []
                if not metadata.get("ownerReferences"):
                    assert "annotations" not in metadata
        try:
            owner = self.site.rows(
                "SELECT owner_cluster, owner_namespace, owner_name, owner_uid, revision"
                " FROM towpath.queue WHERE name = %s",
                FOREIGN,
            )
        except psycopg.OperationalError:
            return
        assert owner == [(*ELSEWHERE, 1)]

    def _weighted(self) -> dict[Step, float]:
        return {
            self._apply_queue: 20,
            self._delete_queue: 6,
            self._apply_pool: 12,
            self._delete_pool: 4,
            self._apply_rival: 3,
            self._drop_rival: 3,
            self._apply_foreign: 2,
            self._redeclare_database: 3,
            self._delete_database: 2,
            self._rotate_secret: 4,
            self._break_secret: 3,
            self._delete_secret: 2,
            self._edit_deployment: 8,
            self._delete_deployment: 6,
            self._edit_pool_secret: 4,
            self._delete_pool_secret: 4,
            self._edit_disruption_budget: 3,
            self._edit_row: 8,
            self._delete_row: 2,
            self._edit_owned_pool: 4,
            self._catch_up: 8,
        }

    def _choose_outages(self) -> None:
        """Put one of each somewhere into the next hundred steps, but for their first ones."""
        outages: list[Step] = [self._kill_operator, self._stop_operator, self._restart_postgres]
        if self.restart_api is not None:
            outages.append(self._restart_api)
        places = self.chance.sample(range(10, OUTAGES_EVERY), len(outages))
        self.outages = dict(zip(places, outages, strict=True))

    def _tend_operator(self) -> None:
        """Start it again as a kubelet does, once it has been away for long enough."""
        if self.operator.running:
            return
        self.away_for -= 1
        if self.away_for <= 0:
            self.operator.start()

    def _apply_queue(self) -> None:
        self._apply_again(QUEUE, self.chance.choice(QUEUES), bad=self.chance.random() < 0.1)

    def _apply_pool(self) -> None:
        self._apply_again(WORKER_POOL, self.chance.choice(POOLS), bad=self.chance.random() < 0.1)

    def _apply_again(self, kind: Kind, name: str, *, bad: bool = False) -> None:
        spec = self._queue(name, bad=bad) if kind == QUEUE else self._pool(bad=bad)
        self.site.apply(kind, name, {"spec": spec})

    def _queue(self, name: str, *, bad: bool) -> dict[str, Any]:
        pick = self.chance.random
        most = self.chance.randint(1, 9)
        spec: dict[str, Any] = {"paused": pick() < 0.2, "closed": pick() < 0.2}
        if pick() < 0.6:
            spec["concurrency"] = {"global": most, "perWorker": self.chance.randint(1, most)}
        if pick() < 0.3:
            spec["limiter"] = {"limit": most, "period": self.chance.choice(("1s", "1m", "1h30m"))}
        if pick() < 0.3:
            spec["priority"] = {"enabled": True}
        if pick() < 0.3:
            spec["retention"] = {"succeeded": self.chance.choice(("1h", "48h"))}
        if pick() < 0.3 or (bad and name != QUEUES[0]):
            spec["workers"] = self._pods(bad=bad)
        return spec

    def _pool(self, *, bad: bool) -> dict[str, Any]:
        others = [name for name in QUEUES[1:] if self.chance.random() < 0.5]
        return self._pods(bad=bad) | {"queues": [{"name": name} for name in (QUEUES[0], *others)]}

    def _pods(self, *, bad: bool) -> dict[str, Any]:
        mode = self.chance.choice(("Builtin", "None"))
        size: dict[str, Any] = {"autoscaling": {"mode": mode}, "replicas": 0}
        if mode == "Builtin":
            size = {"autoscaling": {"min": 0, "max": self.chance.randint(1, 5)}}
        return size | {
            "application": self.chance.choice(("shop.workflows", "shop.other:app")),
            "slots": self.chance.randint(1, 20),
            "template": BAD_TEMPLATE if bad else self.chance.choice(GOOD_TEMPLATES),
        }

    def _delete_queue(self) -> None:
        self.site.delete(QUEUE, self.chance.choice(QUEUES))

    def _delete_pool(self) -> None:
        self.site.delete(WORKER_POOL, self.chance.choice(POOLS))

    def _apply_rival(self) -> None:
        spec = {"queueName": QUEUES[1], "concurrency": {"global": 77}}
        self.site.apply(QUEUE, "rival", {"spec": spec | {"paused": False, "closed": False}})

    def _drop_rival(self) -> None:
        self.site.delete(QUEUE, "rival")

    def _apply_foreign(self) -> None:
        self.site.apply(QUEUE, FOREIGN, {"spec": {"concurrency": {"global": 5}}})

    def _redeclare_database(self) -> None:
        self.site.apply_database()

    def _delete_database(self) -> None:
        self.site.delete(QUEUE_DATABASE, "default")

    def _rotate_secret(self) -> None:
        self.site.postgres.rotate()
        self.site.apply_secret(self.site.postgres.url(self.site.database))

    def _break_secret(self) -> None:
        self.site.apply_secret(self.site.postgres.wrong_url(self.site.database))

    def _delete_secret(self) -> None:
        self.site.delete(SECRET, SECRET_NAME)

    def _edit_deployment(self) -> None:
        name = self._one_of(DEPLOYMENT)
        change: dict[str, Any] = self.chance.choice(
            (
                {"spec": {"replicas": 1}},
                {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}},
                {"spec": {"strategy": {"rollingUpdate": {"maxSurge": 9}}}},
            )
        )
        if name is not None:
            self.site.api.merge(DEPLOYMENT, name, change)

    def _delete_deployment(self) -> None:
        name = self._one_of(DEPLOYMENT)
        if name is not None:
            self.site.api.delete(DEPLOYMENT, name)

    def _edit_pool_secret(self) -> None:
        name = self._one_of(SECRET)
        if name is not None:
            self.site.api.merge(SECRET, name, {"stringData": {"uri": "postgresql://nowhere/x"}})

    def _delete_pool_secret(self) -> None:
        name = self._one_of(SECRET)
        if name is not None:
            self.site.api.delete(SECRET, name)

    def _edit_disruption_budget(self) -> None:
        name = self._one_of(POD_DISRUPTION_BUDGET)
        if name is not None:
            self.site.api.merge(POD_DISRUPTION_BUDGET, name, {"spec": {"maxUnavailable": 7}})

    def _edit_owned_pool(self) -> None:
        name = self._one_of(WORKER_POOL)
        if name in QUEUES:
            self.site.api.merge(WORKER_POOL, name, {"spec": {"slots": 999}})

    def _edit_row(self) -> None:
        queue = self.chance.choice(QUEUES)
        self.site.change(
            "UPDATE towpath.queue SET concurrency_global = 50, limiter_limit = 3, limiter_period = '9s'"
            " WHERE name = %s",
            queue,
        )
        self._tell(queue)

    def _delete_row(self) -> None:
        queue = self.chance.choice(QUEUES)
        self.site.change("DELETE FROM towpath.queue WHERE name = %s", queue)
        self._tell(self.chance.choice(QUEUES))

    def _tell(self, queue: str) -> None:
        """Have the operator told, as the CLI does, that a hand has changed a row."""
        for paused in (True, False):
            self.site.flip(queue, paused=paused)

    def _catch_up(self) -> None:
        """Let the operator finish, so that the next steps meet a site at rest."""
        if self.operator.running:

            def finished() -> bool:
                left = unread(self.site)
                assert left == "", f"{left} after {self.taken}"
                return True

            eventually(finished, seconds=CATCH_UP_SECONDS, what="a catch-up")

    def _kill_operator(self) -> None:
        if self.operator.running:
            self.operator.stop(signal.SIGKILL)
            self.away_for = self.chance.randint(1, 12)

    def _stop_operator(self) -> None:
        if self.operator.running:
            self.operator.stop()
            self.away_for = self.chance.randint(1, 12)

    def _restart_postgres(self) -> None:
        self.site.postgres.restart()

    def _restart_api(self) -> None:
        assert self.restart_api is not None
        self.restart_api()
        # The walk's own connection has ended too.
        eventually(self.site.api.exists)

    def _one_of(self, kind: Kind) -> str | None:
        """Choose a child that the operator has made."""
        names = [
            n
            for n, one in listed(self.site, kind).items()
            if one["metadata"].get("ownerReferences")
        ]
        return self.chance.choice(sorted(names)) if names else None
