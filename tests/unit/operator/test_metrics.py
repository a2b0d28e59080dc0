"""The operator's metrics: their reference, their alerts, their labels, what a reconcile counts as."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from towpath_operator import metrics
from towpath_operator.account import outcome_of
from towpath_operator.metrics import Outcome, resource_of
from towpath_operator.metrics_page import exposed_names, metrics_page
from towpath_operator.model.conditions import Reason
from towpath_operator.plan.actions import Failure, Plan

ROOT = Path(__file__).parents[3]
RULES = ROOT / "charts/towpath/rules/alerts.yaml"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = re.compile(r"\$labels\.(\w+)")
NAMES = re.compile(r"\btowpath_\w+")


def alerts() -> list[dict[str, Any]]:
    """Return the shipped alerts."""
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_reference_page_is_as_the_metrics_are() -> None:
    """Try: python -m towpath_operator.metrics_page."""
    assert (ROOT / "docs/reference/metrics.md").read_text("utf-8") == metrics_page()


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_is_about_metrics_that_are_served_and_has_its_page(alert: dict[str, Any]) -> None:
    """A misspelled name would be an alert that never comes."""
    names = set(NAMES.findall(alert["expr"]))
    assert names
    assert names <= exposed_names()
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^## (\w+)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert anchor == alert["alert"].lower()
    assert alert["alert"] in headings


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_names_only_labels_that_it_keeps(alert: dict[str, Any]) -> None:
    """What its aggregation drops would be shown as nothing."""
    texts = " ".join(alert["annotations"].values())
    kept = set(re.search(r"by \(([\w, ]+)\)", alert["expr"])[1].split(", "))  # type: ignore[index]
    assert set(LABELS.findall(texts)) <= kept
    assert alert["labels"]["severity"] in {"warning", "critical"}


def test_every_alert_of_the_page_is_shipped() -> None:
    """The page and the rules name the same."""
    text = (ROOT / "docs/guides/alerts.md").read_text("utf-8")
    assert set(re.findall(r"^## (Towpath\w+)$", text, re.MULTILINE)) == {
        alert["alert"] for alert in alerts()
    }


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/apis/apps/v1/namespaces/shop/deployments/mail", "deployments"),
        ("/apis/apps/v1/deployments", "deployments"),
        ("/apis/towpath.dev/v1alpha1/namespaces/shop/queues/mail/status", "queues/status"),
        ("/api/v1/namespaces/kube-system", "namespaces"),
        ("/api/v1/namespaces", "namespaces"),
        ("/api/v1/namespaces/shop/secrets/database", "secrets"),
        ("/apis/events.k8s.io/v1/namespaces/shop/events", "events"),
    ],
)
def test_a_path_is_counted_by_its_resource_and_never_by_a_name(path: str, resource: str) -> None:
    """Names would be a series for each object of the cluster."""
    assert resource_of(path) == resource


def ready(status: str, reason: Reason) -> Plan:
    """Return a plan whose status says so."""
    return Plan(status={"conditions": [{"type": "Ready", "status": status, "reason": str(reason)}]})


@pytest.mark.parametrize(
    ("plan", "failure", "outcome"),
    [
        (ready("True", Reason.IN_FORCE), None, Outcome.DONE),
        (ready("False", Reason.PODS_STARTING), None, Outcome.DONE),
        (ready("False", Reason.SECRET_NOT_FOUND), None, Outcome.BLOCKED),
        (ready("True", Reason.IN_FORCE), Failure(reason=None, message="500"), Outcome.RETRY),
        (
            ready("True", Reason.IN_FORCE),
            Failure(reason=Reason.NAME_TAKEN, message="taken"),
            Outcome.BLOCKED,
        ),
    ],
)
def test_a_reconcile_counts_as_done_blocked_or_to_be_retried(
    plan: Plan, failure: Failure | None, outcome: Outcome
) -> None:
    """A normal change on its way is no error."""
    assert outcome_of(plan, failure) is outcome


def test_the_series_of_a_database_go_with_it() -> None:
    """What is deleted is not served for ever."""
    metrics.sql_failed("shop/gone", Reason.DATABASE_UNREACHABLE)
    assert b'database="shop/gone"' in metrics.page().body
    metrics.forget_database("shop/gone")
    assert b'database="shop/gone"' not in metrics.page().body
