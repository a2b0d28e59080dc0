"""A pool that may go to zero: work starts its pods at once."""

from __future__ import annotations

from tests.e2e.manifests import SELDOM
from tests.e2e.space import Space


def test_a_pool_at_zero_has_as_many_pods_as_its_work_needs_soon_after_an_enqueue(
    seldom: Space,
) -> None:
    """They were started by NOTIFY, and are kept for a while after the last workflow."""
    status = seldom.get("workerpool", SELDOM)["status"]
    assert status["autoscaling"] == {"desired": 2, "limitedBy": "IdlePeriod"}
    seldom.until(lambda: len(seldom.ready_pods()) == 2, "two pods ready")
