"""What holds of every plan, over random specs and observed states.

A small simulator does what a plan says; nothing of it is real. A plan that is carried out leads, in a
few rounds, to one that has nothing to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.operator.builders import (
    CLUSTER,
    DATABASE,
    MIGRATED,
    NOW,
    OPERATOR,
    TARGET,
    condition,
    database,
    live,
    owner,
    pods_ready,
    pool,
    queue,
)
from towpath.domain.queue import QueueSettings
from towpath_operator.model.conditions import ConditionType, Reason
from towpath_operator.model.database import QueueDatabase
from towpath_operator.model.queue import Queue
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.actions import (
    ApplyObject,
    CreateObject,
    DeclareQueue,
    DeleteObject,
    LeaveFields,
    MigrateSchema,
    Plan,
    ReleaseQueue,
    SetFinalizers,
)
from towpath_operator.plan.database import plan_queue_database
from towpath_operator.plan.observed import (
    Blocked,
    Child,
    DatabaseObserved,
    DatabaseState,
    DemandSample,
    Owner,
    QueueCounts,
    QueueDatabaseObserved,
    QueueObserved,
    QueueRow,
    WorkerPoolObserved,
)
from towpath_operator.plan.queue import plan_queue
from towpath_operator.plan.workerpool import plan_worker_pool
from towpath_operator.ports.cluster import (
    CONTROLLER_REVISION,
    DEPLOYMENT,
    POD_DISRUPTION_BUDGET,
    SECRET,
)

ROUNDS = 8
EXAMPLES = settings(max_examples=60, deadline=None, derandomize=True)
BRINGS_INTO_FORCE = (DeclareQueue, CreateObject, ApplyObject, MigrateSchema)

few = st.integers(1, 9)
templates = st.sampled_from(
    [
        {"spec": {"containers": [{"name": "worker", "image": "shop:1"}]}},
        {"spec": {"containers": [{"name": "web", "image": "x"}, {"name": "worker", "image": "y"}]}},
        {"spec": {"containers": [{"image": "shop:1", "env": [{"name": "A", "value": "b"}]}]}},
        {"metadata": {"labels": {"team": "a"}}, "spec": {"containers": [{"name": "only"}]}},
        {"spec": {"containers": []}},
        {"spec": {"containers": [{"name": "w", "env": [{"name": "TOWPATH_SLOTS", "value": "9"}]}]}},
        {},
    ]
)
sizes = st.one_of(
    st.builds(
        lambda low, more: {"autoscaling": {"min": low, "max": low + more}}, st.integers(0, 3), few
    ),
    st.builds(
        lambda mode, replicas: {"autoscaling": {"mode": mode}, "replicas": replicas},
        st.sampled_from(["None", "External"]),
        st.integers(0, 5),
    ),
)
workers = st.builds(
    lambda size, slots, template: {
        "application": "shop.work",
        "slots": slots,
        "template": template,
        **size,
    },
    sizes,
    few,
    templates,
)


def _queue_spec(most: int, each: int, optional: Mapping[str, Any]) -> dict[str, Any]:
    limits = {"global": most, "perWorker": min(most, each)}
    if "partitioning" in optional:
        limits["perPartition"] = 1
    return {"concurrency": limits, **optional}


queue_specs = st.builds(
    _queue_spec,
    few,
    few,
    st.fixed_dictionaries(
        {},
        optional={
            "paused": st.booleans(),
            "closed": st.booleans(),
            "limiter": st.builds(lambda n: {"limit": n, "period": "1m"}, few),
            "priority": st.just({"enabled": True}),
            "partitioning": st.just({"enabled": True}),
            "pollingInterval": st.sampled_from(["250ms", "1h"]),
            "retention": st.just({"succeeded": "1h"}),
            "deletionPolicy": st.sampled_from(["Retain", "Delete", "DeleteIfEmpty"]),
            "workers": workers,
        },
    ),
)
asked_for = st.sampled_from([{}, {"towpath.dev/confirm-delete": "mail"}])
counts = st.builds(
    QueueCounts,
    waiting=st.integers(0, 10_000),
    awake=st.integers(0, 3),
    running=st.integers(0, 50),
    kept=st.integers(0, 5),
    workers=st.none() | st.integers(0, 5),
    paused=st.booleans(),
)
troubles = st.sampled_from(list(Reason)).map(lambda reason: Blocked(reason=reason, message="Why."))
states = st.one_of(
    st.just(MIGRATED),
    st.builds(
        DatabaseState,
        problem=st.none() | troubles,
        schema_version=st.none() | st.integers(1, 4),
        needed_version=st.just(3),
    ),
)
databases = st.one_of(
    st.just(DATABASE),
    troubles,
    states.map(lambda state: DatabaseObserved(target=TARGET, state=state)),
)
somebody = st.sampled_from(
    [
        None,
        Owner(cluster="another", namespace="shop", name="mail", uid="theirs"),
        Owner(cluster=CLUSTER, namespace="shop", name="gone", uid="uid-gone"),
        Owner(cluster=CLUSTER, namespace="shop", name="other", uid="uid-other"),
        owner(queue()),
    ]
)
rows = st.none() | st.builds(
    QueueRow,
    queue_name=st.just("mail"),
    settings=st.builds(QueueSettings, concurrency=st.none() | few),
    paused=st.booleans(),
    closed=st.booleans(),
    owner=somebody,
)
uids = st.sampled_from([None, frozenset({"uid-mail"}), frozenset({"uid-mail", "uid-other"})])


def _foreign_child(name: str) -> Child:
    metadata = {"name": name, "namespace": "shop", "uid": "not-ours", "generation": 1}
    return Child(live={"metadata": metadata, "spec": {}})


queue_worlds = st.builds(
    QueueObserved,
    operator=st.just(OPERATOR),
    database=databases,
    row=rows,
    queue_uids=uids,
    counts=st.none() | counts,
    pool=st.none() | st.just(_foreign_child("mail")),
    serving=st.sampled_from([(), ("crew",)]),
    numbers_written_at=st.sampled_from([None, NOW, NOW - timedelta(minutes=1)]),
)


def well_formed(plan: Plan, generation: int) -> None:
    """Check the conditions that a plan's status has, and that Ready tells of no future."""
    for one in plan.status.get("conditions", ()):
        assert one["type"] in set(ConditionType)
        assert one["status"] in {"True", "False", "Unknown"}
        assert Reason(one["reason"])
        assert one["message"].strip()
        assert one["observedGeneration"] == generation
        assert one["lastTransitionTime"].endswith("Z")
    if plan.status_changed and any(isinstance(one, BRINGS_INTO_FORCE) for one in plan.actions):
        assert condition(plan)["status"] != "True", plan
    assert all(event.reason and event.message for event in plan.events)


