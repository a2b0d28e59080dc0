"""Puts orders in line from a process of its own, and returns at once: `python place_orders.py 1 12`.

It finds the `towpath dev` of this folder by itself; TOWPATH_DATABASE_URL names another database.
With --as-batch the orders are children of one workflow that waits for them all.
"""

from __future__ import annotations

import argparse

from shop.workflows import fulfil_batch, fulfil_order, orders

import towpath
from towpath import SetWorkflowID


def main() -> None:
    """Print the ids of the workflows that are in line now."""
    parser = argparse.ArgumentParser(description="Puts orders in line.")
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument("--as-batch", action="store_true", help="as children of one workflow")
    options = parser.parse_args()
    numbers = list(range(options.first, options.last + 1))
    if options.as_batch:
        with SetWorkflowID(f"batch-{options.first}-{options.last}"):
            print(towpath.start_workflow(fulfil_batch, numbers).workflow_id)
        return
    for number in numbers:
        # The same id again is the same workflow: an order that is placed twice runs once.
        handle = orders.options(workflow_id=f"order-{number}").enqueue(fulfil_order, number)
        print(handle.workflow_id)


if __name__ == "__main__":
    main()
