"""How many pods a pool has."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operator.builders import NOW, sample
from towpath.domain.queue import QueueSettings
from towpath_operator.model.workerpool import Autoscaling
from towpath_operator.plan.autoscaling import Decision, LimitedBy, decide, idle_since, pods_for
from towpath_operator.plan.observed import DemandSample, QueueCounts

FREE = QueueSettings()


def decided(
    current: int | None,
    seen: DemandSample | None,
    *,
    low: int = 0,
    high: int = 10,
    limits: QueueSettings = FREE,
    usable: bool = True,
) -> Decision:
    return decide(
        Autoscaling(min=low, max=high),
        slots=10,
        queues={"mail": limits},
        current=current,
        sample=seen,
        database_usable=usable,
        now=NOW,
    )


@pytest.mark.parametrize(
    ("waiting", "running", "limits", "pods"),
    [
        (0, 0, FREE, 0),
        (1, 0, FREE, 1),
        (10, 0, FREE, 1),
        (11, 0, FREE, 2),
        (5, 10, FREE, 2),
        (1000, 0, QueueSettings(concurrency=15), 2),
        (1000, 15, QueueSettings(concurrency=15), 2),
        (1000, 20, QueueSettings(concurrency=15), 2),
        (4, 0, QueueSettings(worker_concurrency=1), 4),
        (4, 0, QueueSettings(concurrency=3, worker_concurrency=1), 3),
        (5, 0, QueueSettings(worker_concurrency=3), 2),
    ],
)
def test_the_pods_that_the_work_asks_for(
    waiting: int, running: int, limits: QueueSettings, pods: int
) -> None:
    counts = {"mail": QueueCounts(waiting=waiting, running=running)}
    assert pods_for({"mail": limits}, counts, slots=10) == pods


def test_the_work_of_all_queues_shares_the_slots() -> None:
    queues = {"a": FREE, "b": QueueSettings(worker_concurrency=2)}
    counts = {"a": QueueCounts(waiting=12), "b": QueueCounts(running=4)}
    assert pods_for(queues, counts, slots=10) == 2
    assert pods_for(queues, {"a": QueueCounts(), "b": QueueCounts(running=9)}, slots=10) == 5


def test_what_waits_in_a_paused_queue_is_no_demand() -> None:
    paused = {"mail": QueueCounts(waiting=35, running=4, paused=True)}
    assert pods_for({"mail": FREE}, paused, slots=10) == 1
    assert pods_for({"mail": QueueSettings(concurrency=30)}, paused, slots=10) == 1
    waiting = {"mail": QueueCounts(waiting=35, paused=True)}
    assert pods_for({"mail": FREE}, waiting, slots=10) == 0
    assert idle_since(None, waiting, NOW) == NOW
    assert idle_since(NOW, paused, NOW) is None


def test_what_wakes_in_a_paused_queue_is_demand() -> None:
    """It has begun: a pause stops starts alone."""
    woken = {"mail": QueueCounts(waiting=35, awake=2, paused=True)}
    assert pods_for({"mail": FREE}, woken, slots=10) == 1
    assert idle_since(NOW, woken, NOW) is None


def test_places_that_sleepers_keep_are_nobody_elses() -> None:
    """A thousand in line ask for no pods while all places are asleep; one that wakes has its place."""
    queues = {"mail": QueueSettings(concurrency=15)}
    assert pods_for(queues, {"mail": QueueCounts(waiting=1000, kept=15)}, slots=10) == 0
    assert pods_for(queues, {"mail": QueueCounts(waiting=1000, awake=1, kept=14)}, slots=10) == 1
    assert pods_for(queues, {"mail": QueueCounts(waiting=1000, running=1, kept=3)}, slots=10) == 2


def test_it_grows_at_once_also_from_zero() -> None:
    assert decided(0, sample(waiting=35)) == Decision(desired=4)
    assert decided(2, sample(waiting=35)) == Decision(desired=4)


def test_a_new_pool_begins_with_what_the_work_asks_for() -> None:
    assert decided(None, sample(waiting=35)).desired == 4
    assert decided(None, sample(idle=0), low=1).desired == 1
    assert decided(None, None, low=2) == Decision(desired=2, limited_by=LimitedBy.NO_SAMPLE)


def test_the_maximum_has_a_name() -> None:
    assert decided(0, sample(waiting=10_000)) == Decision(desired=10, limited_by=LimitedBy.MAXIMUM)


def test_the_minimum_has_a_name() -> None:
    resting = decided(1, sample(idle=300), low=1)
    assert resting == Decision(desired=1, limited_by=LimitedBy.MINIMUM)


def test_it_does_not_shrink_while_anything_waits_or_runs() -> None:
    held = Decision(desired=5, limited_by=LimitedBy.IDLE_PERIOD)
    assert decided(5, sample(running=1)) == held
    assert decided(5, sample(waiting=1)) == held


def test_it_shrinks_to_the_minimum_after_samples_of_a_minute_found_nothing() -> None:
    assert decided(5, sample(idle=60)) == Decision(desired=0)
    assert decided(5, sample(idle=60), low=2).desired == 2


def test_it_does_not_shrink_earlier_and_says_when_to_look_again() -> None:
    early = decided(5, sample(idle=45))
    assert early.desired == 5
    assert early.limited_by is LimitedBy.IDLE_PERIOD
    assert early.look_again == timedelta(seconds=15)


def test_the_time_since_the_last_sample_proves_nothing() -> None:
    assert decided(5, sample(age=100, idle=10)).desired == 5


@pytest.mark.parametrize(
    ("seen", "usable", "name"),
    [
        (sample(waiting=90), False, LimitedBy.DATABASE_ERROR),
        (sample(waiting=90, age=1000), True, LimitedBy.STALE_SAMPLE),
        (None, True, LimitedBy.NO_SAMPLE),
    ],
)
def test_without_a_fresh_sample_the_size_is_held(
    seen: DemandSample | None, *, usable: bool, name: LimitedBy
) -> None:
    assert decided(3, seen, usable=usable) == Decision(desired=3, limited_by=name)


def test_a_sample_from_before_a_queue_was_added_is_no_sample() -> None:
    decision = decide(
        Autoscaling(min=0, max=10),
        slots=10,
        queues={"mail": FREE, "post": FREE},
        current=3,
        sample=sample(idle=300),
        database_usable=True,
        now=NOW,
    )
    assert decision == Decision(desired=3, limited_by=LimitedBy.NO_SAMPLE)


def test_a_lowered_maximum_and_a_raised_minimum_hold_at_once() -> None:
    assert decided(8, sample(running=70), high=4) == Decision(
        desired=4, limited_by=LimitedBy.MAXIMUM
    )
    assert decided(8, sample(running=1), high=4) == Decision(
        desired=4, limited_by=LimitedBy.MAXIMUM
    )
    assert decided(1, sample(running=1), low=3).desired == 3


def test_idleness_begins_with_the_first_quiet_sample_and_ends_with_work() -> None:
    quiet, busy = {"mail": QueueCounts()}, {"mail": QueueCounts(running=1)}
    later = NOW + timedelta(seconds=60)
    assert idle_since(None, quiet, NOW) == NOW
    assert idle_since(NOW, quiet, later) == NOW
    assert idle_since(NOW, busy, later) is None


limits = st.builds(
    QueueSettings,
    concurrency=st.none() | st.integers(1, 50),
    worker_concurrency=st.none() | st.integers(1, 50),
)


@given(
    current=st.none() | st.integers(0, 30),
    waiting=st.integers(0, 500),
    running=st.integers(0, 500),
    idle=st.none() | st.floats(0, 200),
    age=st.floats(0, 400),
    low=st.integers(0, 10),
    spread=st.integers(0, 10),
    usable=st.booleans(),
    settings=limits,
)
def test_whatever_is_seen_the_size_is_within_bounds_and_busy_pods_stay(
    *,
    current: int | None,
    waiting: int,
    running: int,
    idle: float | None,
    age: float,
    low: int,
    spread: int,
    usable: bool,
    settings: QueueSettings,
) -> None:
    high = max(1, low + spread)
    seen = sample(waiting, running, age=age, idle=None if waiting or running else idle)
    decision = decided(current, seen, low=low, high=high, limits=settings, usable=usable)
    assert low <= decision.desired <= high
    if current is not None and (waiting or running or not usable):
        assert decision.desired >= min(current, high)
    if current is not None and decision.desired < current:
        assert current > high or (idle is not None and idle >= 60)
