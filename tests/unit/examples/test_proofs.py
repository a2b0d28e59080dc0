"""The demonstration's proofs fail where they should: each claim against a log that refutes it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from examples.demo.proofs import prove_limit, prove_once, prove_resumed, prove_success
from examples.demo.warehouse import ACTIONS, Call, Outcome, Report

FIRST, SECOND = "pod-a/10", "pod-b/20"


def call(
    action: str, outcome: Outcome = Outcome.ANSWERED, worker: str = FIRST, order: int = 1
) -> Call:
    """Make a call whose times do not matter."""
    return Call(
        number=1, action=action, order=order, worker=worker, began=0, ended=1, outcome=outcome
    )


def report(calls: Sequence[Call], *, most: int = 3) -> Report:
    """Make a report."""
    return Report(limit=3, in_flight=0, most_at_once=most, now=9, calls=calls)


KILLED = call("charge", Outcome.IN_FLIGHT)
RESUMED = [
    call("reserve"),
    call("charge", Outcome.CUT_OFF),
    call("charge", worker=SECOND),
    call("ship", worker=SECOND),
]


def holds(calls: Sequence[Call]) -> list[bool]:
    """Judge the going on of the killed order."""
    return [proof.holds for proof in prove_resumed(report(calls), KILLED)]


def test_a_resumed_order_is_proved() -> None:
    """The step that was cut off is called again, elsewhere, and nothing else is."""
    assert holds(RESUMED) == [True, True, True]


def test_a_recorded_step_that_ran_again_is_no_proof() -> None:
    """An order that began anew did not go on."""
    again = [*RESUMED[:2], call("reserve", worker=SECOND), *RESUMED[2:]]
    assert holds(again) == [False, True, False]
    assert not prove_once(report(again), [1]).holds


def test_the_same_worker_is_no_proof() -> None:
    """The worker that was killed cannot have gone on."""
    same = [*RESUMED[:2], call("charge"), call("ship")]
    assert holds(same) == [True, False, True]


def test_an_order_that_never_went_on_is_no_proof() -> None:
    """Nothing after the kill proves nothing."""
    assert holds(RESUMED[:2]) == [False, False, False]


def test_a_call_cut_off_elsewhere_is_no_proof() -> None:
    """Only the calls of the killed worker may have been cut off."""
    other = [call("ship", Outcome.CUT_OFF, "pod-c/30", 2), call("ship", worker=SECOND, order=2)]
    assert holds([*RESUMED, *other]) == [True, True, False]


@pytest.mark.parametrize(("most", "proved"), [(2, False), (3, True), (4, False)])
def test_the_limit_is_reached_and_not_passed(most: int, *, proved: bool) -> None:
    """A limit that was never reached was not tried."""
    assert prove_limit(report([], most=most))[0].holds is proved


def test_a_refused_call_is_no_proof() -> None:
    """One 429 means that somebody saw four at once."""
    assert not prove_limit(report([call("ship", Outcome.REFUSED)]))[1].holds


def test_a_missing_step_is_no_proof() -> None:
    """Every step of every order was answered."""
    calls = [call(action) for action in ACTIONS]
    assert prove_once(report(calls), [1]).holds
    assert not prove_once(report(calls[:2]), [1]).holds
    assert not prove_once(report(calls), [1, 2]).holds


def test_a_workflow_that_failed_is_no_proof() -> None:
    """All end in SUCCESS."""
    assert prove_success({"a": "SUCCESS"}).holds
    assert not prove_success({"a": "SUCCESS", "b": "ERROR"}).holds
