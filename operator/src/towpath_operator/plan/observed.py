"""What `observe` hands to `plan`: the facts about one object, read at one moment.

Nothing here decides anything. A fact that could not be read is `None` or `Blocked`, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from towpath.domain.deletion import FROM_THE_START, Clearing, Walk
from towpath.domain.queue import QueueSettings
from towpath_operator.model.conditions import Reason
from towpath_operator.model.database import QueueDatabase
from towpath_operator.model.queue import Queue
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.schema_facts import SchemaFacts
from towpath_operator.ports.cluster import Manifest, ObjectKey


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorFacts:
    """What every plan needs to know of the operator itself.

    Attributes:
        namespace: Where the operator runs: the second place where a databaseRef is looked for.
        cluster_uid: The uid of the namespace kube-system; it names this cluster in a queue's row.
        default_image: The image of a pool whose template names none; None refuses such a template.
        namespaces: The namespaces that are watched; empty is all.
    """

    namespace: str
    cluster_uid: str
    default_image: str | None = None
    namespaces: tuple[str, ...] = ()

    def watches(self, namespace: str) -> bool:
        """Tell whether objects of a namespace are listed: of others nobody knows that they are gone."""
        return not self.namespaces or namespace in self.namespaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Something named stands in the way; the message says what and what to do."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseTarget:
    """A schema of a Postgres database that can be connected to. No secret shows in a repr.

    Attributes:
        key: The QueueDatabase.
        schema: The schema.
        uri: What the operator connects by.
        workers_uri: What the pods connect by; None where that is the operator's.
        worker_role: The login of the pods, which the migration grants to; None where they use the
            operator's.
        ca: The certificates, in PEM, that the server's is verified by; None where the URI's sslmode
            needs none or takes the system's.
        migration: Who migrates the schema: Auto is the operator, Manual is a person.
        pooled: Whether the pods reach the server through a transaction pooler.
        connections_per_pod: The most connections of one pod; None leaves it to the library.
    """

    key: ObjectKey
    schema: str
    uri: str = field(repr=False)
    workers_uri: str | None = field(default=None, repr=False)
    worker_role: str | None = None
    ca: str | None = field(default=None, repr=False)
    migration: Literal["Auto", "Manual"] = "Auto"
    pooled: bool = False
    connections_per_pod: int | None = None

    @property
    def pods_uri(self) -> str:
        """What the pods connect by."""
        return self.uri if self.workers_uri is None else self.workers_uri

    def to_status(self) -> dict[str, str]:
        """Return what `status.database` keeps of it."""
        return {"namespace": self.key.namespace, "name": self.key.name, "schema": self.schema}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseState:
    """What a look at the server found.

    Attributes:
        problem: Why it cannot be used (unreachable, login rejected, server too old, schema too new).
        schema_version: The schema's version; None where it is not there or could not be read.
        needed_version: The version that this operator migrates to.
        listening: Whether NOTIFY reaches the operator; without it, demand is sampled more often.
        schema: What else it found of the schema.
        workers_refused: What Postgres said to the pods' own login, where it refused it.
    """

    problem: Blocked | None = None
    schema_version: int | None = None
    needed_version: int
    listening: bool = False
    schema: SchemaFacts = field(default_factory=SchemaFacts)
    workers_refused: Blocked | None = None

    @property
    def migrated(self) -> bool:
        """Whether the schema is there and new enough."""
        return (
            self.problem is None
            and self.schema_version is not None
            and self.schema_version >= self.needed_version
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseObserved:
    """The database that a databaseRef found, and its state."""

    target: DatabaseTarget
    state: DatabaseState


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who declares a queue's row: a Queue of some cluster, as the row records it."""

    cluster: str
    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """A queue's row: what is in force, and who declares it (None: code, or nobody)."""

    queue_name: str
    settings: QueueSettings
    paused: bool
    closed: bool
    owner: Owner | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueCounts:
    """How much work a queue has at one moment.

    Attributes:
        waiting: ENQUEUED workflows, and those whose delay or wait is over, counted to 10,000.
        waiting_capped: Whether there are more than were counted.
        awake: Those of them that slept: they have begun, and go on though the queue is paused.
        running: Workflows that workers have in memory.
        kept: Places that sleeping workflows keep: whoever waits in line has them no more.
        workers: Live workers, of any pool or none, that serve the queue; None where unknown.
        oldest_wait: For how many seconds the first in line has waited; None where none waits.
        due_later: Whether DELAYED workflows wait for their time.
        paused: Whether nothing starts now.
    """

    waiting: int = 0
    waiting_capped: bool = False
    awake: int = 0
    running: int = 0
    kept: int = 0
    workers: int | None = None
    oldest_wait: float | None = None
    due_later: bool = False
    paused: bool = False

    @property
    def startable(self) -> int:
        """How many wait for a worker alone: while the queue is paused, those that have begun."""
        return self.awake if self.paused else self.waiting

    @property
    def quiet(self) -> bool:
        """Whether nothing runs, and nothing waits that may start."""
        return self.startable == 0 and self.running == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """What holds back the workflows that wait in a queue: the first limit's name, and all in words."""

    limited_by: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDeletion:
    """How far this process has come with the deletion of a queue's workflows.

    Attributes:
        state: What the last call has answered; None before the first.
        walk: Where the next call begins.
        deleted: How many workflows were deleted.
        failing_since: Since when the database cannot be used; None where it can.
    """

    state: Clearing | None = None
    walk: Walk = FROM_THE_START
    deleted: int = 0
    failing_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastAnswer:
    """What the API server answered to this process's last create or apply of a child."""

    uid: str
    generation: int
    applied: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A live child object, and the last answer about it (None: this process has not applied it)."""

    live: Manifest
    last: LastAnswer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueObserved:
    """What a Queue's plan is made from.

    Attributes:
        operator: The operator's own facts.
        database: What the databaseRef found (see `plan.resolution`), or what stands in the way.
        row: The row of this queueName; None where there is none or it could not be read.
        rivals: Other Queues of this cluster that name the same database and queueName.
        queue_uids: The uid of every Queue that this cluster lists; None while the list is incomplete.
        counts: The queue's work; None where the database could not be asked.
        pool: The live WorkerPool of the Queue's own name, whoever owns it.
        serving: Names of the WorkerPools of this namespace that list the Queue.
        numbers_written_at: When this process last wrote numbers into the status.
        held_back: What holds back what waits, as it was asked last; None where nothing waits.
        deletion: How far the deletion of the queue's workflows is.
        last_target: Of a Queue that is being deleted, its database as it was last usable.
    """

    operator: OperatorFacts
    database: DatabaseObserved | Blocked
    row: QueueRow | None = None
    rivals: tuple[Queue, ...] = ()
    queue_uids: frozenset[str] | None = None
    counts: QueueCounts | None = None
    pool: Child | None = None
    serving: tuple[str, ...] = ()
    numbers_written_at: datetime | None = None
    held_back: HeldBack | None = None
    deletion: QueueDeletion = QueueDeletion()
    last_target: DatabaseTarget | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandSample:
    """The work of a pool's queues at one moment, by queueName.

    Attributes:
        taken_at: When the database was asked.
        idle_since: When the unbroken run of samples began that found nothing waiting, due or
            running; None while there is work (see `plan.autoscaling.idle_since`).
        queues: The counts by queueName.
    """

    taken_at: datetime
    idle_since: datetime | None
    queues: dict[str, QueueCounts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contested:
    """Whose spec.replicas of a Deployment this process has undone, or left for a while, and when."""

    manager: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many pods a database's connections allow.

    Attributes:
        pods: The most pods of all its pools together.
        others: Those that its other pools are to have now.
        pools: How many pools it has, this one included.
    """

    pods: int
    others: int
    pools: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPoolObserved:
    """What a WorkerPool's plan is made from.

    Attributes:
        operator: The operator's own facts.
        database: What the databaseRef found, or what stands in the way.
        queues: The Queue objects of this namespace that spec.queues names, by name; missing ones
            are left out, and so are those that are being deleted.
        sample: The last demand sample, however old; None where there was none.
        deployment: The live Deployment of the pool's name, whoever owns it.
        secret: The live Secret `<pool>-database`, whoever owns it.
        disruption_budget: The live PodDisruptionBudget of the pool's name, whoever owns it.
        revisions: The live ControllerRevisions that carry the pool's label, or that the Deployment
            names, whoever owns them.
        contested: Who wrote the Deployment's number beside us, when it was dealt with last.
        room: What the database's connections allow; None for no bound.
        pods: The live pods that carry the pool's label.
        numbers_written_at: When this process last wrote numbers into the status.
    """

    operator: OperatorFacts
    database: DatabaseObserved | Blocked
    queues: dict[str, Queue] = field(default_factory=dict)
    sample: DemandSample | None = None
    deployment: Child | None = None
    secret: Child | None = None
    disruption_budget: Child | None = None
    revisions: tuple[Child, ...] = ()
    contested: Contested | None = None
    room: Room | None = None
    pods: tuple[Manifest, ...] = ()
    numbers_written_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDatabaseObserved:
    """What a QueueDatabase's plan is made from.

    Attributes:
        operator: The operator's own facts.
        target: What the Secrets give (see `plan.target`), or what stands in the way.
        state: What a look at the server found; None where there is no target.
        owned: The rows that record an owner of this cluster.
        queue_uids: The uid of every Queue that this cluster lists; None while the list is incomplete.
    """

    operator: OperatorFacts
    target: DatabaseTarget | Blocked
    state: DatabaseState | None = None
    owned: tuple[QueueRow, ...] = ()
    queue_uids: frozenset[str] | None = None


Declared = Queue | WorkerPool | QueueDatabase
