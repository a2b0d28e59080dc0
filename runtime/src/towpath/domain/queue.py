"""A queue's settings: what a manifest or `Queue(...)` declares, checked before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, fields

from towpath.domain.errors import QueueSettingsError
from towpath.domain.ids import MAX_NAME_LENGTH, QueueName, storable_text

MAX_CONCURRENCY = 2_147_483_647


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """The limits of a queue; None is no limit.

    Attributes:
        concurrency: Places for running workflows in all workers together.
        worker_concurrency: Places for running workflows in one worker.
    """

    concurrency: int | None = None
    worker_concurrency: int | None = None

    def differences(self, other: QueueSettings) -> tuple[str, ...]:
        """Name the fields in which the other settings differ."""
        return tuple(
            f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)
        )


UNLIMITED = QueueSettings()


def check_queue_name(name: object) -> QueueName:
    """Return the name when a queue can have it: 1 to 255 characters, no comma.

    Raises:
        QueueSettingsError: it cannot be a queue's name.
    """
    allowed = "a str of 1 to 255 characters without a comma, NUL or lone surrogates"
    if (
        not isinstance(name, str)
        or not 1 <= len(name) <= MAX_NAME_LENGTH
        or "," in name
        or not storable_text(name)
    ):
        shown = name[:40] if isinstance(name, str) else name
        raise QueueSettingsError(queue_name=str(shown), field="name", value=shown, allowed=allowed)
    return QueueName(name)


def check_queue_settings(name: str, settings: QueueSettings) -> QueueSettings:
    """Return the settings when they are within bounds and agree with each other.

    Raises:
        QueueSettingsError: naming the first field that does not.
    """
    for field in ("concurrency", "worker_concurrency"):
        value = getattr(settings, field)
        if value is None:
            continue
        if type(value) is not int or not 1 <= value <= MAX_CONCURRENCY:
            raise QueueSettingsError(
                queue_name=name,
                field=field,
                value=value,
                allowed=f"an int from 1 to {MAX_CONCURRENCY}",
            )
    if (
        settings.concurrency is not None
        and settings.worker_concurrency is not None
        and settings.worker_concurrency > settings.concurrency
    ):
        raise QueueSettingsError(
            queue_name=name,
            field="worker_concurrency",
            value=settings.worker_concurrency,
            allowed=f"at most concurrency, which is {settings.concurrency}",
        )
    return settings
