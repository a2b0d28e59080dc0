"""Orders as durable workflows: each takes three steps, and each step is a call of a real HTTP API.

Nothing here says how many orders run at a time, nor where: that is in queue.yaml.
"""

from __future__ import annotations

import json
import os
from urllib.request import Request, urlopen

import towpath
from towpath import Queue

WAREHOUSE = os.environ.get("WAREHOUSE_URL", "http://127.0.0.1:8765")
TIMEOUT_SECONDS = 30.0

orders = Queue("external-api")


@towpath.step(retries=3)
def ask_warehouse(action: str, order: int) -> str:
    """Ask the warehouse to do something for an order, and return its receipt.

    The result is recorded. A worker that dies during the call has recorded nothing, so the call is
    made again by the next one; the key tells the warehouse that it is the same request.
    """
    request = Request(
        f"{WAREHOUSE}/{action}",
        data=json.dumps({"order": order}).encode(),
        headers={
            "Content-Type": "application/json",
            "Idempotency-Key": f"order-{order}-{action}",
            "Worker": f"{os.environ.get('TOWPATH_POD_NAME', 'worker')}/{os.getpid()}",
        },
    )
    with urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        receipt: str = json.load(response)["receipt"]
    return receipt


@towpath.workflow()
def fulfil_order(order: int) -> list[str]:
    """Reserve the goods, take the money, send the parcel."""
    reserved = ask_warehouse("reserve", order)
    charged = ask_warehouse("charge", order)
    shipped = ask_warehouse("ship", order)
    return [reserved, charged, shipped]


@towpath.workflow()
def fulfil_batch(numbers: list[int]) -> int:
    """Put many orders in line as children, wait for all of them, and count the parcels."""
    handles = [orders.options(workflow_id=f"order-{n}").enqueue(fulfil_order, n) for n in numbers]
    receipts = [handle.get_result() for handle in handles]
    return len(receipts)
