"""Databases that come late or are wrong: reasons, no secret anywhere, and then all in force."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import psycopg
import pytest

from tests.cluster.postgres import NAMESPACE as POSTGRES
from tests.cluster.postgres import PORT
from tests.cluster.postgres import SERVICE as SERVER
from tests.e2e import manifests
from tests.e2e.release import Release
from tests.e2e.space import Space
from towpath import Client

WRONG_PASSWORD: Final = "hush-this-is-not-it-either"  # noqa: S105 - it opens nothing
REASONS: Final = {
    "secretless": ("SecretNotFound", "Secret {namespace}/secretless does not exist"),
    "keyless": ("SecretKeyMissing", "Secret {namespace}/keyless has no value under key uri"),
    "unreadable": ("SecretInvalid", "Secret {namespace}/unreadable, key uri"),
    "locked": ("CredentialsRejected", "password authentication failed"),
    "absent": ("DatabaseUnreachable", 'database "absent_{role}" does not exist'),
}


def test_a_database_that_comes_up_late_is_said_to_be_away_and_then_used(
    space: Space, release: Release
) -> None:
    """The Queue is first not Ready with a reason; once Postgres answers its pods run, untouched."""
    space.apply(_service())
    uri = release.with_login(
        f"//x@late.{space.namespace}.svc.cluster.local:{PORT}/{release.database}"
    )
    space.apply(
        manifests.secret("database", uri=uri),
        manifests.database("default", secret="database", schema="late"),  # noqa: S106
        manifests.queue("early", workers=manifests.workers(release.image)),
    )
    for kind, name in (("queuedatabase", "default"), ("queue", "early")):
        space.until_reason(kind, name, "DatabaseUnreachable")
    assert space.names("workerpools,deployments,pods") == []
    space.apply(_endpoint(release))
    for kind, name in (("queuedatabase", "default"), ("workerpool", "early"), ("queue", "early")):
        space.until_ready(kind, name)
    with Client(release.uri(), schema="late") as here:
        assert here.enqueue("early", "walk", 1, 0.0).get_result(timeout=60)


def _service() -> manifests.Manifest:
    """Return a Service with nothing behind it: connections are refused."""
    spec = {"ports": [{"port": PORT}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "late"}, "spec": spec}


def _endpoint(release: Release) -> manifests.Manifest:
    """Return what puts the server behind it."""
    ask = ["get", "pods", f"--namespace={POSTGRES}", f"--selector=app={SERVER}", "--output=json"]
    (pod,) = json.loads(release.cluster.kubectl(*ask))["items"]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "late", "labels": {"kubernetes.io/service-name": "late"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [pod["status"]["podIP"]], "conditions": {"ready": True}}],
        "ports": [{"port": PORT, "protocol": "TCP", "name": ""}],
    }


@pytest.fixture(scope="module")
def wrong(new_module_space: Callable[..., Space], release: Release) -> Space:
    """Declare a database for each mistake, and a queue in each."""
    space = new_module_space()
    good = release.postgres.uri_for_pods(release.database)
    uris = {
        "keyless": {"url": release.uri_for_pods()},
        "unreadable": {"uri": f"{release.uri_for_pods()}?passfile={WRONG_PASSWORD}"},
        "locked": {"uri": release.with_login(good, WRONG_PASSWORD)},
        "absent": {"uri": release.uri_for_pods(f"absent_{release.database}")},
    }
    space.apply(*(manifests.secret(name, **data) for name, data in uris.items()))
    for name in REASONS:
        reference = {"name": name}
        space.apply(
            manifests.database(name, secret=name, schema=name),
            manifests.queue(f"in-{name}", databaseRef=reference),
        )
    return space


@pytest.mark.parametrize("name", REASONS)
def test_what_is_wrong_with_a_database_is_a_reason_at_it_and_at_its_queues(
    name: str, wrong: Space
) -> None:
    """The message says what to correct, and the word is in the column too."""
    reason, words = REASONS[name]
    said = words.format(namespace=wrong.namespace, role=wrong.release.database)
    assert said in wrong.until_reason("queuedatabase", name, reason)
    assert said in wrong.until_reason("queue", f"in-{name}", reason)
    assert reason in wrong.kubectl("get", "queues", f"in-{name}")


def test_no_password_is_told_in_a_status_an_event_or_a_log(wrong: Space) -> None:
    """Neither that of the login nor one that was refused; the operator's log included."""
    texts = wrong.texts() + str(wrong.release.log())
    for name, (reason, _) in REASONS.items():
        assert f'"reason": "{reason}"' in texts, name
    assert WRONG_PASSWORD not in texts
    assert wrong.release.password not in texts


def test_a_corrected_secret_and_a_database_that_was_made_come_into_force(
    wrong: Space, release: Release
) -> None:
    """No object of ours is touched, nor the operator."""
    right: dict[str, Any] = {"uri": release.uri_for_pods()}
    corrected = ("secretless", "keyless", "unreadable", "locked")
    wrong.apply(*(manifests.secret(name, **right) for name in corrected))
    release.make_database(f"absent_{release.database}")
    for name in REASONS:
        wrong.until_ready("queue", f"in-{name}", seconds=90)
        wrong.until_ready("queuedatabase", name)
    with psycopg.connect(release.uri(f"absent_{release.database}")) as connection:
        found = connection.execute("SELECT owner_name FROM absent.queue").fetchall()
    assert ("in-absent",) in found


def test_of_two_queues_of_one_name_the_older_has_it_until_it_is_deleted(
    space: Space, client: Client, release: Release
) -> None:
    """The other says QueueConflict and who holds it, runs no pod, and then takes over the backlog."""
    space.apply(manifests.queue("elder", queueName="contested", concurrency={"global": 1}))
    space.until_ready("queue", "elder")
    younger = manifests.queue(
        "younger",
        queueName="contested",
        concurrency={"global": 5},
        workers=manifests.workers(release.image),
    )
    space.apply(younger)
    message = space.until_reason("queue", "younger", "QueueConflict")
    assert f"{space.namespace}/elder" in message
    limit = "SELECT concurrency_global, owner_name FROM towpath.queue WHERE name = 'contested'"
    assert release.rows(limit) == [(1, "elder")]
    assert space.pods() == []
    handle = client.enqueue("contested", "walk", 1, 0.0)
    space.delete("queue", "elder")
    space.until_ready("queue", "younger")
    assert release.rows(limit) == [(5, "younger")]
    assert handle.get_result(timeout=60)
