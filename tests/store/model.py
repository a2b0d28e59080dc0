"""A plain model of what the store must hold: places, lines, partitions, starts, ids."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from towpath.domain.ids import QueueName, Seq, WorkerId
from towpath.domain.queue import Limiter, QueueSettings
from towpath.store.claims import START_MARGIN_SECONDS

FREE, GATED, PARTED = QueueName("free"), QueueName("gated"), QueueName("parted")
NAMES = ("send", "other")  # what workers know; "strange" waits for ever
MAX_RECOVERIES = 1
BEGUN = 1 << 32
MARGIN = timedelta(seconds=START_MARGIN_SECONDS)


@dataclass
class Workflow:
    """A workflow, wherever it stands; `state` is parked, ready, running, ended or gone."""

    seq: Seq
    queue: QueueName
    name: str
    rank: int
    first_rank: int
    key: str | None = None
    deduplication_id: str | None = None
    chosen_id: str | None = None
    state: str = "ready"
    status: str = ""
    line: int = 0
    attempt: int = 0
    recoveries: int = 0
    due: datetime | None = None
    worker: WorkerId | None = None
    fenced: bool = False
    resumed_line: int | None = None
    progress: bool = False
    forgotten: bool = False
    started_at: datetime | None = None

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands in its line."""
        return self.rank, self.line

    @property
    def visible_status(self) -> str:
        """The status that people see."""
        if self.state == "parked":
            return "DELAYED"
        if self.state == "running" and not self.fenced:
            return "PENDING"
        if self.status:
            return self.status
        return "ENQUEUED"


@dataclass
class Living:
    """A worker that has a row."""

    draining: bool = False
    expired: bool = False


@dataclass
class Partitions:
    """Which keys have changed, which have a ticket and since when they were not served."""

    wakes: dict[str, datetime] = field(default_factory=dict)
    tickets: dict[str, datetime] = field(default_factory=dict)
    alarms: dict[str, list[tuple[datetime, datetime]]] = field(default_factory=dict)

    def wake(self, key: str | None, turn: datetime) -> None:
        """Something changed in a partition."""
        if key is not None:
            self.wakes[key] = min(turn, self.wakes.get(key, turn))


@dataclass
class Starts:
    """The starts of one limiter, each as it is dated."""

    dates: list[datetime] = field(default_factory=list)

    def tokens(self, limiter: Limiter, now: datetime) -> int:
        """Return how many starts the window has room for."""
        return max(0, limiter.limit - sum(at > now - limiter.period for at in self.dates))

    def opens_at(self, limiter: Limiter) -> datetime | None:
        """Return when the start before the last `limit` leaves the window."""
        if len(self.dates) < limiter.limit:
            return None
        return self.dates[-limiter.limit] + limiter.period

    def spend(self, count: int, now: datetime) -> None:
        """Note starts that are made now."""
        at = max([now + MARGIN, *self.dates[-1:]])
        self.dates += [at] * count


@dataclass
class Model:
    """What the database should hold."""

    now: datetime
    settings: dict[QueueName, QueueSettings]
    paused: dict[QueueName, bool] = field(default_factory=dict)
    workflows: dict[Seq, Workflow] = field(default_factory=dict)
    workers: dict[WorkerId, Living] = field(default_factory=dict)
    partitions: Partitions = field(default_factory=Partitions)
    starts: dict[tuple[QueueName, str], Starts] = field(default_factory=dict)

    # -- looking

    def in_state(self, state: str, queue: QueueName | None = None) -> list[Workflow]:
        """Return the workflows in a state, by seq."""
        return [
            w for w in self.workflows.values()
            if w.state == state and (queue is None or w.queue == queue)
        ]  # fmt: skip

    def running(self, queue: QueueName, key: str | None = None) -> int:
        """Count places of a queue, or of one of its keys."""
        places = self.in_state("running", queue)
        return sum(key is None or w.key == key for w in places)

    def starts_of(self, queue: QueueName, key: str = "") -> Starts:
        """Return the starts of a limiter."""
        return self.starts.setdefault((queue, key), Starts())

    def holders(self) -> dict[tuple[str, str], Seq]:
        """Return who holds which deduplication id."""
        return {
            (w.queue, w.deduplication_id): w.seq
            for w in self.workflows.values()
            if w.deduplication_id is not None
            and w.visible_status in ("DELAYED", "ENQUEUED", "PENDING")
        }

    def room(self, worker: WorkerId, queue: QueueName, limit: int) -> int:
        """Return how many a claim may take, beyond what partitions allow."""
        living = self.workers.get(worker)
        if living is None or living.draining or living.expired or self.paused.get(queue):
            return 0
        settings, most = self.settings[queue], [limit]
        if settings.concurrency is not None:
            most.append(settings.concurrency - self.running(queue))
        if settings.worker_concurrency is not None:
            own = sum(w.worker == worker for w in self.in_state("running", queue))
            most.append(settings.worker_concurrency - own)
        if settings.limiter is not None:
            most.append(self.starts_of(queue).tokens(settings.limiter, self.now))
        return max(0, min(most))

    def expected(self, worker: WorkerId, queue: QueueName, limit: int) -> list[Seq]:
        """Return what a claim must take, in its order."""
        room = self.room(worker, queue, limit)
        line = sorted(self.in_state("ready", queue), key=lambda w: w.place)
        if queue != PARTED:
            return [w.seq for w in line if w.name in NAMES][:room]
        self.fold()
        heads = [
            (w.rank, nth, turn, key, w)
            for key, turn in self.partitions.tickets.items()
            for nth, w in enumerate(self.heads(key, room))
        ]
        taken = [head[-1] for head in sorted(heads, key=lambda head: head[:4])[:room]]
        return [w.seq for w in sorted(taken, key=lambda w: w.place)]

    def heads(self, key: str, room: int) -> list[Workflow]:
        """Return those of a key's line that may start now; an unknown name closes the key."""
        settings = self.settings[PARTED]
        places = (settings.partition_concurrency or 1) - self.running(PARTED, key)
        if settings.partition_limiter is not None:
            places = min(
                places, self.starts_of(PARTED, key).tokens(settings.partition_limiter, self.now)
            )
        found: list[Workflow] = []
        for w in self.line_of(key)[: max(0, min(places, room))]:
            if w.name not in NAMES:
                break
            found.append(w)
        return found

    def line_of(self, key: str) -> list[Workflow]:
        """Return a key's line."""
        line = [w for w in self.in_state("ready", PARTED) if w.key == key]
        return sorted(line, key=lambda w: w.place)

    def fold(self) -> None:
        """Look anew at the keys in which something changed."""
        parts, settings = self.partitions, self.settings[PARTED]
        changed = dict(parts.wakes)
        parts.wakes = {}
        for key, alarms in list(parts.alarms.items()):
            for due, turn in [a for a in alarms if a[0] <= self.now]:
                changed[key] = min(turn, changed.get(key, turn))
                alarms.remove((due, turn))
        for key, turn in changed.items():
            opens = None
            if settings.partition_limiter is not None:
                opens = self.starts_of(PARTED, key).opens_at(settings.partition_limiter)
            has_place = (settings.partition_concurrency or 1) > self.running(PARTED, key)
            waits = bool(self.line_of(key)) and has_place
            if waits and (opens is None or opens <= self.now):
                parts.tickets.setdefault(key, turn)
            else:
                parts.tickets.pop(key, None)
                if waits and opens is not None:
                    rings = parts.alarms.setdefault(key, [])
                    if all(due != opens for due, _ in rings):
                        rings.append((opens, turn))

    # -- changing

    def configure(self, queue: QueueName, wanted: QueueSettings) -> None:
        """Declare other limits; keys that the ones before held back are looked at again."""
        if queue == PARTED and wanted != self.settings[queue]:
            for w in self.in_state("running", PARTED):
                self.partitions.wake(w.key, w.started_at or self.now)
            for key, rings in self.partitions.alarms.items():
                for _, turn in rings:
                    self.partitions.wake(key, turn)
        self.settings[queue] = wanted

    def place(self, worker: WorkerId, queue: QueueName, seqs: list[Seq]) -> None:
        """Take workflows from the line."""
        settings = self.settings[queue]
        for seq in seqs:
            w = self.workflows[seq]
            w.state, w.worker, w.attempt = "running", worker, w.attempt + 1
            w.progress, w.started_at = False, self.now
        if seqs and settings.limiter is not None:
            self.starts_of(queue).spend(len(seqs), self.now)
        for key in {self.workflows[s].key for s in seqs} - {None}:
            assert key is not None
            count = sum(self.workflows[s].key == key for s in seqs)
            if settings.partition_limiter is not None:
                self.starts_of(queue, key).spend(count, self.now)
            self.partitions.tickets.pop(key, None)
            if (settings.partition_concurrency or 1) > 1:
                self.partitions.wake(key, self.now)

    def holds(self, seq: Seq, attempt: int) -> bool:
        """Tell whether an attempt still has its place."""
        w = self.workflows.get(seq)
        return w is not None and w.state == "running" and w.attempt == attempt

    def end(self, seq: Seq, status: str) -> bool:
        """End an attempt that holds its place; tell whether its outcome counts."""
        w = self.workflows[seq]
        self.partitions.wake(w.key, w.started_at or self.now)
        if w.fenced:
            self.release(w)
            return False
        w.state, w.status = "ended", status
        return True

    def release(self, w: Workflow) -> None:
        """A fenced place comes free; its workflow joins the line if it was resumed."""
        w.fenced, w.worker = False, None
        if w.resumed_line is None:
            w.state = "gone" if w.forgotten else "ended"
            return
        w.state, w.line, w.resumed_line, w.recoveries = "ready", w.resumed_line, None, 0
        w.rank = fresh(w.rank)

    def hand_back(self, seq: Seq, recoveries: int | None = None) -> None:
        """Return a workflow to its place in the line."""
        w = self.workflows[seq]
        self.partitions.wake(w.key, w.started_at or self.now)
        if w.fenced:
            self.release(w)
            return
        w.state, w.worker = "ready", None
        if recoveries is not None:
            w.recoveries = recoveries
        if w.key is not None:
            w.rank = fresh(w.rank) - BEGUN

    def cancel(self, w: Workflow) -> str | None:
        """Cancel a workflow; return the status that it had, None where it had ended."""
        before = w.visible_status
        if before not in ("DELAYED", "ENQUEUED", "PENDING"):
            return None
        if w.state in ("parked", "ready"):
            self.partitions.wake(w.key, self.now)
            w.state = "ended"
        w.status, w.fenced, w.resumed_line, w.deduplication_id = "CANCELLED", True, None, None
        if w.state == "ended":
            w.fenced = False
        return before

    def resume(self, w: Workflow, line: int) -> None:
        """Put a cancelled or given-up workflow at the end of its line."""
        w.status, w.deduplication_id = "", None
        if w.state == "running":
            w.resumed_line = line
            return
        w.state, w.line, w.recoveries, w.rank = "ready", line, 0, w.first_rank
        self.partitions.wake(w.key, self.now)

    def ripen(self, queue: QueueName) -> int:
        """Let delayed workflows that are due join the line."""
        ripe = [w for w in self.in_state("parked", queue) if w.due and w.due <= self.now]
        for w in ripe:
            w.state, w.line = "ready", w.seq
            self.partitions.wake(w.key, self.now)
        return len(ripe)

    def fall(self, worker: WorkerId) -> tuple[int, int]:
        """End a worker's lease; return how many went back and how many were given up."""
        living, back, given_up = self.workers.pop(worker), 0, 0
        for w in self.in_state("running"):
            if w.worker != worker:
                continue
            count = w.recoveries if living.draining else 0 if w.progress else w.recoveries + 1
            if not w.fenced and count > MAX_RECOVERIES:
                self.end(w.seq, "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
                given_up += 1
                continue
            back += not w.fenced
            self.hand_back(w.seq, count)
        return back, given_up


def fresh(rank: int) -> int:
    """Return a rank without the precedence of what has begun."""
    return rank + BEGUN if rank < -(1 << 31) else rank
