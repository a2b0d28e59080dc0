"""What a process has declared: its workflows by name, and its queues."""

from __future__ import annotations

import hashlib
import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from towpath.domain.errors import ConfigurationError, DuplicateNameError
from towpath.domain.ids import (
    INTERNAL_QUEUE,
    MAX_NAME_LENGTH,
    QueueName,
    WorkflowName,
    storable_text,
)
from towpath.domain.queue import QueueSettings
from towpath.store.schedules import ScheduleSettings


@dataclass(frozen=True, slots=True)
class WorkflowDefinition:
    """A registered workflow function."""

    name: WorkflowName
    function: Callable[..., Any]
    is_async: bool
    max_recovery_attempts: int | None
    place: str


@dataclass(frozen=True, slots=True)
class QueueDeclaration:
    """A queue that code names. `settings` is None where it was named without options."""

    name: QueueName
    settings: QueueSettings | None


@dataclass(frozen=True, slots=True)
class ScheduleDeclaration:
    """A schedule of a workflow, whose function it holds."""

    name: str
    settings: ScheduleSettings
    function: Callable[..., Any]


class Registry:
    """The declarations of one App; any thread may add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workflows: dict[WorkflowName, WorkflowDefinition] = {}
        self._queues: dict[QueueName, QueueDeclaration] = {}
        self.transaction_urls: set[str] = set()
        """The database_url of each transaction that has its own."""
        self._schedules: dict[str, ScheduleDeclaration] = {}
        self.names: tuple[WorkflowName, ...] = ()
        """The names of every workflow, sorted."""

    def add_workflow(self, definition: WorkflowDefinition) -> None:
        """Register a workflow.

        Raises:
            DuplicateNameError: another function has the name.
        """
        with self._lock:
            known = self._workflows.get(definition.name)
            # the same place again is a reloaded module or a cell that is run again
            if known is not None and known.place != definition.place:
                raise DuplicateNameError(
                    kind="workflow",
                    name=definition.name,
                    first=known.place,
                    second=definition.place,
                )
            self._workflows[definition.name] = definition
            self.names = tuple(sorted(self._workflows))

    def add_queue(self, declaration: QueueDeclaration) -> None:
        """Declare a queue; one without options adds nothing to one with options.

        Raises:
            ConfigurationError: the queue was declared with other options.
        """
        with self._lock:
            known = self._queues.get(declaration.name)
            if known is None or known.settings is None:
                self._queues[declaration.name] = declaration
                return
            if declaration.settings is not None and declaration.settings != known.settings:
                fields = ", ".join(known.settings.differences(declaration.settings))
                raise ConfigurationError(
                    f"queue {declaration.name!r} is declared twice in this process, with other "
                    f"values of {fields}. Declare its options in one place."
                )

    def add_schedule(self, declaration: ScheduleDeclaration) -> None:
        """Declare a schedule.

        Raises:
            DuplicateNameError: another schedule has the name.
        """
        with self._lock:
            known = self._schedules.get(declaration.name, declaration)
            first, second = place_of(known.function), place_of(declaration.function)
            # the same place again, with a function made anew, is a reloaded module
            twice = known.function is declaration.function and known != declaration
            if twice or first != second:
                raise DuplicateNameError(
                    kind="schedule", name=declaration.name, first=first, second=second
                )
            self._schedules[declaration.name] = declaration

    def schedules(self) -> list[ScheduleDeclaration]:
        """Return every declared schedule, in the order of their names."""
        with self._lock:
            return [self._schedules[name] for name in sorted(self._schedules)]

    def workflow(self, name: str) -> WorkflowDefinition | None:
        """Return a workflow by name."""
        return self._workflows.get(WorkflowName(name))

    def workflows(self) -> list[WorkflowDefinition]:
        """Return every workflow, in the order of their names."""
        with self._lock:
            return [self._workflows[name] for name in self.names]

    def queue(self, name: QueueName) -> QueueDeclaration | None:
        """Return a declared queue by name."""
        return self._queues.get(name)

    def queues(self) -> list[QueueDeclaration]:
        """Return every declared queue."""
        with self._lock:
            return [q for q in self._queues.values() if q.name != INTERNAL_QUEUE]

    def code_hash(self) -> str:
        """Return a hash of the workflows' source, for information in the worker's row."""
        digest = hashlib.sha256()
        for definition in self.workflows():
            digest.update(definition.name.encode())
            try:
                digest.update(inspect.getsource(definition.function).encode())
            except (OSError, TypeError):
                continue
        return digest.hexdigest()[:16]


def place_of(function: Callable[..., Any]) -> str:
    """Say where a function is defined: file and line."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def name_of(function: Callable[..., Any], name: str | None, *, kind: str) -> str:
    """Return the name under which a function is registered: `name=`, else its `__qualname__`.

    Raises:
        ConfigurationError: a function within a function, or a name that cannot be stored.
    """
    chosen = name if name is not None else function.__qualname__
    if name is None and "<locals>" in chosen:
        raise ConfigurationError(
            f"{kind} {chosen!r} at {place_of(function)} is defined inside a function, so that "
            "another process cannot find it by this name. Give it a name with name=."
        )
    return check_name(chosen, kind=kind)


def check_name(name: object, *, kind: str) -> str:
    """Return the name when it can be stored.

    Raises:
        ConfigurationError: it is not a str of 1 to 255 characters, or holds NUL or a lone surrogate.
    """
    if (
        not isinstance(name, str)
        or not 1 <= len(name) <= MAX_NAME_LENGTH
        or not storable_text(name)
    ):
        raise ConfigurationError(
            f"{kind} name {name!r} must be a str of 1 to {MAX_NAME_LENGTH} characters without NUL "
            "or lone surrogates."
        )
    return name
