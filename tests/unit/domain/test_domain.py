"""Ids, statuses, settings and pauses: pure arithmetic and its bounds."""

from __future__ import annotations

import doctest
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.domain import ids
from towpath.domain.errors import (
    ConfigurationError,
    InvalidWorkflowIdError,
    QueueSettingsError,
)
from towpath.domain.ids import (
    GeneratedId,
    Seq,
    check_chosen_id,
    format_generated_id,
    parse_generated_id,
)
from towpath.domain.queue import QueueSettings, check_queue_name, check_queue_settings
from towpath.domain.retry import Backoff, RetryPolicy
from towpath.domain.status import LEGAL_TRANSITIONS, WorkflowStatus, is_legal

SIGNED = st.integers(min_value=-(1 << 63), max_value=(1 << 63) - 1)


@given(seq=st.integers(min_value=0, max_value=(1 << 63) - 1), secret=SIGNED)
def test_a_generated_id_is_read_back(seq: int, secret: int) -> None:
    assert parse_generated_id(format_generated_id(seq, secret)) == GeneratedId(Seq(seq), secret)


@given(st.text(min_size=1, max_size=255))
def test_a_chosen_id_is_never_taken_for_a_generated_one(text: str) -> None:
    try:
        chosen = check_chosen_id(text)
    except InvalidWorkflowIdError:
        return
    assert parse_generated_id(chosen) is None
    assert chosen == text


@pytest.mark.parametrize(
    "bad", ["", "x" * 256, "a\x00b", "\ud800", "wf-1-0000000000000000", "wf-12-x", 7, None, b"a"]
)
def test_what_cannot_be_an_id_is_refused_by_name(bad: object) -> None:
    with pytest.raises(InvalidWorkflowIdError):
        check_chosen_id(bad)


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(ids).failed == 0


def test_only_open_statuses_lead_to_an_end_and_success_is_final() -> None:
    assert LEGAL_TRANSITIONS.keys() == set(WorkflowStatus)
    assert LEGAL_TRANSITIONS[WorkflowStatus.SUCCESS] == frozenset()
    for before in WorkflowStatus:
        for after in WorkflowStatus:
            if is_legal(before, after) and before.ended:
                assert after is WorkflowStatus.ENQUEUED


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "3", 1 << 31])
@pytest.mark.parametrize("field", ["concurrency", "worker_concurrency"])
def test_a_limit_out_of_bounds_is_refused_by_field(field: str, value: object) -> None:
    settings = QueueSettings(**{field: value})  # type: ignore[arg-type]
    with pytest.raises(QueueSettingsError) as caught:
        check_queue_settings("q", settings)
    assert (caught.value.field, caught.value.value) == (field, value)


@pytest.mark.parametrize("name", ["", "x" * 256, "a,b", "a\x00", "\udfff", 3])
def test_what_cannot_name_a_queue_is_refused(name: object) -> None:
    with pytest.raises(QueueSettingsError, match="1 to 255"):
        check_queue_name(name)


@pytest.mark.parametrize("name", ["a", "x" * 255, 'quo"te', "with.dots and spaces", "\u00fcber"])
def test_odd_names_may_name_a_queue(name: str) -> None:
    assert check_queue_name(name) == name


@given(
    failed=st.integers(min_value=1, max_value=10_000), chance=st.floats(min_value=0, max_value=1)
)
def test_pauses_stay_within_the_maximum_and_above_the_jitter(failed: int, chance: float) -> None:
    backoff = Backoff()
    pause = backoff.pause(failed, chance)
    assert backoff.initial * (1 - backoff.jitter) <= pause <= backoff.maximum


def test_pauses_grow_by_the_factor() -> None:
    pauses = [Backoff(jitter=0).pause(n, 0.5) for n in (1, 2, 3)]
    assert pauses == [timedelta(seconds=s) for s in (1, 2, 4)]


def test_a_policy_allows_its_number_of_retries_and_only_chosen_errors() -> None:
    policy = RetryPolicy(retries=1, should_retry=lambda error: isinstance(error, OSError))
    assert policy.allows(1, OSError())
    assert not policy.allows(2, OSError())
    assert not policy.allows(1, ValueError())
    assert not policy.allows(1, SystemExit())


@pytest.mark.parametrize("retries", [-1, True, 1.5])
def test_retries_must_be_a_whole_number(retries: object) -> None:
    with pytest.raises(ConfigurationError, match="retries is"):
        RetryPolicy(retries=retries)  # type: ignore[arg-type]
