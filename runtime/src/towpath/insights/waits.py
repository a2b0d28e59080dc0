"""What a workflow waits for, in words."""

from __future__ import annotations

from collections.abc import Sequence

from towpath.insights.words import duration
from towpath.store.insights import SeenWait
from towpath.store.waits import WaitKind


def what_for(waits: Sequence[SeenWait]) -> str:
    """Return what a workflow does that waits, of several branches one after the other.

    >>> what_for([SeenWait(kind="time", due_seconds=3.2)])
    'sleeps, for 3.2 s more'
    >>> what_for([SeenWait(kind="message", topic="go"), SeenWait(kind="end", of="order-7", due_seconds=60)])
    "waits for a message of topic 'go', and for the end of workflow 'order-7', for 1m00s at most"
    """
    said = [_one(wait) for wait in waits]
    only_sleeps = all(wait.kind == WaitKind.TIME.value for wait in waits)
    return f"{'sleeps' if only_sleeps else 'waits'}{', and'.join(said)}"


def _one(wait: SeenWait) -> str:
    whose = "a workflow that was deleted" if wait.of is None else f"workflow {wait.of!r}"
    what = {
        WaitKind.TIME.value: ",",
        WaitKind.MESSAGE.value: " for a message"
        + (f" of topic {wait.topic!r}" if wait.topic else ""),
        WaitKind.EVENT.value: f" for event {wait.topic!r} of {whose}",
        WaitKind.END.value: f" for the end of {whose}",
    }[wait.kind]
    if wait.due_seconds is None:
        return what
    left = duration(wait.due_seconds)
    return (
        f"{what} for {left} more"
        if wait.kind == WaitKind.TIME.value
        else f"{what}, for {left} at most"
    )
