"""Before and after each single write of workflows that use every feature: crash, recover, compare."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from tests.fixtures.apps import wait_until
from tests.testing.everything import Everything
from towpath import App, SetWorkflowID, WorkflowHandle
from towpath.testing.crashes import Boundary, CrashPlan, Moment

SLOTS = 60
SECONDS = 60
REFERENCES = 3
TURNS = 4
MANY = 150

Sql = psycopg.Connection[Any]


@pytest.fixture
def sql(database_url: str) -> Iterator[Sql]:
    """Return a connection to the database of the test."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.booked (workflow text, item text)")
        yield connection


@pytest.fixture
def every(app: App) -> Everything:
    """Return the workflows, on a launched App."""
    made = Everything(app)
    assert app.launch(slots=SLOTS).wait_until_ready(20)
    return made


@dataclass(frozen=True)
class Place:
    """Where a run crashes: in which of its attempts, at which of its boundaries."""

    name: str
    attempt: int
    at: Boundary


class Trial:
    """A run of a workflow, crashed at a place, or not at all."""

    def __init__(self, every: Everything, name: str, number: int, place: Place | None) -> None:
        self.every, self.name, self.place = every, name, place
        self.workflow_id = f"{name} {number}"
        self.handle: WorkflowHandle[Any]

    def start(self) -> None:
        """Start it."""
        workflow, queue = self.every.workflows[self.name], self.every.queues.get(self.name)
        with SetWorkflowID(self.workflow_id):
            if queue is None:
                self.handle = self.every.app.start_workflow(workflow, 1)
            else:
                self.handle = queue.enqueue(workflow, 1)

    def end(self) -> Any:
        """Return its result, or its error, once it has ended."""
        try:
            return self.handle.get_result(timeout=SECONDS)
        except ValueError as error:
            return repr(error)


QUERIES = {
    "steps": "SELECT position, name, output, failure FROM towpath.step WHERE seq = %(seq)s ORDER BY 1",
    "children": """
        SELECT w.name, count(*) FROM towpath.workflow w WHERE w.parent = %(seq)s GROUP BY 1
        ORDER BY 1""",
    "messages": "SELECT topic, value FROM towpath.message WHERE seq = %(seq)s ORDER BY n",
    "sent": "SELECT key FROM towpath.sent WHERE seq = %(seq)s ORDER BY key",
    "events": "SELECT position, key, value FROM towpath.event WHERE seq = %(seq)s ORDER BY n",
    "streams": """
        SELECT position, key, value FROM towpath.stream
        WHERE seq = %(seq)s AND key <> 'within' ORDER BY n""",
    "waits": "SELECT position FROM towpath.wait WHERE seq = %(seq)s",
    "booked": "SELECT item FROM public.booked WHERE workflow = %(id)s ORDER BY item",
    "status": "SELECT status FROM towpath.result WHERE seq = %(seq)s",
}


def left_by(sql: Sql, trial: Trial) -> dict[str, Any]:
    """Return all that a run has left but generated ids and attempts, which differ from run to run."""
    named = {"id": trial.workflow_id, "seq": seq_of(sql, trial)}
    found: dict[str, Any] = {"result": trial.end()}
    for what, query in QUERIES.items():
        rows = sql.execute(query.encode(), named).fetchall()
        found[what] = [tuple(map(_without_ids, row)) for row in rows]
    return found


def seq_of(sql: Sql, trial: Trial) -> int:
    """Return the number of a run's row."""
    query = "SELECT seq FROM towpath.workflow WHERE id = %s"
    return next(iter(sql.execute(query, (trial.workflow_id,)).fetchall()))[0]  # type: ignore[no-any-return]


def _without_ids(value: object) -> object:
    return re.sub(r"wf-\d+-[0-9a-f]{16}", "wf", value) if isinstance(value, str) else value


def run(trials: list[Trial], sql: Sql) -> None:
    """Start them all, and return once every one has ended, with all of its children."""
    for trial in trials:
        trial.start()
    for trial in trials:
        trial.end()
    rest = (
        "SELECT count(*) FROM towpath.workflow w "
        "WHERE NOT EXISTS (SELECT FROM towpath.result r WHERE r.seq = w.seq)"
    )
    wait_until(lambda: sql.execute(rest).fetchall() == [(0,)], what="the end of every child")


def check_steps(sql: Sql, trial: Trial) -> None:
    """Each attempt ran what it has recorded; the one that crashed lost a step at most, and only there."""
    query = "SELECT name, attempt FROM towpath.step WHERE seq = %s"
    recorded = Counter(sql.execute(query, (seq_of(sql, trial),)).fetchall())
    place = trial.place
    assert place is not None
    for name, attempts in trial.every.ran[trial.workflow_id].items():
        for attempt, runs in Counter(attempts).items():
            lost = runs - recorded[name, attempt]
            if (name, attempt) == (lost_by(place.at), place.attempt):
                assert lost == 1, (place, name, attempts)
            else:
                # a branch of its own may have been between its function and its record as well
                besides = trial.name == "branches" and attempt == place.attempt
                assert 0 <= lost <= besides, (place, name, attempts)


def lost_by(at: Boundary) -> str | None:
    """Return the step whose function has run and whose record is not written, at a boundary."""
    if (at.position, at.name) == ("", "towpath.write_stream"):
        return "writes within"
    return at.name if at.position and at.moment is Moment.BEFORE else None


def places_of(plan: CrashPlan, trial: Trial) -> Iterator[Place]:
    """Yield every place that a run has passed."""
    for attempt in itertools.count(1):
        boundaries = plan.boundaries(trial.workflow_id, attempt)
        if not boundaries:
            return
        for at in boundaries:
            yield Place(trial.name, attempt, at)


def test_a_crash_at_any_write_changes_nothing(every: Everything, sql: Sql) -> None:
    """Whatever the moment: the same result, steps, messages, children, events and rows, once each."""
    references = {
        name: [Trial(every, name, number, None) for number in range(REFERENCES)]
        for name in every.workflows
    }
    with CrashPlan(every.app) as plan:
        run([trial for same in references.values() for trial in same], sql)
        left = {name: left_by(sql, trials[0]) for name, trials in references.items()}
        undisturbed = itertools.chain(*references.values())
        to_do = {place for trial in undisturbed for place in places_of(plan, trial)}
        assert len(to_do) > MANY
        assert any(place.attempt > 1 for place in to_do)  # of a workflow that was out of memory
        # what is reached only where another workflow is slow enough is tried more than once
        for turn in range(1, 1 + TURNS):
            trials = [
                Trial(every, place.name, turn * 1000 + number, place)
                for number, place in enumerate(sorted(to_do, key=str))
            ]
            for trial in trials:
                assert trial.place is not None
                plan.crash(trial.workflow_id, trial.place.at, attempt=trial.place.attempt)
            run(trials, sql)
            crashed = {arrival.workflow_id for arrival in plan.crashed}
            for trial in trials:
                assert left_by(sql, trial) == left[trial.name], trial.place
                if trial.workflow_id in crashed:
                    check_steps(sql, trial)
            to_do -= {t.place for t in trials if t.place and t.workflow_id in crashed}
            if not to_do:
                break
    assert to_do == set()
