"""Makes statuses: conditions, numbers, and what a failed action leaves to say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from towpath_operator.model.annotations import PLAN_ONLY
from towpath_operator.model.conditions import ConditionType, Reason
from towpath_operator.model.errors import ManifestError
from towpath_operator.model.metadata import read_metadata
from towpath_operator.plan.actions import Action, Event, Failure, Plan
from towpath_operator.plan.observed import Blocked, Declared
from towpath_operator.ports.cluster import Manifest

NUMBERS_INTERVAL: Final = timedelta(seconds=10)
RETRY_AFTER: Final = timedelta(seconds=5)
SMALLEST_CHANGE: Final = 0.1

PASSING: Final = frozenset(
    {
        Reason.DELETING,
        Reason.PODS_STARTING,
        Reason.POOL_NOT_READY,
        Reason.RETRYING,
        Reason.ROW_PENDING,
        Reason.SCHEMA_PENDING,
    }
)
"""Reasons of every normal change; they make no events."""

_COMPUTED: Final = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one condition says."""

    status: Literal["True", "False", "Unknown"]
    reason: Reason
    message: str


def yes(reason: Reason, message: str) -> Verdict:
    """Say that a condition holds."""
    return Verdict(status="True", reason=reason, message=message)


def no(blocked: Blocked) -> Verdict:
    """Say that a condition does not hold, and what stands in the way."""
    return Verdict(status="False", reason=blocked.reason, message=blocked.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is to be said about an object.

    Attributes:
        subject: The object, with its last status.
        ready: The Ready condition.
        informational: Conditions beside it.
        facts: Fields whose change is written at once.
        numbers: Fields that change all the time and are written sparingly.
        words: Fields that are written beside the numbers, and never for their own sake.
        numbers_written_at: When numbers were last written.
    """

    subject: Declared
    ready: Verdict
    informational: Mapping[ConditionType, Verdict] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)
    words: Mapping[str, Any] = field(default_factory=dict)
    numbers_written_at: datetime | None = None


def settle(
    draft: Draft,
    now: datetime,
    *,
    actions: Iterable[Action] = (),
    events: Iterable[Event] = (),
    requeue_after: timedelta | None = None,
    silent: bool = False,
) -> Plan:
    """Join a draft with the last status into a plan.

    `silent` keeps the status unwritten: the actions are quick, and what they bring about is said
    when it has been seen.
    """
    previous = draft.subject.status
    generation = draft.subject.metadata.generation
    stated = make_conditions(previous, generation, draft.ready, draft.informational, now)
    facts = _present({"observedGeneration": generation, **draft.facts, "conditions": stated})
    sparing = {**draft.numbers, **draft.words}
    numbers = _present(sparing)
    old_numbers = {name: previous[name] for name in sparing if name in previous}
    facts_changed = facts != {k: v for k, v in previous.items() if k not in old_numbers}
    wait = _wait_for_numbers(draft, now)
    worth = _worth_writing(old_numbers, numbers, draft.numbers)
    take_numbers = numbers != old_numbers and (facts_changed or (worth and not wait))
    if worth and wait and not facts_changed:
        requeue_after = wait if requeue_after is None else min(wait, requeue_after)
    return Plan(
        actions=tuple(actions),
        status=facts | (numbers if take_numbers else old_numbers),
        status_changed=not silent and (facts_changed or take_numbers),
        numbers_changed=not silent and take_numbers,
        events=(*events, *(() if silent else _transition(previous, draft.ready))),
        requeue_after=requeue_after,
    )


def make_conditions(
    previous: Mapping[str, Any],
    generation: int,
    ready: Verdict,
    informational: Mapping[ConditionType, Verdict],
    now: datetime,
) -> list[dict[str, Any]]:
    """Write the conditions; a transition time is kept while the condition's status is the same."""
    verdicts = {ConditionType.READY: ready}
    if ready.status != "True":
        kind = ConditionType.STALLED if ready.reason.stalls else ConditionType.RECONCILING
        verdicts[kind] = replace(ready, status="True")
    verdicts |= informational
    old = {c.get("type"): c for c in previous.get("conditions") or ()}
    return [
        {
            "type": str(kind),
            "status": verdict.status,
            "observedGeneration": generation,
            "lastTransitionTime": _since(old.get(kind), verdict, now),
            "reason": str(verdict.reason),
            "message": verdict.message,
        }
        for kind, verdict in verdicts.items()
    ]


def failed(subject: Declared, plan: Plan, failure: Failure, now: datetime) -> Plan:
    """Return the plan with the status, events and requeue that a failed action leaves."""
    previous, generation = subject.status, subject.metadata.generation
    if failure.reason is None and _in_force(previous, generation):
        # A passing trouble beside what is in force already; nobody needs to hear of one.
        return replace(
            plan,
            status=dict(previous),
            status_changed=False,
            numbers_changed=False,
            events=(),
            requeue_after=RETRY_AFTER,
        )
    ready = Verdict(
        status="False", reason=failure.reason or Reason.RETRYING, message=failure.message
    )
    informational = _informational(plan.status)
    if failure.reason is Reason.TEMPLATE_REJECTED:
        informational[ConditionType.TEMPLATE_VALID] = ready
    stated = make_conditions(previous, generation, ready, informational, now)
    status = {"observedGeneration": generation, **plan.status, "conditions": stated}
    return replace(
        plan,
        status=status,
        status_changed=status != previous,
        events=tuple(_transition(previous, ready)),
        requeue_after=RETRY_AFTER,
    )


def invalid(manifest: Manifest, error: ManifestError, now: datetime) -> Plan:
    """Return the plan for an object that breaks a rule of its kind: nothing but to say so."""
    previous = manifest.get("status") or {}
    generation = read_metadata(manifest).generation
    problems = "; ".join(str(problem).rstrip(".") for problem in error.problems)
    ready = no(Blocked(reason=Reason.INVALID_SPEC, message=f"{problems}. {error.next_step}"))
    stated = make_conditions(previous, generation, ready, _informational(previous), now)
    status = {**previous, "observedGeneration": generation, "conditions": stated}
    return Plan(
        status=status,
        status_changed=status != previous,
        events=tuple(_transition(previous, ready)),
    )


def held(subject: Declared, lines: Sequence[str], now: datetime) -> Plan:
    """Return the plan for an object that is held as it is: nothing but to say what would be done."""
    previous, generation = subject.status, subject.metadata.generation
    message = (
        f"Held by the annotation {PLAN_ONLY}: see status.plan for what would be done; remove it to "
        "have that done."
    )
    ready = no(Blocked(reason=Reason.PLAN_ONLY, message=message))
    stated = make_conditions(previous, generation, ready, _informational(previous), now)
    status = {
        **previous,
        "observedGeneration": generation,
        "plan": list(lines),
        "conditions": stated,
    }
    return Plan(
        status=status,
        status_changed=status != previous,
        events=tuple(_transition(previous, ready)),
    )


def ready_condition(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the Ready condition of a status, or None."""
    conditions = status.get("conditions") or ()
    return next((c for c in conditions if c.get("type") == ConditionType.READY), None)


def _in_force(status: Mapping[str, Any], generation: int) -> bool:
    ready = ready_condition(status) or {}
    return ready.get("status") == "True" and ready.get("observedGeneration") == generation


def _since(old: Mapping[str, Any] | None, verdict: Verdict, now: datetime) -> str:
    if old is not None and old.get("status") == verdict.status and old.get("lastTransitionTime"):
        return str(old["lastTransitionTime"])
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _informational(status: Mapping[str, Any]) -> dict[ConditionType, Verdict]:
    known = {str(kind): kind for kind in ConditionType if kind not in _COMPUTED}
    return {
        known[c["type"]]: Verdict(
            status=c["status"], reason=Reason(c["reason"]), message=c["message"]
        )
        for c in status.get("conditions") or ()
        if c.get("type") in known and c.get("reason") in set(Reason)
    }


def _transition(previous: Mapping[str, Any], ready: Verdict) -> Iterable[Event]:
    old = ready_condition(previous) or {}
    if old.get("reason") == ready.reason or ready.reason in PASSING:
        return
    if ready.status != "True":
        yield Event(reason=str(ready.reason), message=ready.message, warning=True)
    elif old.get("reason") not in PASSING:
        yield Event(reason=str(ready.reason), message=ready.message, warning=False)


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _wait_for_numbers(draft: Draft, now: datetime) -> timedelta | None:
    if draft.numbers_written_at is None:
        return None
    left = draft.numbers_written_at + NUMBERS_INTERVAL - now
    return left if left > timedelta(0) else None


def _worth_writing(old: Mapping[str, Any], new: Mapping[str, Any], names: Iterable[str]) -> bool:
    return any(_weighs(old.get(name), new.get(name)) for name in names)


def _weighs(old: Any, new: Any) -> bool:
    """Tell whether a number changed by a tenth, or to or from zero."""
    if old is None or new is None or isinstance(new, bool | str):
        return bool(old != new)
    return bool(
        (old == 0) != (new == 0) or (old != new and abs(new - old) >= SMALLEST_CHANGE * old)
    )
