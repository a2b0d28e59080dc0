"""A pool without work: its pods go after a minute. The minute passes while other files' tests run."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, cast

import yaml

from tests.e2e.manifests import SELDOM
from tests.e2e.space import Space
from towpath import Client


def test_pods_without_work_go_to_zero_and_not_before_a_minute(
    seldom: Space, client: Client
) -> None:
    """The Event of the pool says when; the queue without pods is Ready, and new work starts one."""
    seldom.until(lambda: not seldom.pods(), "no pods", seconds=100)
    seldom.until_ready("queue", SELDOM)
    ended = max(
        cast("datetime", one.completed_at) for one in client.list_workflows(queue_name=SELDOM)
    )
    # The Event is published after the pods were told to go: they may be gone first.
    (scaled,) = seldom.until(lambda: _scaled_to_zero(seldom), "the pool's Event")
    assert scaled - ended > timedelta(seconds=58)
    assert client.enqueue(SELDOM, "walk", 1, 0.0).get_result(timeout=60)


def _scaled_to_zero(seldom: Space) -> list[datetime]:
    events: list[dict[str, Any]] = yaml.safe_load(seldom.kubectl("get", "events", "--output=yaml"))[
        "items"
    ]
    scaled = (one for one in events if one["message"] == "From 2 to 0 pods.")
    return [datetime.fromisoformat(one["eventTime"]) for one in scaled]
