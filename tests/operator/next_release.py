"""The operator of a later release: it gives every worker one variable more."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from towpath_operator import __main__ as operator
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.render import template
from towpath_operator.render.environment import PodDatabase, worker_environment

ADDED = "TOWPATH_OF_THE_NEXT_RELEASE"


def with_one_more(
    pool: WorkerPool, queue_names: Sequence[str], database: PodDatabase
) -> list[dict[str, Any]]:
    """Return the variables of today, and one more."""
    return [*worker_environment(pool, queue_names, database), {"name": ADDED, "value": "1"}]


if __name__ == "__main__":
    vars(template)["worker_environment"] = with_one_more
    sys.exit(operator.main())
