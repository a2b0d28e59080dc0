"""The workflow that the programs beside this folder start: an order that waits for its approval."""

from __future__ import annotations

import towpath
from towpath import Queue

orders = Queue("orders", priority_enabled=True)


@towpath.workflow()
def fulfil(order: int, *, express: bool = False) -> str:
    """Wait for a message with the name of who approves, for a minute at most."""
    approved_by = towpath.recv("approval", timeout_seconds=60)
    speed = "express" if express else "standard"
    return f"order {order} ({speed}), approved by {approved_by or 'nobody'}"
