"""A Queue's limits: the manifest allows what the library allows, and says so in the same words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operator.builders import queue
from tests.unit.operator.corpus import good_manifests
from towpath.domain import queue as domain
from towpath.domain.errors import QueueSettingsError
from towpath_operator.model.durations import format_duration, nanoseconds, parse_duration
from towpath_operator.model.errors import ManifestError
from towpath_operator.model.parse import parse_queue
from towpath_operator.model.queue import WITH_PARTITIONS

PERIODS = [
    timedelta(0),
    domain.MIN_PERIOD - timedelta(microseconds=1),
    domain.MIN_PERIOD,
    timedelta(seconds=10),
    domain.MAX_POLLING_INTERVAL,
    domain.MAX_POLLING_INTERVAL + timedelta(microseconds=1),
    domain.MAX_PERIOD,
    domain.MAX_PERIOD + timedelta(microseconds=1),
]
places = st.none() | st.sampled_from([0, 1, 2, domain.MAX_CONCURRENCY, domain.MAX_CONCURRENCY + 1])
limiters = st.none() | st.builds(
    domain.Limiter,
    st.sampled_from([-1, 0, 1, domain.MAX_LIMIT, domain.MAX_LIMIT + 1]),
    st.sampled_from(PERIODS),
)
settings_of_any_kind = st.builds(
    domain.QueueSettings,
    concurrency=places,
    worker_concurrency=places,
    partition_concurrency=places,
    limiter=limiters,
    partition_limiter=limiters,
    priority_enabled=st.booleans(),
    partition_queue=st.booleans(),
    polling_interval=st.sampled_from(PERIODS),
)


def manifest_of(settings: domain.QueueSettings) -> dict[str, Any]:
    """Write settings as a manifest does."""

    def limiter(one: domain.Limiter | None) -> dict[str, Any] | None:
        return None if one is None else {"limit": one.limit, "period": format_duration(one.period)}

    return {
        "concurrency": {
            "global": settings.concurrency,
            "perWorker": settings.worker_concurrency,
            "perPartition": settings.partition_concurrency,
        },
        "limiter": limiter(settings.limiter),
        "partitionLimiter": limiter(settings.partition_limiter),
        "priority": {"enabled": settings.priority_enabled},
        "partitioning": {"enabled": settings.partition_queue},
        "pollingInterval": format_duration(settings.polling_interval),
    }


@given(settings_of_any_kind)
def test_a_manifest_may_say_exactly_what_code_may_say(settings: domain.QueueSettings) -> None:
    try:
        domain.check_queue_settings("mail", settings)
    except QueueSettingsError:
        with pytest.raises(ManifestError):
            queue(spec=manifest_of(settings))
    else:
        assert queue(spec=manifest_of(settings)).settings == settings


def test_a_manifest_that_says_nothing_means_what_code_that_says_nothing_means() -> None:
    assert queue().settings == domain.UNLIMITED


def test_what_needs_partitions_is_refused_in_the_librarys_words() -> None:
    words, _, _ = domain.ALLOWED_WITH_PARTITIONS.partition("(")
    assert WITH_PARTITIONS.startswith(words)
    with pytest.raises(ManifestError, match=f"partitionLimiter must be {words}"):
        queue(spec={"partitionLimiter": {"limit": 5, "period": "10s"}})


def test_the_manifest_of_the_users_example_has_the_limits_of_the_example_in_code() -> None:
    settings = parse_queue(good_manifests()["queue-rate-limited-api"]).settings
    assert settings == domain.QueueSettings(
        concurrency=2,
        limiter=domain.make_limiter("rate-limited-api", "limiter", {"limit": 5, "period": 10}),
        priority_enabled=True,
    )


# Durations.


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("10s", 10_000_000_000),
        ("1h30m0.5s", 5_400_500_000_000),
        ("1.5ms", 1_500_000),
        ("0.0000009ms", 0),
        ("8784h", 31_622_400_000_000_000),
        ("1s1s", 2_000_000_000),
    ],
)
def test_a_duration_is_read_to_the_nanosecond(text: str, read: int) -> None:
    assert nanoseconds(text) == read


def test_a_duration_beyond_all_bounds_is_still_one() -> None:
    assert parse_duration("9" * 31 + "h") > domain.MAX_PERIOD


@given(st.timedeltas(min_value=timedelta(0), max_value=domain.MAX_PERIOD))
def test_what_is_written_is_read_as_it_was(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration
