"""The recorded steps of workflows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from towpath.domain.ids import Seq
from towpath.store.session import Call, Session
from towpath.store.statements import Statements
from towpath.store.waits import named_waits


@dataclass(frozen=True, slots=True)
class NewStep:
    """A step that has ended: `output` is its encoded value, or `failure` its recorded failure.

    `ends_wait` says that it is a durable wait, whose row goes with the record.
    """

    seq: Seq
    attempt: int
    position: str
    name: str
    output: str | None
    failure: str | None
    took: timedelta = timedelta(0)
    ends_wait: bool = False

    @property
    def key(self) -> tuple[Seq, str]:
        """What names it in the store."""
        return (self.seq, self.position)

    @property
    def size(self) -> int:
        """About how many characters are sent for it."""
        return len(self.output or "") + len(self.failure or "")


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """A step as a replay finds it: `child` is the child's row where the step started one.

    `attempt` is the one that recorded it, where it was read from the store.
    """

    position: str
    name: str
    output: str | None
    failure: str | None
    child: Seq | None
    attempt: int | None = None


async def record(
    session: Session, statements: Statements, steps: Sequence[NewStep]
) -> dict[tuple[Seq, str], bool]:
    """Write steps in one commit and return which were written; the rest belong to stale attempts."""
    parameters = {
        "seqs": [s.seq for s in steps],
        "attempts": [s.attempt for s in steps],
        "positions": [s.position for s in steps],
        "names": [s.name for s in steps],
        "outputs": [s.output for s in steps],
        "failures": [s.failure for s in steps],
        "seconds": [s.took.total_seconds() for s in steps],
    }
    calls: list[Call] = [(statements["record_steps"], parameters)]
    if over := [(s.seq, s.attempt, s.position) for s in steps if s.ends_wait]:
        calls.append((statements["drop_waits"], named_waits(over)))
    rows = (await session.run(*calls))[0]
    return {(row[0], row[1]): True for row in rows}


async def load(
    session: Session, statements: Statements, seqs: Sequence[Seq]
) -> dict[Seq, dict[str, RecordedStep]]:
    """Return the recorded steps of workflows that go on, by position."""
    (rows,) = await session.run((statements["load_steps"], {"seqs": list(seqs)}))
    found: dict[Seq, dict[str, RecordedStep]] = defaultdict(dict)
    for seq, position, name, output, failure, child, attempt in rows:
        found[seq][position] = RecordedStep(position, name, output, failure, child, attempt)
    return found


def position_key(position: str) -> tuple[tuple[int, str], ...]:
    """Order positions as their numbers: 2 before 10, 3 before 3.1."""
    return tuple((int(p), "") if p.isdigit() else (0, p) for p in position.split("."))
