"""Starts a workflow while it is imported."""

import towpath

queue = towpath.Queue("deeds")


@towpath.workflow()
def greet(name: str) -> str:
    """Return at once."""
    return f"hello {name}"


queue.enqueue(greet, "nobody")
