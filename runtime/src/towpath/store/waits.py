"""Durable waits: begun, looked at, put to sleep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from towpath.domain.ids import QueueName, Seq
from towpath.store.session import Parameters, Session
from towpath.store.statements import Statements

NOBODY: Final = Seq(0)


class WaitKind(Enum):
    """What a wait is for."""

    TIME = "time"
    MESSAGE = "message"
    EVENT = "event"
    END = "end"
    STREAM = "stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What a workflow waits for, at one of its positions; outside of workflows `seq` is 0.

    Attributes:
        verb: The name of the step that the wait is recorded as.
        target: The workflow whose message, event or end it is; 0 for a time.
        topic: The topic or key.
        seconds: How long it waits at most; None is as long as it takes.
    """

    seq: Seq
    attempt: int
    position: str
    verb: str
    kind: WaitKind
    target: Seq = NOBODY
    topic: str = ""
    seconds: float | None = None

    @property
    def key(self) -> tuple[Seq, str]:
        """What names it in the store."""
        return (self.seq, self.position)

    @property
    def size(self) -> int:
        """About how many characters are sent for it."""
        return len(self.topic)


@dataclass(frozen=True, slots=True)
class Begun:
    """A wait that is written: which verb began it, and the seconds that are left of it."""

    verb: str
    seconds: float | None


CALLED_FOR_SECONDS = 60.0
"""How long the word of a process outside of workflows holds that it wants to be told."""

STALE = "stale"
OVER = "over"
GONE = "gone"
COME = "come"


@dataclass(frozen=True, slots=True)
class Look:
    """How a wait stands.

    Attributes:
        state: None where it goes on; `come` with the output (a message is consumed, and recorded as
            the step); the status of the workflow that has ended, with its output; `gone` where it was
            deleted; `over` where its time has passed; `stale` where the attempt has lost its place.
        seconds: What is left of its time.
    """

    state: str | None
    output: str | None
    seconds: float | None


async def begin(
    session: Session, statements: Statements, waits: Sequence[Wait]
) -> dict[tuple[Seq, str], Begun]:
    """Write waits in one commit, and return those of attempts that hold their place."""
    seconds = [
        None if w.seconds is None else float(w.seconds) for w in waits
    ]  # one type for an array
    parameters = {**_named(waits), "seconds": seconds}
    (rows,) = await session.run((statements["begin_waits"], parameters))
    return {(seq, position): Begun(verb, seconds) for seq, position, verb, seconds in rows}


async def look(
    session: Session, statements: Statements, waits: Sequence[Wait]
) -> Mapping[tuple[Seq, str], Look]:
    """Look whether waits are over; a message that has come is consumed and recorded by this."""
    ordered = sorted(waits, key=lambda wait: wait.key)  # in which they are locked
    (rows,) = await session.run((statements["settle_waits"], _named(ordered)))
    return {(row[0], row[1]): Look(*row[2:]) for row in rows}


async def call_me(
    session: Session, statements: Statements, waits: Sequence[Wait]
) -> dict[tuple[Seq, str], bool]:
    """Ask for a NOTIFY of what processes outside of workflows wait for, for a while."""
    parameters = {
        "tokens": [w.position for w in waits],
        "kinds": [w.kind.value for w in waits],
        "targets": [w.target for w in waits],
        "topics": [w.topic for w in waits],
        "seconds": CALLED_FOR_SECONDS,
    }
    await session.run((statements["call_nobody"], {}), (statements["call_me"], parameters))
    return {w.key: True for w in waits}


async def drop(
    session: Session, statements: Statements, waits: Sequence[Wait]
) -> dict[tuple[Seq, str], bool]:
    """Remove waits that nobody waits for any more."""
    named = named_waits([(w.seq, w.attempt, w.position) for w in waits])
    await session.run((statements["drop_waits"], named))
    return {w.key: True for w in waits}


def named_waits(waits: Iterable[tuple[Seq, int, str]]) -> Parameters:
    """Name waits by seq, attempt and position, in the order in which they are locked."""
    ordered = sorted(waits, key=lambda wait: (wait[0], wait[2]))
    return {
        "seqs": [seq for seq, _, _ in ordered],
        "attempts": [attempt for _, attempt, _ in ordered],
        "positions": [position for _, _, position in ordered],
    }


@dataclass(frozen=True, slots=True)
class Asleep:
    """Who has been put to sleep: those that had a place and a wait.

    Attributes:
        moment: What was not seen to have come by then was written by transactions that `look_again`
            sees the end of.
    """

    seqs: set[Seq]
    moment: str


async def put_to_sleep(
    session: Session,
    statements: Statements,
    attempts: Sequence[tuple[Seq, int]],
    restless: Sequence[Seq],
    waiting: Sequence[tuple[Seq, str]],
    queues: Sequence[QueueName],
) -> Asleep:
    """Let waiting attempts go out of memory.

    Those that are restless go on at once, and those of whose waits, by position, one has ended.
    """
    ordered = sorted(attempts)
    parameters: Parameters = {
        "seqs": [seq for seq, _ in ordered],
        "attempts": [attempt for _, attempt in ordered],
        "restless": list(restless),
        "waiting": [seq for seq, _ in waiting],
        "positions": [position for _, position in waiting],
    }
    asleep, _, moment, _ = await session.run(
        (statements["put_to_sleep"], parameters),
        (statements["look_once_more"], parameters),
        (statements["moment"], {}),
        (statements["release_places"], {"queues": sorted(set(queues))}),
    )
    return Asleep({row[0] for row in asleep}, moment[0][0])


async def look_again(session: Session, statements: Statements, asleep: Asleep) -> bool:
    """Look what came for those who sleep; return whether that was all of before they did."""
    seqs = {"seqs": sorted(asleep.seqs), "restless": [], "waiting": [], "positions": []}
    over, _ = await session.run(
        (statements["moment_over"], {"moment": asleep.moment}),
        (statements["look_once_more"], seqs),
    )
    return bool(over[0][0])


def _named(waits: Sequence[Wait]) -> dict[str, object]:
    return {
        "seqs": [w.seq for w in waits],
        "attempts": [w.attempt for w in waits],
        "positions": [w.position for w in waits],
        "verbs": [w.verb for w in waits],
        "kinds": [w.kind.value for w in waits],
        "targets": [w.target for w in waits],
        "topics": [w.topic for w in waits],
    }
