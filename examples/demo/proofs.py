"""Judges what was seen. Pure: the warehouse's report and the workflows' ends in, claims out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from examples.demo.page import Proof
from examples.demo.warehouse import ACTIONS, Call, Outcome, Report


def prove_success(statuses: Mapping[str, str]) -> Proof:
    """Every workflow ended in SUCCESS."""
    counts = Counter(statuses.values())
    ended = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    return Proof(set(counts) == {"SUCCESS"}, f"{len(statuses)} workflows enqueued: {ended}")


def prove_limit(report: Report) -> list[Proof]:
    """The limit was reached, never passed, and no call was refused."""
    refused = sum(call.outcome is Outcome.REFUSED for call in report.calls)
    return [
        Proof(
            report.most_at_once == report.limit,
            f"{report.most_at_once} calls at once at the most; the limit is {report.limit}",
        ),
        Proof(refused == 0, f"{refused} calls refused with 429"),
    ]


def prove_once(report: Report, orders: Sequence[int]) -> Proof:
    """Each step was answered once: no step whose result was recorded was run again."""
    answered = Counter((c.order, c.action) for c in report.calls if c.outcome is Outcome.ANSWERED)
    expected = {(order, action): 1 for order in orders for action in ACTIONS}
    again = sum(count - 1 for count in answered.values())
    return Proof(
        dict(answered) == expected,
        f"{len(answered)} of {len(expected)} steps answered, {again} of them again",
    )


def prove_resumed(report: Report, killed: Call) -> list[Proof]:
    """The order whose worker was killed went on where it stood, and nothing else was repeated."""
    calls = report.of(killed.order)
    stood = ACTIONS.index(killed.action)
    expected = [*ACTIONS[: stood + 1], *ACTIONS[stood:]]
    rest = calls[stood + 1 :]
    where = bool(rest) and rest[0].action == killed.action
    cut_off = sum(call.outcome is Outcome.CUT_OFF for call in report.calls)
    in_flight = sum(
        call.worker == killed.worker and call.outcome is Outcome.CUT_OFF for call in report.calls
    )
    return [
        Proof(
            [call.action for call in calls] == expected and where,
            f"order-{killed.order} was killed in {killed.action} and went on at {killed.action}",
        ),
        Proof(
            bool(rest) and all(call.worker != killed.worker for call in rest),
            f"by another worker: {killed.worker}, then {rest[0].worker if rest else 'nobody'}",
        ),
        Proof(
            cut_off == in_flight and len(report.calls) == _expected_calls(report) + cut_off,
            f"repeated: {cut_off} of {len(report.calls)} calls, in flight when the worker died",
        ),
    ]


def _expected_calls(report: Report) -> int:
    return len({(call.order, call.action) for call in report.calls})
