"""A pod that is told to stop: short work ends there, long work is handed on at a step's end."""

from __future__ import annotations

import time

from tests.e2e import manifests
from tests.e2e.release import Release
from tests.e2e.space import Space
from towpath import Client

STRIDE = 0.5
KILLED_AFTER = 20.0
"""Seconds. A pod that has not ended 20 s after its drain is killed by the kubelet."""


def test_a_deleted_pod_finishes_what_it_can_and_hands_on_the_rest(
    space: Space, client: Client, release: Release
) -> None:
    """Within the drain's 3 s the short one ends; the long one is another pod's, without a recovery."""
    pool = manifests.workers(release.image, slots=2, drain="3s")
    space.apply(manifests.queue("draining", workers=pool))
    space.until_ready("queue", "draining")
    (first,) = space.ready_pods()
    short = client.enqueue("draining", "walk", 5, STRIDE)
    long = client.enqueue("draining", "walk", 20, STRIDE)
    space.until(lambda: _steps(release) >= 4, "two steps of each")
    began = time.monotonic()
    space.delete("pod", first)
    assert time.monotonic() - began < KILLED_AFTER, "it ended by itself"
    assert short.get_result(timeout=1) == [first] * 5
    assert short.get_status().attempt == 1
    (recoveries,) = space.until(
        lambda: next(
            iter(
                release.rows(
                    "SELECT recoveries FROM towpath.running WHERE queue = 'draining' AND attempt = 2"
                )
            ),
            (),
        ),
        "the long one with another worker",
    )
    assert recoveries == 0
    walked = long.get_result(timeout=60)
    assert long.get_status().attempt == 2
    (second,) = space.ready_pods()
    taken = walked.count(first)
    assert walked == [first] * taken + [second] * (20 - taken)
    assert 2 <= taken < 20
    # A step that a pod began and another one recorded would be here with the second attempt.
    recorded = release.rows(
        "SELECT s.output::json #>> '{}', s.attempt FROM towpath.step s JOIN towpath.workflow w"
        " USING (seq) WHERE w.queue = 'draining'"
    )
    assert set(recorded) == {(first, 1), (second, 2)}
    assert len(recorded) == 25


def test_a_pod_that_is_deleted_while_a_step_outlasts_its_drain_loses_no_workflow(
    space: Space, client: Client, release: Release
) -> None:
    """The step ends within the grace, is recorded, and only then the workflow is handed on."""
    pool = manifests.workers(release.image, slots=1, drain="1s")
    space.apply(manifests.queue("long-step", workers=pool))
    space.until_ready("queue", "long-step")
    (first,) = space.ready_pods()
    handle = client.enqueue("long-step", "walk", 2, 4.0)
    space.until(lambda: handle.get_status().status == "PENDING", "the workflow running")
    space.delete("pod", first)
    walked = handle.get_result(timeout=60)
    assert walked[0] == first
    assert walked[1] != first
    assert handle.get_status().attempt == 2


def _steps(release: Release) -> int:
    ((count,),) = release.rows(
        "SELECT count(*) FROM towpath.step JOIN towpath.workflow w USING (seq)"
        " WHERE w.queue = 'draining'"
    )
    return int(count)
