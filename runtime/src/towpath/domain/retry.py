"""When a step is tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from towpath.domain.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pauses between tries: `initial`, then each `factor` times the last, at most `maximum`.

    Each pause is shortened by a random part of up to `jitter` (0 to 1) of itself, so that many
    workflows that failed together do not come back together.
    """

    initial: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    maximum: timedelta = timedelta(minutes=10)
    jitter: float = 0.25

    def __post_init__(self) -> None:
        """Refuse values that make no pauses.

        Raises:
            ConfigurationError: naming the field.
        """
        if self.initial < timedelta(0) or self.maximum < self.initial:
            raise ConfigurationError(
                "backoff: initial must be 0 or more, and maximum not below it."
            )
        if not self.factor >= 1:
            raise ConfigurationError(f"backoff: factor is {self.factor!r}; allowed is 1 or more.")
        if not 0 <= self.jitter <= 1:
            raise ConfigurationError(f"backoff: jitter is {self.jitter!r}; allowed is 0 to 1.")

    def pause(self, failed_tries: int, chance: float) -> timedelta:
        """Return the pause after this many failed tries; `chance` is random, from 0 to 1."""
        exponent = min(failed_tries - 1, 64)
        whole = min(
            self.initial.total_seconds() * self.factor**exponent, self.maximum.total_seconds()
        )
        return timedelta(seconds=whole * (1 - self.jitter * chance))


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a step is tried, and for which errors. `retries` are tries after the first."""

    retries: int = 0
    backoff: Backoff = Backoff()
    should_retry: Callable[[Exception], bool] | None = None
    timeout: timedelta | None = None

    def __post_init__(self) -> None:
        """Refuse a number of retries that is none.

        Raises:
            ConfigurationError: naming the field.
        """
        if type(self.retries) is not int or self.retries < 0:
            raise ConfigurationError(f"retries is {self.retries!r}; allowed is an int, 0 or more.")
        if self.timeout is not None and self.timeout <= timedelta(0):
            raise ConfigurationError(f"timeout is {self.timeout!r}; allowed is more than 0.")

    def allows(self, failed_tries: int, error: BaseException) -> bool:
        """Tell whether the step is tried again after this error."""
        if failed_tries > self.retries or not isinstance(error, Exception):
            return False
        return self.should_retry is None or self.should_retry(error)