def after_queue(
    declared: Queue, observed: QueueObserved, plan: Plan
) -> tuple[Queue, QueueObserved]:
    """Return the Queue and what is observed of it when a plan has been carried out."""
    for action in plan.actions:
        match action:
            case DeclareQueue():
                row = observed.row
                found = QueueRow(
                    queue_name=action.queue_name,
                    settings=action.settings,
                    paused=bool(row and row.paused) if action.paused is None else action.paused,
                    closed=bool(row and row.closed) if action.closed is None else action.closed,
                    owner=action.owner,
                )
                observed = replace(observed, row=found)
            case CreateObject() | ApplyObject():
                observed = replace(observed, pool=live(action, READY))
            case LeaveFields():
                observed = replace(observed, pool=None)
            case DeleteObject():
                observed = replace(observed, pool=None)
            case SetFinalizers():
                metadata = replace(declared.metadata, finalizers=action.after)
                declared = replace(declared, metadata=metadata)
    if plan.status_changed:
        declared = replace(declared, status=plan.status)
    if plan.numbers_changed:
        observed = replace(observed, numbers_written_at=NOW)
    return declared, observed


READY = {
    "conditions": [
        {"type": "Ready", "status": "True", "reason": "InForce", "observedGeneration": 1}
    ]
}


def is_empty(plan: Plan) -> bool:
    """Tell whether there is nothing to do, to write and to tell."""
    return not (plan.actions or plan.status_changed or plan.events)


