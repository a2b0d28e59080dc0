"""The account of one reconcile: how it ended and how long it took, for the metrics; its steps, for a trace.

A trace is asked for by the annotation `towpath.dev/trace`: the next reconcile of the object writes each
step to the log, once for each value that the annotation is given.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, Final, TypeVar

from towpath.telemetry.logs import redact
from towpath_operator import metrics
from towpath_operator.declarations import Subject
from towpath_operator.memory import Memory
from towpath_operator.metrics import Outcome
from towpath_operator.model.annotations import TRACE
from towpath_operator.model.metadata import Metadata, read_metadata
from towpath_operator.plan.actions import Failure, Plan
from towpath_operator.plan.observed import Declared
from towpath_operator.plan.status import PASSING, ready_condition

logger = logging.getLogger(__name__)

LONGEST_TEXT: Final = 300
MOST_ITEMS: Final = 20

T = TypeVar("T")


class Account:
    """What is told of a reconcile while it runs."""

    def __init__(self, subject: Subject, *, told: bool = True) -> None:
        """Begin; nobody is told of a reconcile that only foretells."""
        self._told = told
        self.outcome = Outcome.DONE
        self._subject = subject
        self._asked: str | None = None
        self._began = self._step_began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.perf_counter() - self._began

    def began(self, metadata: Metadata, memory: Memory) -> None:
        """Take in the object: whether its annotation asks for a trace that was not written yet."""
        asked = metadata.asked.get(TRACE)
        if self._told and asked is not None and memory.traced.get(self._subject) != asked:
            memory.traced[self._subject] = asked
            self._asked = asked
            self._tell("trace began", {"generation": metadata.generation, "uid": metadata.uid})

    def observed(self, found: T) -> T:
        """Take in what the plan will be made from."""
        if self._asked is not None:
            self._tell("trace observed", {"observed": summary_of(found)})
        return found

    def planned(self, plan: Plan) -> Plan:
        """Take in what is to be done."""
        if self._asked is not None:
            ready = ready_condition(plan.status) or {}
            told = {
                "actions": [summary_of(action) for action in plan.actions],
                "ready": {name: ready.get(name) for name in ("status", "reason", "message")},
                "status_changed": plan.status_changed,
                "events": [event.reason for event in plan.events],
                "requeue_after": summary_of(plan.requeue_after),
            }
            self._tell("trace planned", told)
        return plan

    def executed(self, failure: Failure | None) -> Failure | None:
        """Take in whether the actions went well."""
        if self._asked is not None:
            self._tell("trace executed", {"failure": summary_of(failure)})
        return failure

    def waits(self, memory: Memory) -> None:
        """Take in that there is nothing to go by yet: a trace is written of the turn that has it."""
        self.outcome = Outcome.WAITING
        if self._asked is not None:
            del memory.traced[self._subject]

    def settled(self, plan: Plan, failure: Failure | None) -> None:
        """Take in how it ended: a bug stays one."""
        if self.outcome is Outcome.DONE:
            self.outcome = outcome_of(plan, failure)

    def ended(self) -> None:
        """Count it, and end its trace."""
        if self._told:
            metrics.reconciled(self._subject.kind.name, self.outcome, self.seconds)
        if self._asked is not None:
            took = round(self.seconds * 1000, 1)
            self._tell("trace ended", {"outcome": str(self.outcome), "total_ms": took})

    def _tell(self, event: str, told: Mapping[str, Any]) -> None:
        now = time.perf_counter()
        head = {"object": str(self._subject), "trace": redact(self._asked or "")[:LONGEST_TEXT]}
        logger.info(event, extra={**head, **told, "ms": round((now - self._step_began) * 1000, 1)})
        self._step_began = now


@contextmanager
def account_of(subject: Subject, *, told: bool = True) -> Iterator[Account]:
    """Keep the account of one reconcile; an exception that passes through is a bug."""
    account = Account(subject, told=told)
    try:
        yield account
    except Exception:
        account.outcome = Outcome.BUG
        raise
    finally:
        account.ended()


def outcome_of(plan: Plan, failure: Failure | None) -> Outcome:
    """Tell how a reconcile without a bug ended."""
    if failure is not None:
        return Outcome.RETRY if failure.reason is None else Outcome.BLOCKED
    ready = ready_condition(plan.status)
    if ready is None or ready["status"] == "True" or ready["reason"] in PASSING:
        return Outcome.DONE
    return Outcome.BLOCKED


def summary_of(found: object) -> Any:
    """Return a fact as plain data for the log: no secret, no manifest, nothing endless.

    A field that a repr leaves out is left out; of an object of the cluster its name is told, and not
    what it says, which may be a Secret or a template with one.
    """
    if found is None or isinstance(found, bool | int | float):
        return found
    if isinstance(found, Mapping):
        return _summary_of_mapping(found)
    if isinstance(found, list | tuple | set | frozenset):
        return [summary_of(item) for item in list(found)[:MOST_ITEMS]]
    if isinstance(found, Declared):
        return f"{type(found).__name__} {found.metadata.key}"
    if is_dataclass(found) and not isinstance(found, type):
        shown = {f.name: getattr(found, f.name) for f in fields(found) if f.repr}
        return {name: summary_of(value) for name, value in shown.items() if value is not None}
    return redact(str(found))[:LONGEST_TEXT]


def _summary_of_mapping(found: Mapping[Any, Any]) -> Any:
    if "metadata" in found:
        metadata = read_metadata(found)
        kind = found.get("kind", "object")
        return f"{kind} {metadata.key} uid={metadata.uid} generation={metadata.generation}"
    return {str(name): summary_of(value) for name, value in list(found.items())[:MOST_ITEMS]}
