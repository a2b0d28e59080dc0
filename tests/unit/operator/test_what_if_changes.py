"""What `towpath plan` says of two states of one thing, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from towpath.domain.queue import QueueSettings
from towpath_operator.plan.observed import Owner, QueueRow
from towpath_operator.ports.cluster import DEPLOYMENT, SECRET
from towpath_operator.what_if.changes import (
    HIDDEN,
    ROLLS_PODS,
    FieldChange,
    Verb,
    differences,
    object_change,
    row_change,
)
from towpath_operator.what_if.cluster import applied_over

OWNER = Owner(cluster="here", namespace="shop", name="mail", uid="1")


def deployment(image: str, replicas: int = 1, **metadata: Any) -> dict[str, Any]:
    """Return a Deployment as far as a comparison reads it."""
    return {
        "metadata": {"namespace": "shop", "name": "mail", **metadata},
        "spec": {
            "replicas": replicas,
            "template": {"spec": {"containers": [{"name": "worker", "image": image}]}},
        },
    }


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("a", 1, 2)]),
        ({}, {"a": {"b": 1}}, [("a.b", None, 1)]),
        ({"a": {"b": 1}}, {}, [("a.b", 1, None)]),
        ({"a": [1, 2]}, {"a": [1, 3]}, [("a", [1, 2], [1, 3])]),
        ({"a": 1}, {"a": {"b": 1}}, [("a", 1, {"b": 1})]),
        (
            {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"env": [{"name": "B", "value": "3"}]},
            [("env[B].value", "2", "3"), ("env[A].name", "A", None), ("env[A].value", "1", None)],
        ),
    ],
)
def test_fields_are_named_by_their_paths_and_entries_by_their_names(
    before: Any, after: Any, changes: list[tuple[str, Any, Any]]
) -> None:
    found = [(one.path, one.before, one.after) for one in differences(before, after)]
    assert found == changes


def test_a_new_image_replaces_the_pods_and_a_number_of_them_does_not() -> None:
    image = object_change(DEPLOYMENT, deployment("shop:1"), deployment("shop:2"))
    number = object_change(DEPLOYMENT, deployment("shop:1"), deployment("shop:1", replicas=2))

    assert image is not None
    assert number is not None
    assert (image.verb, image.note) == (Verb.CHANGE, ROLLS_PODS)
    path = "spec.template.spec.containers[worker].image"
    assert image.fields == (FieldChange(path=path, before="shop:1", after="shop:2"),)
    assert number.note == ""


def test_what_every_write_changes_is_no_change() -> None:
    before = deployment("shop:1", resourceVersion="1", generation=1)
    after = deployment(
        "shop:1",
        resourceVersion="2",
        generation=2,
        annotations={"towpath.dev/applied": "abc"},
    )
    assert object_change(DEPLOYMENT, before, after) is None


def test_the_value_of_a_secret_is_never_shown() -> None:
    metadata = {"namespace": "shop", "name": "mail-database"}
    change = object_change(
        SECRET,
        {"metadata": metadata, "data": {"uri": "hush-1"}},
        {"metadata": metadata, "data": {"uri": "hush-2", "ca.crt": "hush-3"}},
    )
    assert change is not None
    assert "hush" not in repr(change)
    assert {one.path: one.after for one in change.fields} == {
        "data.uri": HIDDEN,
        "data.ca.crt": HIDDEN,
    }


def test_an_object_is_made_or_goes() -> None:
    made = object_change(DEPLOYMENT, None, deployment("shop:1"))
    gone = object_change(DEPLOYMENT, deployment("shop:1"), None)
    assert made is not None
    assert gone is not None
    assert (made.verb, gone.verb) == (Verb.CREATE, Verb.DELETE)
    assert gone.about == "Deployment shop/mail"


def test_a_row_is_told_in_the_words_of_a_manifest() -> None:
    before = QueueRow(
        queue_name="mail",
        settings=QueueSettings(concurrency=2),
        paused=False,
        closed=False,
        owner=None,
    )
    after = QueueRow(
        queue_name="mail",
        settings=QueueSettings(concurrency=3),
        paused=True,
        closed=False,
        owner=OWNER,
    )
    change = row_change("shop/default", before, after)
    assert change is not None
    assert change.about == "queue 'mail' in shop/default"
    assert {(one.path, one.before, one.after) for one in change.fields} == {
        ("concurrency.global", 2, 3),
        ("paused", False, True),
        ("owner", None, "shop/mail"),
    }
    assert row_change("shop/default", after, after) is None


def test_an_apply_keeps_what_it_does_not_name_and_drops_entries_that_it_leaves_out() -> None:
    live = {
        "metadata": {"name": "mail", "generation": 4, "uid": "1"},
        "spec": {
            "replicas": 1,
            "paused": False,
            "env": [{"name": "A", "value": "1", "default": True}, {"name": "B", "value": "2"}],
        },
        "status": {"replicas": 1},
    }
    manifest = {"metadata": {"name": "mail"}, "spec": {"env": [{"name": "A", "value": "3"}]}}

    assert applied_over(live, manifest) == {
        "metadata": {"name": "mail", "generation": 5, "uid": "1"},
        "spec": {
            "replicas": 1,
            "paused": False,
            "env": [{"name": "A", "value": "3", "default": True}],
        },
        "status": {"replicas": 1},
    }
