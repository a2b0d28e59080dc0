"""The user's example of a declared queue, and its limits as they are seen from outside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psycopg

from towpath import Client, WorkflowHandle

FOLDER: Final = Path(__file__).parent
MANIFEST: Final = (
    FOLDER.parents[1] / "unit/operator/manifests/good/queue-rate-limited-api.yaml"
).read_text("utf-8")
IMAGE: Final = "registry.example/shop:1"
NAME: Final = "rate-limited-api"
PLACES: Final = 2
LIMIT: Final = 5
PERIOD: Final = 10.0
URGENT: Final = "urgent"

_TABLE: Final = """
CREATE SCHEMA observed;
CREATE TABLE observed.operation (data text, began float8 NOT NULL, ended float8)
"""


def enqueue_operations(url: str, client: Client, number: int) -> Sequence[WorkflowHandle[str]]:
    """Begin to observe, and enqueue operations; the last one is urgent."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_TABLE.encode())
    names = [*(f"data-{i}" for i in range(number - 1)), URGENT]
    handles = [client.enqueue(NAME, "rate_limited_operation", name) for name in names]
    client.set_priority(handles[-1].workflow_id, 7)
    return handles


def assert_within_limits(url: str, number: int) -> None:
    """Each ran once; never more than 2 at once, never more than 5 starts in 10 s, nor much slower."""
    with psycopg.connect(url, autocommit=True) as connection:
        query = "SELECT data, began, ended FROM observed.operation ORDER BY began"
        seen = connection.execute(query.encode()).fetchall()
    assert len({data for data, _, _ in seen}) == len(seen) == number
    began = [one for _, one, _ in seen]
    apart = [later - first for first, later in zip(began, began[LIMIT:], strict=False)]
    assert min(apart) >= PERIOD
    assert _most_at_once([(one, end) for _, one, end in seen]) == PLACES
    # The urgent one went before those that waited when it became urgent.
    assert URGENT in [data for data, _, _ in seen[: LIMIT + 1]]
    windows = (number - 1) // LIMIT
    assert began[-1] - began[0] < windows * (PERIOD + 1) + PERIOD / 2


def _most_at_once(calls: Sequence[tuple[float, float]]) -> int:
    moments = sorted([(began, 1) for began, _ in calls] + [(ended, -1) for _, ended in calls])
    now = most = 0
    for _, change in moments:
        now += change
        most = max(most, now)
    return most