@EXAMPLES
@given(spec=queue_specs, asked=asked_for, observed=queue_worlds)
def test_a_queues_plan_carried_out_leaves_nothing_to_do(
    spec: dict[str, Any], asked: dict[str, str], observed: QueueObserved
) -> None:
    """From any state it comes to rest in a few rounds, and says nothing untrue on the way."""
    declared = queue(spec=spec, annotations=asked)
    for _ in range(ROUNDS):
        plan = plan_queue(declared, observed, NOW)
        well_formed(plan, 1)
        declared, observed = after_queue(declared, observed, plan)
        if is_empty(plan):
            break
    assert is_empty(plan), plan


@EXAMPLES
@given(spec=queue_specs, asked=asked_for, observed=queue_worlds)
def test_a_row_of_another_owner_that_lives_is_never_written(
    spec: dict[str, Any], asked: dict[str, str], observed: QueueObserved
) -> None:
    """Another cluster's, or one of a Queue that this cluster lists, or may list."""
    held = observed.row.owner if observed.row else None
    mine = queue(spec=spec, annotations=asked)
    plan = plan_queue(mine, observed, NOW)
    lives = observed.queue_uids is None or (held is not None and held.uid in observed.queue_uids)
    if held is not None and held.uid != mine.metadata.uid and (held.cluster != CLUSTER or lives):
        assert not [one for one in plan.actions if isinstance(one, DeclareQueue)]


@EXAMPLES
@given(spec=queue_specs, asked=asked_for, observed=queue_worlds)
def test_a_queue_that_is_being_deleted_makes_nothing(
    spec: dict[str, Any], asked: dict[str, str], observed: QueueObserved
) -> None:
    """Whatever it finds, it declares no row and applies no pool."""
    going = queue(spec=spec, annotations=asked, deletionTimestamp="2026-03-01T11:59:00Z")
    assert not [
        one
        for one in plan_queue(going, observed, NOW).actions
        if isinstance(one, BRINGS_INTO_FORCE)
    ]


@st.composite
def pool_worlds(draw: st.DrawFn) -> tuple[WorkerPool, WorkerPoolObserved]:
    """Return a pool, and what was observed before anything was made for it."""
    taken_at = NOW - timedelta(seconds=draw(st.integers(0, 200)))
    sample = DemandSample(
        taken_at=taken_at,
        idle_since=draw(st.none() | st.just(taken_at - timedelta(seconds=61)) | st.just(taken_at)),
        queues={"mail": draw(counts)},
    )
    observed = WorkerPoolObserved(
        operator=replace(OPERATOR, default_image=draw(st.sampled_from([None, "shop:default"]))),
        database=draw(databases),
        queues={"mail": queue()} if draw(st.booleans()) else {},
        sample=draw(st.none() | st.just(sample)),
        deployment=draw(st.none() | st.none() | st.just(_foreign_child("mailers"))),
    )
    return pool(draw(workers)), observed


def after_pool(
    declared: WorkerPool, observed: WorkerPoolObserved, plan: Plan
) -> tuple[WorkerPool, WorkerPoolObserved]:
    """Return the pool and its children when a plan has been carried out and its pods have come."""
    for action in plan.actions:
        if isinstance(action, DeleteObject):
            left = [c for c in observed.revisions if c.live["metadata"]["uid"] != action.uid]
            observed = replace(observed, revisions=tuple(left))
        elif isinstance(action, CreateObject | ApplyObject):
            observed = _with_child(observed, action)
    if plan.status_changed:
        declared = replace(declared, status=plan.status)
    if plan.numbers_changed:
        observed = replace(observed, numbers_written_at=NOW)
    return declared, observed


