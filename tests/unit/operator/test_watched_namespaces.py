"""An operator of some namespaces: of objects in others it never knows that they are gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.operator.builders import (
    DATABASE,
    MIGRATED,
    NOW,
    OPERATOR,
    TARGET,
    database,
    owner,
    queue,
    row,
)
from towpath_operator.model.conditions import Reason
from towpath_operator.plan.actions import ReleaseQueue
from towpath_operator.plan.database import plan_queue_database
from towpath_operator.plan.observed import QueueDatabaseObserved, QueueObserved, QueueRow
from towpath_operator.plan.ownership import claim_row
from towpath_operator.settings import SettingsError, read_settings

NARROW = replace(OPERATOR, namespaces=("shop", "towpath"))


def held_in(namespace: str) -> QueueRow:
    """Return the row of a Queue that is not listed."""
    return row(replace(owner(queue()), namespace=namespace, uid="not-listed"))


@pytest.mark.parametrize(("namespace", "taken"), [("shop", True), ("bank", False)])
def test_a_row_is_free_only_where_its_owner_would_be_seen(namespace: str, taken: bool) -> None:  # noqa: FBT001 - a column of the table
    """A Queue of a namespace that is not watched holds its row, whether it still exists or not."""
    observed = QueueObserved(
        operator=NARROW, database=DATABASE, row=held_in(namespace), queue_uids=frozenset()
    )
    blocked = claim_row(queue(), observed)
    assert (blocked is None) == taken
    assert taken or (blocked is not None and blocked.reason is Reason.QUEUE_CONFLICT)


@pytest.mark.parametrize(("namespace", "freed"), [("shop", 1), ("bank", 0)])
def test_rows_of_queues_elsewhere_are_never_freed(namespace: str, freed: int) -> None:
    """Another operator of this cluster has them in its care."""
    observed = QueueDatabaseObserved(
        operator=NARROW,
        target=TARGET,
        state=MIGRATED,
        owned=(held_in(namespace),),
        queue_uids=frozenset(),
    )
    actions = plan_queue_database(database(), observed, NOW).actions
    assert len([one for one in actions if isinstance(one, ReleaseQueue)]) == freed


def test_the_operators_own_namespace_is_always_watched() -> None:
    """A databaseRef is looked for there."""
    told = {"TOWPATH_OPERATOR_NAMESPACE": "towpath", "TOWPATH_OPERATOR_NAMESPACES": " shop, bank,"}
    assert read_settings(told).namespaces == ("bank", "shop", "towpath")
    assert read_settings({**told, "TOWPATH_OPERATOR_NAMESPACES": ""}).namespaces == ()


def test_a_pattern_is_no_namespace() -> None:
    """Rights are given by name, and a pattern would be watched by nobody."""
    told = {"TOWPATH_OPERATOR_NAMESPACE": "towpath", "TOWPATH_OPERATOR_NAMESPACES": "team-*"}
    with pytest.raises(SettingsError, match=r"TOWPATH_OPERATOR_NAMESPACES has 'team-\*'"):
        read_settings(told)
