"""The recorded steps of workflows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from towpath.domain.ids import Seq
from towpath.store.session import Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True)
class NewStep:
    """A step that has ended: `output` is its encoded value, or `failure` its recorded failure."""

    seq: Seq
    attempt: int
    position: str
    name: str
    output: str | None
    failure: str | None
    took: timedelta


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """A step as a replay finds it. `child` is the child's row where the step started one."""

    position: str
    name: str
    output: str | None
    failure: str | None
    child: Seq | None


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step as people look at it."""

    position: str
    name: str
    attempt: int
    output: str | None
    failure: str | None
    child: Seq | None
    started_at: datetime
    completed_at: datetime


async def record(
    session: Session, statements: Statements, steps: Sequence[NewStep]
) -> set[tuple[Seq, str]]:
    """Write steps in one commit and return which were written; the rest belong to stale attempts."""
    (rows,) = await session.run(
        (
            statements["record_steps"],
            {
                "seqs": [s.seq for s in steps],
                "attempts": [s.attempt for s in steps],
                "positions": [s.position for s in steps],
                "names": [s.name for s in steps],
                "outputs": [s.output for s in steps],
                "failures": [s.failure for s in steps],
                "seconds": [s.took.total_seconds() for s in steps],
            },
        )
    )
    return {(row[0], row[1]) for row in rows}


async def load(
    session: Session, statements: Statements, seqs: Sequence[Seq]
) -> dict[Seq, dict[str, RecordedStep]]:
    """Return the recorded steps of workflows that go on, by position."""
    (rows,) = await session.run((statements["load_steps"], {"seqs": list(seqs)}))
    found: dict[Seq, dict[str, RecordedStep]] = defaultdict(dict)
    for seq, position, name, output, failure, child in rows:
        found[seq][position] = RecordedStep(position, name, output, failure, child)
    return found


async def list_steps(session: Session, statements: Statements, seq: Seq) -> list[StepRow]:
    """Return a workflow's steps in the order of their positions."""
    (rows,) = await session.run((statements["list_steps"], {"seq": seq}))
    return sorted((StepRow(*row) for row in rows), key=lambda s: position_key(s.position))


def position_key(position: str) -> tuple[tuple[int, str], ...]:
    """Order positions as their numbers: 2 before 10, 3 before 3.1."""
    return tuple((int(p), "") if p.isdigit() else (0, p) for p in position.split("."))
