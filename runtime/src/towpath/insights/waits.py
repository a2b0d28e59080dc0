"""What workflows wait for, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from towpath.insights.words import agree, duration
from towpath.store.insights import PLACES_LOOKED_AT, Seen, SeenHead, SeenWait
from towpath.store.waits import WaitKind

NAMED: Final = 3
"""So many waits of a workflow that has several branches are told."""


def what_for(waits: Sequence[SeenWait]) -> str:
    """Return what a workflow does that waits, of several branches one after the other.

    >>> what_for([SeenWait(kind="time", due_seconds=3.2)])
    'sleeps, for 3.2 s more'
    >>> from datetime import datetime
    >>> noon = datetime.fromisoformat("2026-11-24T12:00:00Z")
    >>> what_for([SeenWait(kind="message", topic="go", due=noon, due_seconds=60)])
    "waits for a message on topic 'go' until 2026-11-24T12:00:00+00:00, for 1m00s more"
    >>> what_for([SeenWait(kind="event", topic="paid", of="order-7"), SeenWait(kind="end", of="wf-1")])
    "waits for event 'paid' of workflow 'order-7', and for the end of workflow 'wf-1'"
    """
    said = [_one(wait) for wait in waits[:NAMED]]
    if len(waits) > NAMED:
        said.append(" for more")
    only_sleeps = all(wait.kind == WaitKind.TIME.value for wait in waits)
    return f"{'sleeps' if only_sleeps else 'waits'}{', and'.join(said)}"


def seconds_left(waits: Sequence[SeenWait]) -> float | None:
    """Return when a workflow goes on in any case; None where that may be never."""
    seconds = [wait.due_seconds for wait in waits if wait.due_seconds is not None]
    return max(0.0, min(seconds)) if seconds else None


def _one(wait: SeenWait) -> str:
    whose = "a workflow that was deleted" if wait.of is None else f"workflow {wait.of!r}"
    what = {
        WaitKind.TIME.value: "",
        WaitKind.MESSAGE.value: " for a message"
        + (f" on topic {wait.topic!r}" if wait.topic else ""),
        WaitKind.EVENT.value: f" for event {wait.topic!r} of {whose}",
        WaitKind.END.value: f" for the end of {whose}",
    }[wait.kind]
    if wait.due_seconds is None:
        return what
    until = "" if wait.due is None else f" until {wait.due.isoformat(timespec='seconds')}"
    return f"{what}{until}, for {duration(wait.due_seconds)} more"


def who_is_begun(seen: Seen) -> str:
    """Return what those do that have begun: run, wait in a worker's memory, or sleep out of it.

    >>> from towpath.domain.queue import QueueSettings
    >>> who_is_begun(Seen(queue="mail", settings=QueueSettings(), running=3, waiting_loaded=1, sleeping=7))
    '2 run, 1 waits in a worker, 7 are asleep'
    """
    run, loaded, asleep = seen.running - seen.waiting_loaded, seen.waiting_loaded, seen.sleeping
    numbers = (
        (run, agree(run, "runs", "run")),
        (loaded, f"{agree(loaded, 'waits', 'wait')} in a worker"),
        (asleep, agree(asleep, "is asleep", "are asleep")),
    )
    return ", ".join(said for number, said in numbers if number)


def waits_for_itself(seen: Seen) -> bool:
    """Tell whether all that hold the queue's places wait for others of it: none of them can begin."""
    return 0 < min(seen.taken, PLACES_LOOKED_AT) <= seen.tied


def of_itself(seen: Seen) -> str:
    """Return why a queue stands still that waits for itself, and what to do."""
    pairs = ", ".join(f"{holder!r} for {awaited!r}" for holder, awaited in seen.tied_to)
    more = ", ..." if seen.tied > len(seen.tied_to) else ""
    until = "for ever"
    if seen.tied_seconds is not None:
        until = f"until the first gives up in {duration(seen.tied_seconds)}"
    return (
        f", all by workflows that wait for others of this queue ({pairs}{more}), so it stands still {until}: "
        "raise its concurrency, set release_while_waiting=True, or give those that are waited for "
        "a queue of their own"
    )


def of_holders(head: SeenHead) -> str:
    """Return what those do that hold a partition's places, where that is not to run."""
    if head.key_fenced:
        return " (cancelled, its code has not ended)"
    if 0 < head.key_running <= head.key_tied:
        who = "which waits" if head.key_running == 1 else "which wait"
        return (
            f", {who} for others of this partition, so it stands still: raise partition_concurrency, "
            "or give those that are waited for another key or a queue of their own"
        )
    if not head.key_waiting:
        return ""
    if head.key_running == 1:
        return ", which waits and keeps its place"
    return (
        f" ({agree(head.key_waiting, 'waits and keeps its place', 'wait and keep their places')})"
    )