def _with_child(
    observed: WorkerPoolObserved, action: CreateObject | ApplyObject
) -> WorkerPoolObserved:
    if action.kind == DEPLOYMENT:
        available = pods_ready(action.manifest["spec"]["replicas"])
        return replace(observed, deployment=live(action, available))
    if action.kind == SECRET:
        return replace(observed, secret=live(action))
    if action.kind == POD_DISRUPTION_BUDGET:
        return replace(observed, disruption_budget=live(action))
    assert action.kind == CONTROLLER_REVISION
    others = [c for c in observed.revisions if c.live["metadata"]["name"] != action.key.name]
    return replace(observed, revisions=(*others, live(action)))


@EXAMPLES
@given(world=pool_worlds())
def test_a_pools_plan_carried_out_leaves_nothing_to_do(
    world: tuple[WorkerPool, WorkerPoolObserved],
) -> None:
    """From any state it comes to rest in a few rounds, and says nothing untrue on the way."""
    declared, observed = world
    for _ in range(ROUNDS):
        plan = plan_worker_pool(declared, observed, NOW)
        well_formed(plan, 1)
        declared, observed = after_pool(declared, observed, plan)
        if is_empty(plan):
            break
    assert is_empty(plan), plan


@EXAMPLES
@given(
    world=pool_worlds(), spec=workers, found=databases, later=counts, idle=st.none() | st.just(30)
)
def test_no_plan_takes_pods_away_while_work_runs_or_is_not_known(
    world: tuple[WorkerPool, WorkerPoolObserved],
    spec: dict[str, Any],
    found: DatabaseObserved | Blocked,
    later: QueueCounts,
    idle: int | None,
) -> None:
    """Of a Builtin pool, whatever becomes of its spec and database: only a quiet minute shrinks it."""
    declared, observed = world
    for _ in range(ROUNDS):
        plan = plan_worker_pool(declared, observed, NOW)
        declared, observed = after_pool(declared, observed, plan)
    size = (declared.status.get("autoscaling") or {}).get("desired")
    changed = pool(spec, declared.status)
    if size is None or changed.spec.autoscaling.mode != "Builtin":
        return
    since = None if idle is None else NOW - timedelta(seconds=idle)
    sample = DemandSample(taken_at=NOW, idle_since=since, queues={"mail": later})
    observed = replace(observed, database=found, sample=sample)
    wanted = [
        cast("int", one.manifest["spec"]["replicas"])
        for one in plan_worker_pool(changed, observed, NOW).actions
        if isinstance(one, ApplyObject) and one.kind == DEPLOYMENT
    ]
    assert all(number >= min(size, changed.spec.autoscaling.max) for number in wanted)


@st.composite
def database_worlds(draw: st.DrawFn) -> tuple[QueueDatabase, QueueDatabaseObserved]:
    """Return a QueueDatabase, and what was observed of it."""
    found = draw(rows)
    observed = QueueDatabaseObserved(
        operator=OPERATOR,
        target=draw(st.just(TARGET) | troubles),
        state=draw(st.none() | states),
        owned=() if found is None else (found,),
        queue_uids=draw(uids),
    )
    return database(), observed


@EXAMPLES
@given(world=database_worlds())
def test_a_databases_plan_carried_out_leaves_nothing_to_do(
    world: tuple[QueueDatabase, QueueDatabaseObserved],
) -> None:
    """It migrates, and frees the rows of Queues that are gone, and of nobody else."""
    declared, observed = world
    for _ in range(ROUNDS):
        plan = plan_queue_database(declared, observed, NOW)
        well_formed(plan, 1)
        for action in plan.actions:
            if isinstance(action, MigrateSchema):
                observed = replace(observed, state=MIGRATED)
            if isinstance(action, ReleaseQueue):
                assert action.owner.cluster == CLUSTER
                assert observed.queue_uids is not None
                assert action.owner.uid not in observed.queue_uids
                observed = replace(observed, owned=())
        if plan.status_changed:
            declared = replace(declared, status=plan.status)
        if is_empty(plan):
            break
    assert is_empty(plan), plan
