"""Numbers as people read them."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from towpath.insights import waits, words


@pytest.mark.parametrize("module", [words, waits])
def test_the_examples_hold(module: ModuleType) -> None:
    """Each function shows what it does."""
    done = doctest.testmod(module)
    assert done.attempted > 0
    assert done.failed == 0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0 s"),
        (0.0001, "0.1 s"),
        (0.1 + 0.2, "0.3 s"),
        (9.95, "10 s"),
        (59.01, "1m00s"),
        (3599.5, "1h00m"),
        (7322, "2h02m"),
        (86400, "1d0h"),
        (277_200, "3d5h"),
    ],
)
def test_a_duration_is_never_too_short(seconds: float, said: str) -> None:
    """Whoever waits so long finds that it is over."""
    assert words.duration(seconds) == said
