"""What was seen of an object: the later sight counts, in whatever order the sights come in."""

from __future__ import annotations

from typing import Any

import pytest

from towpath_operator.adapters.sightings import Sightings
from towpath_operator.ports.cluster import DEPLOYMENT, POD, REPLICA_SET, ObjectKey
from towpath_operator.render.names import POOL_LABEL

MAIL = ObjectKey("shop", "mail")


def seen_as(version: int, name: str = "mail", pool: str | None = "mail", **more: Any) -> Any:
    """Return an object at a resourceVersion."""
    labels = {} if pool is None else {"labels": {POOL_LABEL: pool}}
    metadata = {"namespace": "shop", "name": name, "resourceVersion": str(version), **labels}
    return {"metadata": metadata, **more}


@pytest.fixture
def sightings() -> Sightings:
    """Return a memory of Deployments and Pods, of which nothing was seen yet."""
    return Sightings([DEPLOYMENT, POD])


def version(sightings: Sightings) -> int | None:
    """Return the resourceVersion at which `mail` was seen last."""
    found = sightings.get(DEPLOYMENT, MAIL)
    return None if found is None else int(found["metadata"]["resourceVersion"])


def test_of_two_sights_the_later_one_counts(sightings: Sightings) -> None:
    """A watch may tell of what was there before the answer to a write."""
    sightings.saw(DEPLOYMENT, seen_as(9))
    sightings.saw(DEPLOYMENT, seen_as(8))
    assert version(sightings) == 9
    sightings.saw(DEPLOYMENT, seen_as(10))
    assert version(sightings) == 10


def test_versions_are_numbers_not_texts(sightings: Sightings) -> None:
    """10 is later than 9."""
    sightings.saw(DEPLOYMENT, seen_as(9))
    sightings.saw(DEPLOYMENT, seen_as(10))
    assert version(sightings) == 10


def test_what_is_gone_does_not_come_back_by_an_older_sight(sightings: Sightings) -> None:
    """Neither by a list that began before, nor by an event that is late."""
    sightings.saw(DEPLOYMENT, seen_as(5))
    sightings.saw_go(DEPLOYMENT, seen_as(8))
    sightings.saw(DEPLOYMENT, seen_as(7))
    sightings.saw_all(DEPLOYMENT, [seen_as(6)], "7", namespace=None)
    assert version(sightings) is None
    sightings.saw(DEPLOYMENT, seen_as(9))
    assert version(sightings) == 9


def test_an_old_deletion_takes_nothing_that_was_made_since(sightings: Sightings) -> None:
    """The name may have been made again before its deletion is told."""
    sightings.saw(DEPLOYMENT, seen_as(9))
    sightings.saw_go(DEPLOYMENT, seen_as(8))
    assert version(sightings) == 9


def test_a_list_takes_away_what_it_does_not_have_unless_it_was_seen_since(
    sightings: Sightings,
) -> None:
    """What was made after the list was read is not in it."""
    sightings.saw(DEPLOYMENT, seen_as(5, "old"))
    sightings.saw(DEPLOYMENT, seen_as(9, "new"))
    sightings.saw_all(DEPLOYMENT, [seen_as(6)], "7", namespace=None)
    assert sightings.get(DEPLOYMENT, ObjectKey("shop", "old")) is None
    assert sightings.get(DEPLOYMENT, ObjectKey("shop", "new")) is not None
    assert version(sightings) == 6


def test_a_list_of_one_namespace_says_nothing_of_others(sightings: Sightings) -> None:
    """An operator of some namespaces lists them one by one."""
    sightings.saw(DEPLOYMENT, seen_as(5))
    sightings.saw_all(DEPLOYMENT, [], "7", namespace="other")
    assert version(sightings) == 5
    sightings.saw_all(DEPLOYMENT, [], "7", namespace="shop")
    assert version(sightings) is None


def test_pods_are_found_by_their_pool_also_after_the_label_was_changed(
    sightings: Sightings,
) -> None:
    """By the label as it was seen last."""
    sightings.saw(POD, seen_as(5, "a"))
    sightings.saw(POD, seen_as(6, "b"))
    sightings.saw(POD, seen_as(7, "c", pool=None))
    assert [one["metadata"]["name"] for one in sightings.of_pool(POD, MAIL)] == ["a", "b"]
    sightings.saw(POD, seen_as(8, "a", pool="other"))
    assert [one["metadata"]["name"] for one in sightings.of_pool(POD, MAIL)] == ["b"]
    sightings.saw_go(POD, seen_as(9, "b"))
    assert sightings.of_pool(POD, MAIL) == []


def test_what_is_about_to_go_is_not_gone_by(sightings: Sightings) -> None:
    """Until it is seen again."""
    sightings.saw(DEPLOYMENT, seen_as(5))
    sightings.forget(DEPLOYMENT, MAIL)
    assert version(sightings) is None


def test_nobody_can_change_what_was_seen(sightings: Sightings) -> None:
    """Each asking one has a copy, with the kind that lists leave out."""
    sightings.saw(DEPLOYMENT, seen_as(5, spec={"replicas": 1}))
    found: Any = sightings.get(DEPLOYMENT, MAIL)
    assert (found["apiVersion"], found["kind"]) == ("apps/v1", "Deployment")
    found["spec"]["replicas"] = 9
    again: Any = sightings.get(DEPLOYMENT, MAIL)
    assert again["spec"] == {"replicas": 1}


def test_other_kinds_are_not_kept(sightings: Sightings) -> None:
    """They are told of by the same watch."""
    sightings.saw(REPLICA_SET, seen_as(5))
    sightings.saw_go(REPLICA_SET, seen_as(6))
    sightings.saw_all(REPLICA_SET, [seen_as(7)], "8", namespace=None)
    with pytest.raises(KeyError):
        sightings.get(REPLICA_SET, MAIL)
