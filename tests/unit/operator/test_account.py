"""The trace of a reconcile: what it tells, once, and what it never tells."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import pytest

from tests.unit.operator.test_health_for_gitops import declare
from towpath_operator.account import Account, account_of, summary_of
from towpath_operator.declarations import Subject
from towpath_operator.memory import Memory
from towpath_operator.model.annotations import TRACE
from towpath_operator.model.metadata import Metadata, read_metadata
from towpath_operator.model.parse import PARSERS
from towpath_operator.plan.actions import Plan
from towpath_operator.ports.cluster import QUEUE, ObjectKey

SUBJECT = Subject(QUEUE, ObjectKey("shop", "mail"))


@dataclass(frozen=True)
class Facts:
    """Stands for whatever is observed."""

    uri: str = field(default="postgresql://app:hush@db/app", repr=False)
    text: str = "cannot reach postgresql://app:hush@db/app"
    secret: dict[str, object] = field(
        default_factory=lambda: {
            "kind": "Secret",
            "metadata": {"namespace": "shop", "name": "mail-database", "uid": "u"},
            "data": {"uri": "aHVzaA=="},
        }
    )
    many: tuple[int, ...] = tuple(range(500))


def annotated(value: str) -> Metadata:
    """Return the metadata of a Queue of which a trace is asked for."""
    manifest = declare()
    manifest["metadata"]["annotations"] = {TRACE: value}
    return read_metadata(manifest)


def run(metadata: Metadata, memory: Memory) -> None:
    """Keep the account of one reconcile that observes something and plans nothing."""
    with account_of(SUBJECT) as account:
        account.began(metadata, memory)
        account.observed(Facts())
        account.planned(Plan())
        account.executed(None)


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged."""
    return [record.getMessage() for record in caplog.records]


def test_a_trace_is_written_once_for_each_value_of_the_annotation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Every step, with its time; the next reconcile is as silent as ever."""
    caplog.set_level(logging.INFO)
    memory = Memory()
    run(annotated("1"), memory)
    whole = ["began", "observed", "planned", "executed", "ended"]
    assert events(caplog) == [f"trace {step}" for step in whole]
    assert all(vars(one)["object"] == "Queue shop/mail" for one in caplog.records)
    assert all(vars(one)["ms"] >= 0 for one in caplog.records)
    caplog.clear()
    run(annotated("1"), memory)
    assert events(caplog) == []
    run(annotated("2"), memory)
    assert len(events(caplog)) == 5


def test_a_turn_that_has_nothing_to_go_by_leaves_the_trace_to_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was asked for is a reconcile, not the wait for one."""
    caplog.set_level(logging.INFO)
    memory = Memory()
    with account_of(SUBJECT) as account:
        account.began(annotated("1"), memory)
        account.waits(memory)
    caplog.clear()
    run(annotated("1"), memory)
    assert events(caplog)[-1] == "trace ended"


def test_without_the_annotation_nothing_is_written(caplog: pytest.LogCaptureFixture) -> None:
    """And nothing is summed up in vain."""
    caplog.set_level(logging.DEBUG)
    run(read_metadata(declare()), Memory())
    assert events(caplog) == []


def test_a_summary_has_no_secret_and_an_end() -> None:
    """Fields without a repr, passwords in texts, and what objects say stay out."""
    told = summary_of(Facts())
    assert "hush" not in str(told)
    assert "aHVzaA" not in str(told)
    assert told["secret"] == "Secret shop/mail-database uid=u generation=1"  # noqa: S105
    assert len(told["many"]) == 20


def test_a_declared_object_is_told_by_its_name() -> None:
    """Its spec stands in the cluster, and may be long."""
    queue = PARSERS["Queue"](declare())
    assert summary_of([queue]) == ["Queue shop/mail"]


def test_an_exception_is_a_bug_whatever_was_said_before() -> None:
    """The account is kept even of a reconcile that breaks off."""
    kept: list[Account] = []

    def break_off() -> None:
        with account_of(SUBJECT) as account:
            kept.append(account)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert kept[0].outcome == "bug"
