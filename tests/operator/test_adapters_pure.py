"""What the adapters work out without asking anybody: paths, ownership, reasons, signatures."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import errors

from towpath.domain.errors import DatabaseUnreachableError, SchemaTooNewError
from towpath_operator.adapters.kubernetes import (
    ownership_patch,
    path_of,
    selector_of,
)
from towpath_operator.adapters.kubernetes_watch import signature_of
from towpath_operator.adapters.postgres_errors import blocked_by
from towpath_operator.ports.cluster import DEPLOYMENT, FIELD_MANAGER, NAMESPACE, POD, QUEUE, SECRET


def test_paths_follow_the_kind_and_the_namespace() -> None:
    """Core kinds are under /api, others under /apis; a namespace has none."""
    assert path_of(SECRET, namespace="shop", name="db") == "/api/v1/namespaces/shop/secrets/db"
    assert path_of(QUEUE) == "/apis/towpath.dev/v1alpha1/queues"
    assert path_of(NAMESPACE, namespace="", name="kube-system") == "/api/v1/namespaces/kube-system"


def test_an_empty_label_value_means_that_the_label_exists() -> None:
    """Watches select by the label alone, lists by its value."""
    assert selector_of({"towpath.dev/pool": ""}) == "towpath.dev/pool"
    assert selector_of({"b": "2", "a": "1"}) == "a=1,b=2"


def entry(operation: str, manager: str = FIELD_MANAGER, **rest: Any) -> dict[str, Any]:
    """Return an entry of managedFields."""
    return {"manager": manager, "operation": operation, **rest}


@pytest.mark.parametrize(
    ("entries", "operations"),
    [
        ([entry("Apply")], []),
        ([entry("Update", "kubectl")], []),
        ([entry("Update", subresource="status")], []),
        ([entry("Update", "kubectl"), entry("Update")], ["test", "test", "replace"]),
        ([entry("Apply"), entry("Update")], ["test", "test", "remove"]),
    ],
)
def test_what_a_post_gave_us_becomes_an_applied_field(
    entries: list[dict[str, Any]], operations: list[str]
) -> None:
    """Only our own entry on the object itself is changed, and only where it still stands there."""
    patch = ownership_patch({"metadata": {"managedFields": entries}})
    assert [one["op"] for one in patch] == operations
    assert all(one["path"].startswith("/metadata/managedFields/1") for one in patch)


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (
            psycopg.OperationalError(
                'connection failed: connection to server at "10.0.0.1", port 5432 failed: FATAL:  '
                'password authentication failed for user "app"'
            ),
            "CredentialsRejected",
            'password authentication failed for user "app"',
        ),
        (
            psycopg.OperationalError('FATAL:  database "shop" does not exist'),
            "DatabaseUnreachable",
            'database "shop" does not exist. Create it',
        ),
        (
            psycopg.OperationalError("[Errno -2] Name or service not known"),
            "DatabaseUnreachable",
            "Name",
        ),
        (
            psycopg.OperationalError(
                'connection to server at "10.0.0.1", port 5432 failed: FATAL:  password '
                'authentication failed for user "app"\nconnection to server at "10.0.0.1", port 5432 '
                'failed: FATAL:  no pg_hba.conf entry for host "h", user "app", no encryption'
            ),
            "CredentialsRejected",
            "Correct the login",
        ),
        (
            DatabaseUnreachableError(
                reason='connection failed: connection to server at "10.0.0.1", port 5432 failed: '
                "Connection refused Multiple connection attempts failed. All failures were: - host: "
                "'10.0.0.2'"
            ),
            "DatabaseUnreachable",
            "Connection refused. It is tried again",
        ),
        (
            psycopg.OperationalError(
                'connection to server at "db" (10.0.0.1), port 5 failed: FATAL:  sorry, too many '
                "clients already"
            ),
            "DatabaseUnreachable",
            "connections.perPod",
        ),
        (TimeoutError(), "DatabaseUnreachable", "10 s"),
        (errors.QueryCanceled(), "DatabaseUnreachable", "10 s"),
        (errors.ReadOnlySqlTransaction(), "DatabaseUnreachable", "read only"),
        (
            errors.InsufficientPrivilege("permission denied for schema towpath"),
            "CredentialsRejected",
            "permission denied for schema towpath",
        ),
        (SchemaTooNewError(schema="s", serves_from=9, library=1), "SchemaTooNew", "version 9"),
    ],
)
def test_an_error_of_postgres_is_a_reason_in_words(
    error: Exception, reason: str, words: str
) -> None:
    """The address is left out: a list of them in another order would be another message."""
    blocked = blocked_by(error)
    assert blocked.reason == reason
    assert words in blocked.message
    assert "10.0.0.1" not in blocked.message


def test_a_change_that_no_reconcile_cares_about_is_none() -> None:
    """A new resourceVersion or a probe's time wakes nobody; a waiting reason does."""
    pod: dict[str, Any] = {
        "metadata": {"resourceVersion": "1"},
        "status": {
            "phase": "Pending",
            "conditions": [{"type": "Ready", "status": "False", "lastProbeTime": "1"}],
            "containerStatuses": [{"name": "worker", "ready": False, "state": {"waiting": {}}}],
        },
    }
    before = signature_of(POD, pod)
    pod["metadata"]["resourceVersion"] = "2"
    pod["status"]["conditions"][0]["lastProbeTime"] = "2"
    assert signature_of(POD, pod) == before
    pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] = "ErrImagePull"
    assert signature_of(POD, pod) != before


def test_an_edited_deployment_has_another_signature() -> None:
    """Its generation rises with each change of its spec."""
    deployment = {"metadata": {"generation": 1}, "status": {"readyReplicas": 1}}
    edited = {"metadata": {"generation": 2}, "status": {"readyReplicas": 1}}
    assert signature_of(DEPLOYMENT, deployment) != signature_of(DEPLOYMENT, edited)
