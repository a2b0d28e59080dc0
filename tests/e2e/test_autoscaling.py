"""A pool that goes to zero: work starts its first pod at once, and the last one goes after a minute."""

from __future__ import annotations

import time

from tests.e2e import manifests
from tests.e2e.release import Release
from tests.e2e.space import Space
from towpath import Client

LONG_BEFORE_THE_NEXT_LOOK = 10.0
"""Seconds. At rest the operator looks by itself once a minute: only NOTIFY is quicker."""


def test_a_pool_at_zero_starts_a_pod_when_something_is_enqueued_and_goes_to_zero_after_a_minute(
    space: Space, client: Client, release: Release
) -> None:
    """From none to as many as the work needs, up to the maximum; down only after 60 idle seconds."""
    pool = manifests.workers(release.image, slots=2, pods=(0, 2))
    space.apply(manifests.queue("seldom", workers=pool))
    space.until_ready("queue", "seldom")
    assert space.pods() == []
    space.until(
        lambda: release.rows("SELECT 1 FROM towpath.sleeper WHERE queue = 'seldom'"),
        "the operator to be asleep",
    )
    handles = [client.enqueue("seldom", "walk", 2, 0.5) for _ in range(12)]
    space.until(lambda: len(space.pods()) == 2, "two pods", seconds=LONG_BEFORE_THE_NEXT_LOOK)
    for handle in handles:
        handle.get_result(timeout=60)
    idle = time.monotonic()
    space.until(lambda: _limited_by(space) == "IdlePeriod", "the pods to be kept for a while")
    space.until(lambda: not space.pods(), "no pods", seconds=90)
    assert time.monotonic() - idle > 50
    space.until_ready("queue", "seldom")


def _limited_by(space: Space) -> str | None:
    autoscaling = space.get("workerpool", "seldom")["status"]["autoscaling"]
    limit: str | None = autoscaling.get("limitedBy")
    return limit
