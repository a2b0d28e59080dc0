"""Before and after each single write of workflows that use every feature: crash, recover, compare."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
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


class Trial:
    """A run of a workflow, crashed at a boundary of its first attempt, or not at all."""

    def __init__(self, every: Everything, name: str, number: int, at: Boundary | None) -> None:
        self.every, self.name, self.at = every, name, at
        self.workflow_id = f"{name} {number}"
        self.handle: WorkflowHandle[Any]

    def start(self) -> None:
        """Start it."""
        with SetWorkflowID(self.workflow_id):
            self.handle = self.every.app.start_workflow(self.every.workflows[self.name], 1)

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
    """The second attempt ran no step that the first has recorded; the first lost one at most."""
    query = "SELECT name, attempt FROM towpath.step WHERE seq = %s"
    recorded = Counter(sql.execute(query, (seq_of(sql, trial),)).fetchall())
    assert trial.at is not None
    for name, attempts in trial.every.ran[trial.workflow_id].items():
        runs = Counter(attempts)
        assert runs[2] == recorded[name, 2], (trial.at, name, attempts)
        lost = runs[1] - recorded[name, 1]
        if lost_by(trial.at) == name:
            assert lost == 1, (trial.at, name, attempts)
        else:
            # a branch of its own may have been between its function and its record as well
            assert 0 <= lost <= (1 if trial.name == "branches" else 0), (trial.at, name, attempts)


def lost_by(at: Boundary) -> str | None:
    """Return the step whose function has run and whose record is not written, at a boundary."""
    if (at.position, at.name) == ("", "towpath.write_stream"):
        return "writes within"
    return at.name if at.position and at.moment is Moment.BEFORE else None


def test_a_crash_at_any_write_changes_nothing(every: Everything, sql: Sql) -> None:
    """Whatever the moment: the same result, steps, messages, children, events and rows, once each."""
    references = {
        name: [Trial(every, name, number, None) for number in range(REFERENCES)]
        for name in every.workflows
    }
    with CrashPlan(every.app) as plan:
        run([trial for same in references.values() for trial in same], sql)
        left = {name: left_by(sql, trials[0]) for name, trials in references.items()}
        to_do = {
            (name, at)
            for name, trials in references.items()
            for trial in trials
            for at in plan.boundaries(trial.workflow_id)
        }
        assert len(to_do) > MANY
        for turn in range(1, 1 + TURNS):
            trials = [
                Trial(every, name, turn * 1000 + number, at)
                for number, (name, at) in enumerate(sorted(to_do, key=str))
            ]
            for trial in trials:
                assert trial.at is not None
                plan.crash(trial.workflow_id, trial.at)
            run(trials, sql)
            crashed = {arrival.workflow_id for arrival in plan.crashed}
            for trial in trials:
                assert left_by(sql, trial) == left[trial.name], (trial.name, str(trial.at))
                if trial.workflow_id in crashed:
                    check_steps(sql, trial)
                    assert trial.at is not None
                    to_do.remove((trial.name, trial.at))
    # what is reached only where another workflow is slow enough may not have been, in any turn
    assert to_do == set()
